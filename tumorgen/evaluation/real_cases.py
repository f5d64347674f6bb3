"""The real regions of interest that a generator is held against while it trains, read once and kept small."""

import math
from collections.abc import Callable, Sized
from dataclasses import dataclass, field
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F

from data_modules.base import ROIDataModule
from tumorgen.types import Volume

SMALL = 32
"""Voxels per side, at most, of the volumes that are compared with every training case."""


@dataclass(frozen=True)
class RealCases:
    """Real volumes in [-1, 1], by label; every list has one entry per class.

    Attributes:
        held_out: Validation cases (n, C, D, H, W).
        held_out_small: The same averaged to at most `SMALL` voxels per side.
        training_small: Real training cases, not augmented, averaged in the same way.
        generated_small: Generated volumes that were trained on, not augmented, averaged in the same way; nothing where
            there are none.
    """

    held_out: list[Volume]
    held_out_small: list[Volume]
    training_small: list[Volume]
    generated_small: list[Volume] = field(default_factory=list)


@dataclass(frozen=True)
class Samples:
    """Volumes sampled from the current weights.

    Attributes:
        volumes: (n, C, D, H, W) in [-1, 1] per class, on the CPU.
        small: The same averaged to at most `SMALL` voxels per side.
        name: What they are called in records, for example `epoch 20`.
    """

    volumes: list[Volume]
    small: list[Volume]
    name: str


def shrink(volumes: Volume) -> Volume:
    """Volumes averaged over blocks, such that no side has more than `SMALL` voxels."""
    factor = math.ceil(max(volumes.shape[2:]) / SMALL)
    return F.avg_pool3d(volumes, factor) if factor > 1 else volumes


def read_real_cases(trainer: L.Trainer, classes: int) -> RealCases:
    """Reads training and validation cases of the data module; all random numbers stay as they are."""
    training, generated, held_out = datasets_of(trainer)
    return RealCases(
        held_out=_by_label(held_out, classes, lambda volume: volume),
        held_out_small=_by_label(held_out, classes, shrink),
        training_small=_by_label(training, classes, shrink),
        generated_small=_by_label(generated, classes, shrink) if len(generated) else [],
    )


def datasets_of(trainer: L.Trainer) -> tuple[Any, Any, Any]:
    """Real training cases, generated volumes that are trained on, and validation cases; empty where there are none.

    As they are on disk and each once, however training changes, repeats or relabels them.
    """
    data: ROIDataModule = trainer.datamodule
    return data.train_real or [], data.train_generated or [], data.val or []


def _by_label(dataset: Sized, classes: int, kept: Callable[[Volume], Volume]) -> list[Volume]:
    found: list[list[Volume]] = [[] for _ in range(classes)]
    shape = torch.Size([0, 1, 1, 1, 1])
    for index in range(len(dataset)):
        item = dataset[index]  # type: ignore[index]  # datasets of torch have no common base with __len__
        volume = kept(item["volume"][None].float())
        found[item["label"]].append(volume)
        shape = torch.Size([0, *volume.shape[1:]])
    return [torch.cat(volumes) if volumes else torch.empty(shape) for volumes in found]
