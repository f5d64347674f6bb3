"""Prepared regions of interest as a dataset."""

from collections.abc import Sequence

import torch
from torch.utils.data import Dataset

from data_modules.base import Item
from data_modules.roi.cache import RoiStore
from data_modules.roi.prepare import ManifestEntry
from data_modules.transforms import Augmentation


class ROIDataset(Dataset[Item]):
    """Volumes of a store, read from their memory maps when asked for.

    Args:
        store: Where the volumes are.
        entries: The cases of this dataset, in order.
        augmentation: Applied to every volume (1, D, H, W) read.
    """

    def __init__(
        self,
        store: RoiStore,
        entries: Sequence[ManifestEntry],
        augmentation: Augmentation | None = None,
    ) -> None:
        self.store = store
        self.entries = tuple(entries)
        self.augmentation = augmentation

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Item:
        entry = self.entries[index]
        volume = torch.from_numpy(self.store.load(entry.roi)).unsqueeze(0)
        if self.augmentation is not None:
            volume = self.augmentation(volume)
        return Item(volume=volume, label=entry.label, case=entry.case)
