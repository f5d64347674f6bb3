"""All figures of generated against real volumes, with bounded memory: volumes are read when they are needed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from data_modules.volumes.folder import VolumeFolder
from tumorgen.evaluation.appearance import diversity_records, shape_records
from tumorgen.evaluation.distances import block_records, feature_records, paper_records
from tumorgen.evaluation.extractors import FeatureExtractor, extract
from tumorgen.evaluation.groups import Comparison, Settings, Volumes, compare
from tumorgen.evaluation.memory import (
    VOXELS,
    ClosePair,
    Training,
    check_distinct,
    close_pairs,
    distances,
    memory_records,
    training_of,
)
from tumorgen.metrics.memorisation import FINEST_SIDE, reduced
from tumorgen.metrics.mmd import block_means
from tumorgen.metrics.shape import Shape, shape_of
from tumorgen.results.records import Record

Say = Callable[[str], None]


@dataclass(frozen=True)
class Evaluation:
    """What was found.

    Attributes:
        records: All figures.
        pairs: The closest pairs of generated and training volumes, per space, closest first.
        training: What the generator was taken to be trained on.
    """

    records: tuple[Record, ...]
    pairs: tuple[ClosePair, ...]
    training: Training


def evaluate(
    real: VolumeFolder,
    generated: VolumeFolder,
    extractors: Sequence[FeatureExtractor],
    settings: Settings = Settings(),  # noqa: B008 (frozen)
    label: str | None = None,
    training: VolumeFolder | None = None,
    say: Say = lambda _: None,
) -> Evaluation:
    """Holds generated volumes against real ones, per class and pooled.

    Args:
        real: Real volumes. Where their manifest says parts, generated ones are compared with those held out (unless
            `settings.reference` says all), and copies are looked for in the training part.
        generated: Generated volumes, of the same classes, size and spacing.
        extractors: Feature spaces; two or more, since rankings depend on them.
        settings: How figures are taken.
        label: What to call the generated ones; None takes the folder's name.
        training: Training volumes, where the real ones are all held out.
        say: Is told what comes next.

    Raises:
        InputError: The folders do not fit each other, hold too few volumes, or held-out patients were trained on.
    """
    comparison = compare(real, generated, settings, label or generated.folder.resolve().name, training)
    trained = training_of(real, training)
    records: list[Record] = []
    pairs: list[ClosePair] = []
    say(
        "distances of voxels to the nearest training volume"
    )  # first: it finds held-out volumes that are training volumes
    memorised, closest = _in_voxels(comparison, trained)
    say("shapes and block means")
    (ours, our_blocks), (theirs, their_blocks) = (_looks(folder, settings.blocks) for folder in (generated, real))
    records += shape_records(comparison, ours, theirs)
    records += block_records(comparison, our_blocks, their_blocks)
    for extractor in extractors:
        say(f"features: {extractor.name}")
        found, pairs_found = _in_features(comparison, trained, extractor)
        records += found
        pairs += pairs_found
    records += memorised
    say("published MMD")
    records += paper_records(comparison)
    say(f"MS-SSIM of pairs, up to {settings.pairs} per class")
    records += diversity_records(comparison)
    return Evaluation(tuple(records), (*closest, *pairs), trained)


def _looks(folder: VolumeFolder, blocks: int) -> tuple[list[Shape], Tensor]:
    """Shapes and block means of all volumes, in one pass."""
    shapes, means = [], []
    for volume in Volumes(folder, range(len(folder))):
        shapes.append(shape_of(volume[0].numpy(), folder.spacing))
        means.append(block_means(volume[None], min(blocks, folder.roi_size))[0])
    return shapes, torch.stack(means)


def _in_features(
    comparison: Comparison, training: Training, extractor: FeatureExtractor
) -> tuple[list[Record], list[ClosePair]]:
    """Everything that one feature space says."""
    generated, real = (extract(extractor, folder) for folder in (comparison.generated, comparison.real))
    trained = real if training.folder is comparison.real else extract(extractor, training.folder)
    records = list(feature_records(comparison, extractor, generated, real))
    found, closest = _memory(
        comparison,
        training,
        (generated, trained[training.positions], None if training.held_out is None else real[training.held_out]),
        extractor.description(),
    )
    return records + found, closest


def _in_voxels(comparison: Comparison, training: Training) -> tuple[list[Record], list[ClosePair]]:
    """Memorisation in the space of voxels."""
    side = min(FINEST_SIDE, comparison.real.roi_size)

    def read(folder: VolumeFolder, positions: Sequence[int] | Int[np.ndarray, " n"]) -> Tensor:
        stacked = torch.empty(len(positions), 1, side, side, side)
        for row, volume in zip(stacked, Volumes(folder, positions), strict=True):
            row.copy_(reduced([volume], side)[0])
        return stacked

    generated = read(comparison.generated, range(len(comparison.generated)))
    held_out = None if training.held_out is None else read(comparison.real, training.held_out)
    return _memory(comparison, training, (generated, read(training.folder, training.positions), held_out), None)


def _memory(
    comparison: Comparison,
    training: Training,
    volumes: tuple[Tensor, Tensor, Tensor | None],
    description: dict[str, Any] | None,
) -> tuple[list[Record], list[ClosePair]]:
    """Memorisation share and closest pairs of generated, training and held-out volumes in one space."""
    patients = training.folder.patients
    found, honest = distances(*volumes, [patients[i] for i in training.positions])
    if description is None:
        check_distinct(comparison, training, honest)
    space = str(description["name"]) if description else VOXELS
    records = list(memory_records(comparison, training, found, honest, description))
    return records, close_pairs(training, found, space, comparison.settings.closest)
