"""A data set that fits on a postcard: two classes of blobs, drawn in memory."""

import torch
from torch import Tensor
from torch.utils.data import Dataset

from data_modules.base import Item, ROIDataModule


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


class Blobs(Dataset[Item]):
    """`count` blobs with alternating classes."""

    def __init__(self, count: int, size: int, seed: int) -> None:
        self.items = [
            Item(volume=blob(i % 2, size, seed + i), label=i % 2, case=f"blob{seed + i:04d}") for i in range(count)
        ]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Item:
        return self.items[index]


class ToyDataModule(ROIDataModule):
    """Blobs for training, validation and test."""

    def __init__(self, roi_size: int = 16, spacing: float = 8.0, batch_size: int = 4, count: int = 8) -> None:
        super().__init__(roi_size, spacing, batch_size, num_workers=0)
        self.count = count

    @property
    def class_names(self) -> tuple[str, ...]:
        return ("LGG", "HGG")

    def setup(self, stage: str) -> None:
        self.train_dataset = Blobs(self.count, self.roi_size, 0)
        self.val_dataset = Blobs(4, self.roi_size, 1000)
        self.test_dataset = Blobs(4, self.roi_size, 2000)
        self.training_patients = [f"blob{i:04d}" for i in range(self.count)]
