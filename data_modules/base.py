"""What every data module of tumorgen offers to models: loaders, the batch contract and the few figures models need.

Legend for shapes: B batch, C channel, D depth (axial slice), H row, W column.
"""

import os
from abc import ABC, abstractmethod
from typing import TypedDict

import torch
from jaxtyping import Float, Int
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from data_modules.errors import InputError

# Up to this edge length an augmented volume takes a few milliseconds: worker processes would cost more than they save.
_IN_PROCESS_SIZE = 32


class Item(TypedDict):
    """One region of interest: float32 in [-1, 1], background exactly -1; class index; case identifier."""

    volume: Float[Tensor, "C D H W"]
    label: int
    case: str


class Batch(TypedDict):
    """What a training, validation or test step receives."""

    volume: Float[Tensor, "B C D H W"]
    label: Int[Tensor, " B"]
    case: list[str]


class ROIDataModule(LightningDataModule, ABC):
    """Regions of interest with a class each, as training, validation and test loaders.

    Subclasses fill `train_dataset`, `val_dataset`, `test_dataset` (plain indexable datasets of `Item`; augmentation in
    the first only) and `training_patients` in `setup`. Everything models are built from (`num_classes`, `class_names`,
    `channels`, `roi_size`, `spacing`) is cheap and available before `prepare_data`.

    Args:
        roi_size: Edge length of the cubic volumes in voxels.
        spacing: Edge length of a voxel in mm.
        batch_size: Volumes per batch and process.
        num_workers: Loader processes. None chooses: 0 up to 32 voxels, where a volume takes a few milliseconds, otherwise
            one less than the processor cores, at most 4. Augmentations drawn depend on this number: state it where runs
            on different machines must be equal to the last bit.
    """

    channels: int = 1

    def __init__(self, roi_size: int, spacing: float, batch_size: int, num_workers: int | None) -> None:
        super().__init__()
        positive = {"roi_size": roi_size, "spacing": spacing, "batch_size": batch_size}
        for name, value in positive.items():
            if value <= 0:
                raise InputError(f"--data.{name} is {value}; it must be above 0")
        if num_workers is not None and num_workers < 0:
            raise InputError(
                f"--data.num_workers is {num_workers}; it must be 0 or more, or null to let tumorgen choose"
            )
        self.roi_size = roi_size
        self.spacing = spacing
        self.batch_size = batch_size
        self.num_workers = default_workers(roi_size) if num_workers is None else num_workers
        self.training_patients: list[str] = []
        self.train_dataset: Dataset[Item] | None = None
        self.val_dataset: Dataset[Item] | None = None
        self.test_dataset: Dataset[Item] | None = None

    @property
    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; the position is the label."""

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def train_dataloader(self) -> DataLoader[Item]:
        """Shuffled batches of the training fold; the last, smaller batch is kept, as in the published recipe."""
        return self._loader(self.train_dataset, shuffle=True)

    def val_dataloader(self) -> DataLoader[Item]:
        """Batches of the validation share, in a fixed order."""
        return self._loader(self.val_dataset, shuffle=False)

    def test_dataloader(self) -> DataLoader[Item]:
        """Batches of the test fold, in a fixed order."""
        return self._loader(self.test_dataset, shuffle=False)

    def statistics_dataloader(self) -> DataLoader[Item]:
        """Training volumes, augmented, in one order for all epochs and ranks: to estimate statistics of networks from."""
        if self.train_dataset is None:
            raise RuntimeError(f"{type(self).__name__}: call prepare_data() and setup() before asking for a loader")
        order = torch.Generator().manual_seed(0)
        return DataLoader(self.train_dataset, batch_size=self.batch_size, shuffle=True, generator=order)

    def _loader(self, dataset: Dataset[Item] | None, *, shuffle: bool) -> DataLoader[Item]:
        if dataset is None:
            raise RuntimeError(f"{type(self).__name__}: call prepare_data() and setup() before asking for a loader")
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            shuffle=shuffle,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )


def default_workers(roi_size: int) -> int:
    """Number of loader processes for volumes of `roi_size` voxels a side on this machine."""
    if roi_size <= _IN_PROCESS_SIZE:
        return 0
    return max(0, min(4, available_cores() - 1))


def available_cores() -> int:
    """Processor cores this process may use: a SLURM job or container often has fewer than the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
