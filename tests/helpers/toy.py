"""A data set that fits on a postcard: two classes of blobs, drawn in memory."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from data_modules.base import Item, Part, ROIDataModule, VolumeSet
from data_modules.origin import PatientKey

TOY_KEY = PatientKey("toy", bytes(16))


def blob(label: int, size: int, seed: int) -> Tensor:
    """(1, size, size, size): an ellipsoid in [-1, 1] on a background of -1; class 1 is larger and has a dark core."""
    generator = torch.Generator().manual_seed(seed)
    axis = torch.linspace(-1, 1, size)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    radii = (0.45 + 0.2 * label) * (0.8 + 0.4 * torch.rand(3, generator=generator))
    distance = ((z / radii[0]) ** 2 + (y / radii[1]) ** 2 + (x / radii[2]) ** 2).sqrt()
    tumour = 0.4 + 0.15 * torch.randn(distance.shape, generator=generator)
    if label:
        tumour = torch.where(distance < 0.5, tumour - 0.7, tumour)
    volume = torch.where(distance < 1, tumour.clamp(-0.85, 1), -1.0)
    return volume[None].float()


class Blobs(VolumeSet):
    """`count` blobs with alternating classes, each of a patient of its own."""

    def __init__(self, count: int, size: int, seed: int, part: Part | None = None) -> None:
        self.keep(
            Item(volume=blob(i % 2, size, seed + i), label=i % 2, case=f"blob{seed + i:04d}") for i in range(count)
        )
        self.part = part

    def keep(self, items: Iterable[Item]) -> None:
        """Holds these items, and nothing else."""
        self.items = list(items)
        self.labels = np.array([item["label"] for item in self.items], dtype=np.int64)
        self.patients = self.cases = tuple(item["case"] for item in self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Item:
        return self.items[index]


class ToyDataModule(ROIDataModule):
    """Blobs for training, validation and test."""

    patient_key = TOY_KEY

    def __init__(self, roi_size: int = 16, spacing: float = 8.0, batch_size: int = 4, count: int = 8) -> None:
        super().__init__(roi_size, spacing, batch_size, num_workers=0)
        self.count = count

    @property
    def class_names(self) -> tuple[str, ...]:
        return ("LGG", "HGG")

    def setup(self, stage: str) -> None:
        self.train = Blobs(self.count, self.roi_size, 0, "train")
        self.val = Blobs(4, self.roi_size, 1000, "val")
        self.test = Blobs(4, self.roi_size, 2000, "test")
