"""The one contract that all generative methods fulfil: from class labels and seeds to volumes.

Legend: B volumes, C MRI sequences, D H W voxels.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import torch

from data_modules.errors import InputError
from data_modules.origin import Origin
from data_modules.request import RequestBatch
from tumorgen.methods.loading import load_method
from tumorgen.methods.trust import trusting
from tumorgen.types import Labels, Volume


class Generator(L.LightningModule, ABC):
    """A trained method that samples tumours.

    Attributes:
        class_names: Classes in the order of their labels.
        roi_size: Side of the generated volumes in voxels.
        spacing: Side of a voxel in mm.
        origin: The patients behind everything that was trained for this generator.
        runtime_options: Constructor arguments that `predict` may replace: how to sample, not what was trained.
        self_contained: Constructor arguments that name a checkpoint whose content this method's own checkpoint carries.
    """

    runtime_options: ClassVar[tuple[str, ...]] = ()
    self_contained: ClassVar[tuple[str, ...]] = ()

    class_names: tuple[str, ...]
    roi_size: int
    spacing: float
    origin: Origin

    @abstractmethod
    def sample(self, labels: Labels, seeds: Sequence[int]) -> Volume:
        """Samples one volume per label.

        Args:
            labels: Class of every volume (B,).
            seeds: One per volume: the same checkpoint, label and seed give the same volume.

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
        unknown = sorted(set(names) - set(self.class_names))
        if unknown:
            raise InputError(
                f"this generator does not know the class {', '.join(unknown)}; it was trained on "
                f"{', '.join(self.class_names)}."
            )
        return self.sample(torch.tensor([self.class_names.index(name) for name in names], dtype=torch.int64), seeds)

    def prepare_sampling(self) -> None:
        """Does what is left to do to a trained generator that is going to sample and nothing else: here nothing."""

    def setup(self, stage: str) -> None:
        """Prepares sampling before `predict`."""
        if stage == "predict":
            self.prepare_sampling()

    def predict_step(self, batch: RequestBatch, batch_idx: int) -> Volume:
        """Samples what a batch of the request asks for; a callback writes it."""
        return self.sample(batch["label"], batch["seed"])


def load_generator(path: Path | str, trust: str | Iterable[str] = (), **options: Any) -> Generator:
    """Loads a trained generator, ready to sample, on the CPU.

    Args:
        path: Checkpoint written by `tumorgen fit`.
        trust: Packages whose classes the checkpoint may name beside those of tumorgen: your own.
        **options: Replace what the checkpoint says of sampling, as on the command line, for example
            `sampler={"class_path": "tumorgen.methods.transformer.decoding.CachedAutoregressive", "init_args": {"top_k": 5}}`.

    Raises:
        InputError: The file cannot be used, holds no generator, or an option is none of its `runtime_options`.
    """
    with trusting(trust):
        generator = load_method(path, Generator, **options)  # type: ignore[type-abstract]
    generator.prepare_sampling()
    return generator
