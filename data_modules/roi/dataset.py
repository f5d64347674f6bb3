"""Prepared regions of interest as a list of volumes."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import torch

from data_modules.base import Item, Part, VolumeSet
from data_modules.roi import cache
from data_modules.roi.cache import RoiStore
from data_modules.roi.prepare import ManifestEntry


class ROIDataset(VolumeSet):
    """Volumes of a store, read from their memory maps when asked for.

    Args:
        store: Where the volumes are.
        entries: The cases, in order.
        part: The part of the fold that they are.
    """

    def __init__(self, store: RoiStore, entries: Sequence[ManifestEntry], part: Part | None = None) -> None:
        self.store = store
        self.entries = tuple(entries)
        self.part = part
        self.labels = np.array([entry.label for entry in self.entries], dtype=np.int64)
        self.patients = tuple(entry.patient for entry in self.entries)
        self.cases = tuple(entry.case for entry in self.entries)

    def digest(self, index: int) -> str:
        """Changes with scan, mask, settings and the format of the cache."""
        roi = self.entries[index].roi
        made_of = (cache.FORMAT, asdict(self.store.settings), roi.scan.sha256, roi.mask.sha256)
        return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Item:
        entry = self.entries[index]
        volume = torch.from_numpy(self.store.load(entry.roi)).unsqueeze(0)
        return Item(volume=volume, label=entry.label, case=entry.case)
