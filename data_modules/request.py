"""What ``predict`` is asked for: how many volumes of each class, and from which seeds."""

from collections.abc import Iterable, Iterator
from typing import TypedDict

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, DistributedSampler

from data_modules.condition import Condition
from data_modules.errors import InputError

_LARGEST_SEED = 2**62


class Wanted(TypedDict):
    """One volume to sample."""

    label: int
    seed: int
    name: str


class RequestBatch(TypedDict):
    """What a predict step receives: conditions, seeds and names of B volumes."""

    condition: Condition
    seed: list[int]
    name: list[str]


class SamplingRequest(LightningDataModule):
    """Asks a generator for volumes.

    Volume i of a class (counted from 0) has the seed `seed + i * number of classes + label`: every volume has its own, and
    asking for more volumes later repeats none and changes none.

    Args:
        counts: Volumes per class, by name, for example {LGG: 250, HGG: 250}.
        seed: Number of the first volume.
        batch_size: Volumes sampled at a time.
    """

    def __init__(self, counts: dict[str, int], seed: int = 0, batch_size: int = 4) -> None:
        super().__init__()
        counts = {str(name): count for name, count in counts.items()}  # YAML reads the names of {0: 2, 1: 2} as numbers
        for name, count in counts.items():
            if count < 0:
                raise InputError(f"--data.counts: {count} volumes of {name} cannot be sampled; expected 0 or more.")
        if not sum(counts.values()):
            raise InputError(
                f"--data.counts: {counts} asks for no volume; expected for example '{{LGG: 16, HGG: 16}}'."
            )
        if batch_size < 1:
            raise InputError(f"--data.batch_size is {batch_size}; expected at least 1.")
        if not 0 <= seed < _LARGEST_SEED:
            raise InputError(f"--data.seed is {seed}; expected 0 to {_LARGEST_SEED - 1}.")
        self.counts, self.seed, self.batch_size = counts, seed, batch_size
        self.left_out: set[str] = set()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # with more ranks than volumes

    def wanted(self, class_names: tuple[str, ...]) -> list[Wanted]:
        """All volumes of the request, classes in label order; names are `<class>/<class>_0001`, ...

        Raises:
            InputError: The generator does not know a class.
        """
        Condition.of_classes(list(self.counts), class_names)
        return [
            Wanted(
                label=label, seed=self.seed + index * len(class_names) + label, name=f"{name}/{name}_{index + 1:04d}"
            )
            for label, name in enumerate(class_names)
            for index in range(self.counts.get(name, 0))
        ]

    def leave_out(self, names: Iterable[str]) -> None:
        """Takes volumes off the request that an interrupted run has already written."""
        self.left_out.update(names)

    def predict_dataloader(self) -> DataLoader[Wanted]:
        """Batches of volumes to sample; class names are those of the model that predicts."""
        assert self.trainer is not None
        class_names: tuple[str, ...] = self.trainer.lightning_module.class_names
        left = [item for item in self.wanted(class_names) if item["name"] not in self.left_out]
        share = _Share(left, num_replicas=self.trainer.world_size, rank=self.trainer.global_rank)  # type: ignore[arg-type]
        return DataLoader(left, batch_size=self.batch_size, sampler=share, collate_fn=_collate)  # type: ignore[arg-type]


class _Share(DistributedSampler[int]):
    """One rank's share of a list, nothing twice; empty where there are more ranks than volumes."""

    def __iter__(self) -> Iterator[int]:
        return iter(self._indices())

    def __len__(self) -> int:
        return len(self._indices())

    def _indices(self) -> range:
        return range(self.rank, len(self.dataset), self.num_replicas)  # type: ignore[arg-type]


def _collate(items: list[Wanted]) -> RequestBatch:
    return RequestBatch(
        condition=Condition(torch.tensor([item["label"] for item in items], dtype=torch.int64)),
        seed=[item["seed"] for item in items],
        name=[item["name"] for item in items],
    )
