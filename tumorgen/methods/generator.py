"""The one contract that all generative methods fulfil: from conditions and seeds to volumes.

Legend: B volumes, C MRI sequences, D H W voxels.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging

from data_modules.cohort.grades import class_order
from data_modules.condition import Condition
from data_modules.errors import InputError
from data_modules.request import RequestBatch
from tumorgen.methods.loading import load_method
from tumorgen.methods.method import Method
from tumorgen.methods.trust import trusting
from tumorgen.types import Volume


class Generator(Method, ABC):
    """A trained method that samples tumours.

    Attributes:
        batch_invariant: Whether a volume is the same to the last bit alone and in a batch, in float32 on a CPU. Others agree
            within 1e-3; in other precisions, and on other devices, the batch size is part of what makes a volume.
    """

    batch_invariant: bool = False

    @abstractmethod
    def sample(self, condition: Condition, seeds: Sequence[int]) -> Volume:
        """Samples one volume per condition.

        Args:
            condition: What the volumes are to show, B of them.
            seeds: One per volume: the same checkpoint, condition and seed give the same volume.

        Returns:
            float32 volumes (B, C, D, H, W) in [-1, 1]; the tumour is {x > -0.9}.
        """

    @abstractmethod
    def describe_sampler(self) -> dict[str, Any]:
        """How volumes are sampled, as plain data for the manifest."""

    def sample_classes(self, names: Sequence[str], seeds: Sequence[int]) -> Volume:
        """As `sample`, with classes by name.

        Raises:
            InputError: This generator does not know a class.
        """
        return self.sample(Condition.of_classes(names, self.class_names), seeds)

    def prepare_sampling(self) -> None:
        """Does what is left to do to a trained generator that is going to sample and nothing else: here nothing."""

    @contextmanager
    def sampling_weights(self, trainer: L.Trainer) -> Iterator[None]:
        """Inside, the weights are those that a checkpoint written now would sample with: averaged ones where there are some.

        For callbacks, outside of a validation epoch (`on_validation_end`, not `on_validation_epoch_end`): between
        `on_validation_epoch_start` and `..._end` it depends on the order of callbacks which weights the model holds.
        """
        with ExitStack() as stack:
            for callback in trainer.callbacks:
                if isinstance(callback, WeightAveraging):
                    callback.on_validation_epoch_start(trainer, self)
                    stack.callback(callback.on_validation_epoch_end, trainer, self)
            yield

    def setup(self, stage: str) -> None:
        """Prepares sampling before `predict`."""
        super().setup(stage)
        if stage == "predict":
            self.prepare_sampling()

    def predict_step(self, batch: RequestBatch, batch_idx: int) -> Volume:
        """Samples what a batch of the request asks for; a callback writes it."""
        return self.sample(batch["condition"], batch["seed"])


class PerClass(Generator):
    """Generators that each know one class, as one: for methods that are trained per class.

    Args:
        members: One or more, in any order; no two know the same class.

    Raises:
        InputError: Two members know the same class, or their volumes differ in size.
    """

    def __init__(self, members: Sequence[Generator]) -> None:
        known: dict[str, Generator] = {}
        first = members[0]
        for member in members:
            if twice := known.keys() & set(member.class_names):
                raise InputError(f"two generators for the class {', '.join(twice)}; expected one for each class.")
            if (member.roi_size, member.spacing, member.in_channels) != (
                first.roi_size,
                first.spacing,
                first.in_channels,
            ):
                raise InputError(
                    f"a generator of {member.class_names[0]} makes {member.in_channels} x {member.roi_size}^3 voxels of "
                    f"{member.spacing:g} mm, that of {first.class_names[0]} {first.in_channels} x {first.roi_size}^3 of "
                    f"{first.spacing:g} mm; expected the same of all."
                )
            known |= dict.fromkeys(member.class_names, member)
        super().__init__(class_order(known), first.roi_size, first.spacing, first.in_channels)
        self.members = torch.nn.ModuleList(members)
        self._of_class = known

    def sample(self, condition: Condition, seeds: Sequence[int]) -> Volume:
        """Samples every volume from the member that knows its class; see `Generator.sample`."""
        volumes: dict[int, Volume] = {}
        for name, member in self._of_class.items():
            own = [i for i, label in enumerate(condition.label.tolist()) if self.class_names[label] == name]
            if own:
                sampled = member.sample_classes([name] * len(own), [seeds[i] for i in own])
                volumes |= zip(own, sampled, strict=True)
        return torch.stack([volumes[i] for i in range(len(condition))])

    def describe_sampler(self) -> dict[str, Any]:
        """The members' samplers by class."""
        return {name: member.describe_sampler() for name, member in self._of_class.items()}

    def prepare_sampling(self) -> None:
        """Prepares every member."""
        for member in self._of_class.values():
            member.prepare_sampling()


def load_generator(
    path: Path | str | Sequence[Path | str], trust: str | Iterable[str] = (), **options: Any
) -> Generator:
    """Loads a trained generator, ready to sample, on the CPU.

    Args:
        path: Checkpoint written by `tumorgen fit`; of a method that is trained per class, a list with one for each class.
        trust: Packages whose classes the checkpoint may name beside those of tumorgen: your own.
        **options: Replace what the checkpoint says of sampling, as on the command line, for example
            `sampler={"class_path": "tumorgen.methods.transformer.decoding.CachedAutoregressive", "init_args": {"top_k": 5}}`.

    Raises:
        InputError: The file cannot be used, holds no generator, or an option is none of its `runtime_options`.
    """
    if not isinstance(path, Path | str):
        return PerClass([load_generator(one, trust, **options) for one in path]).eval()
    with trusting(trust):
        generator = load_method(path, Generator, **options)  # type: ignore[type-abstract]
    generator.prepare_sampling()
    return generator
