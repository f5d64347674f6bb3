"""The one contract that all generative methods fulfil: from class labels and seeds to volumes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import lightning as L

from data_modules.request import RequestBatch
from tumorgen.types import Labels, Volume


class Generator(L.LightningModule, ABC):
    """A trained method that samples tumours.

    Attributes:
        class_names: Classes in the order of their labels.
        roi_size: Side of the generated volumes in voxels.
        spacing: Side of a voxel in mm.
        provenance: Salt and salted hashes of the patients behind everything that was trained for this generator.
        runtime_options: Constructor arguments that `predict` may replace: how to sample, not what was trained.
        self_contained: Constructor arguments that name a checkpoint whose content this method's own checkpoint carries.
    """

    runtime_options: ClassVar[tuple[str, ...]] = ()
    self_contained: ClassVar[tuple[str, ...]] = ()

    class_names: tuple[str, ...]
    roi_size: int
    spacing: float
    provenance: dict[str, Any]

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

    def predict_step(self, batch: RequestBatch, batch_idx: int) -> Volume:
        """Samples what a batch of the request asks for; a callback writes it."""
        return self.sample(batch["label"], batch["seed"])
