"""A data set of one file: pebbles, two kinds of them, with folds of their own."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data_modules.base import Item, Part, ROIDataModule, VolumeSet
from data_modules.origin import PatientKey
from data_modules.transforms import Augmentation

KINDS = ("round", "flat")


def pebble(label: int, size: int, seed: int) -> Tensor:
    """A textured ellipsoid (1, D, H, W) in [-1, 1] on black."""
    draw = torch.Generator().manual_seed(seed)
    axis = torch.linspace(-1, 1, size)
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    radii = torch.tensor([0.7 - 0.35 * label, 0.7, 0.7]) * (0.8 + 0.3 * torch.rand(3, generator=draw))
    inside = (z / radii[0]) ** 2 + (y / radii[1]) ** 2 + (x / radii[2]) ** 2 < 1
    texture = 0.3 + 0.2 * torch.randn(inside.shape, generator=draw)
    return torch.where(inside, texture.clamp(-0.8, 1), -1.0)[None].float()


class Pebbles(VolumeSet):
    """Pebbles with these numbers; each is a patient."""

    def __init__(self, numbers: list[int], size: int, part: Part) -> None:
        self.numbers, self.size, self.part = numbers, size, part
        self.labels = np.array([number % 2 for number in numbers], dtype=np.int64)
        self.patients = self.cases = tuple(f"pebble{number:03d}" for number in numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Item:
        label = int(self.labels[index])
        return Item(volume=pebble(label, self.size, self.numbers[index]), label=label, case=self.cases[index])


class PebbleDataModule(ROIDataModule):
    """Pebbles in folds.

    Args:
        beach: Any folder; pebbles need none.
        count: Pebbles in all.
        roi_size: Side of a volume in voxels.
        spacing: Side of a voxel in mm.
        batch_size: Volumes per batch.
        folds: Number of folds.
        fold: The fold to test on.
        augmentation: Changes training volumes.
    """

    patient_key = PatientKey("pebbles", b"a secret of this beach")

    def __init__(
        self,
        beach: Path = Path(),
        count: int = 24,
        roi_size: int = 16,
        spacing: float = 2.0,
        batch_size: int = 4,
        folds: int = 2,
        fold: int = 0,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__(roi_size, spacing, batch_size, num_workers=0)
        self.count, self.folds, self.fold, self.augmentation = count, folds, fold, augmentation

    @property
    def class_names(self) -> tuple[str, ...]:
        """The kinds."""
        return KINDS

    def setup(self, stage: str | None = None) -> None:
        """Pairs of both kinds go round the folds; the last pair of the others is for validation."""
        pairs = [(2 * i, 2 * i + 1) for i in range(self.count // 2)]
        test = [number for i, pair in enumerate(pairs) if i % self.folds == self.fold for number in pair]
        others = [number for i, pair in enumerate(pairs) if i % self.folds != self.fold for number in pair]
        self.train, self.val, self.test = (
            Pebbles(numbers, self.roi_size, part)
            for numbers, part in ((others[:-4], "train"), (others[-4:], "val"), (test, "test"))
        )
