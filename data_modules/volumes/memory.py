"""Volumes kept in memory once they were read."""

from collections.abc import Hashable, MutableMapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from data_modules.base import Item, VolumeSet
from data_modules.roi.extract import BACKGROUND


class Block(NamedTuple):
    """The part of a volume that is not background, and where it was."""

    values: Tensor
    start: tuple[int, ...]
    shape: torch.Size


class InMemory(VolumeSet):
    """Another list, each volume of it read once; of background, nothing is kept.

    Args:
        volumes: The list.
        kept: Blocks by case, where several lists of the same cohort share them.
    """

    def __init__(self, volumes: VolumeSet, kept: MutableMapping[Hashable, Block] | None = None) -> None:
        self.volumes = volumes
        self._kept: MutableMapping[Hashable, Block] = {} if kept is None else kept
        self._keys: Sequence[Hashable] = range(len(volumes)) if kept is None else volumes.cases
        self.labels, self.patients, self.cases, self.part = (
            volumes.labels,
            volumes.patients,
            volumes.cases,
            volumes.part,
        )

    def __len__(self) -> int:
        return len(self.volumes)

    def __getitem__(self, index: int) -> Item:
        key = self._keys[index]
        if key not in self._kept:
            self._kept[key] = _block(self.volumes[index]["volume"])
        values, start, shape = self._kept[key]
        volume = torch.full(shape, BACKGROUND)
        volume[tuple(slice(begin, begin + size) for begin, size in zip(start, values.shape, strict=True))] = values
        return Item(volume=volume, label=int(self.labels[index]), case=self.cases[index])

    def digest(self, index: int) -> str:
        """As of the list."""
        return self.volumes.digest(index)

    def filled(self) -> "InMemory":
        """The same, all of it read: worker processes to come share what is in memory."""
        for index in range(len(self)):
            self[index]
        return self


def _block(volume: Tensor) -> Block:
    inside = (volume != BACKGROUND).nonzero()
    if not len(inside):
        return Block(volume[..., :0, :0, :0].clone(), (0,) * volume.ndim, volume.shape)
    low, high = inside.amin(0).tolist(), inside.amax(0).tolist()
    block = volume[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))]
    return Block(block.clone(), tuple(low), volume.shape)
