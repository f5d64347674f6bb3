"""Are generated volumes copies of training volumes? The share that lies too close, and the closest pairs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from data_modules.errors import InputError
from data_modules.volumes import VolumeFolder
from tumorgen.evaluation.subjects import POOLED, Comparison
from tumorgen.metrics import memorisation
from tumorgen.metrics.memorisation import Nearest, closest_pairs, memorisation_share, nearest, nearest_other, threshold
from tumorgen.metrics.resampling import bootstrap_interval, half_split_floor
from tumorgen.records import Record

VOXELS = "voxels"


@dataclass(frozen=True)
class Training:
    """The volumes that a generator may have memorised, and those whose distances say what is close.

    Attributes:
        folder: Holds the training volumes.
        positions: Which of its volumes they are.
        held_out: Positions of held-out volumes in the real folder; None: leave-one-out among the training volumes.
    """

    folder: VolumeFolder
    positions: Int[np.ndarray, " n"]
    held_out: Int[np.ndarray, " h"] | None

    @property
    def reference(self) -> memorisation.Reference:
        """What distances are held against."""
        return "leave-one-out" if self.held_out is None else "held-out"


@dataclass(frozen=True)
class ClosePair:
    """A generated volume and the training volume nearest to it.

    Attributes:
        generated: Position in the generated folder.
        training: Position in the training folder.
        distance: Between them.
        space: `voxels`, or the name of a feature extractor.
    """

    generated: int
    training: int
    distance: float
    space: str


def training_of(real: VolumeFolder, training: VolumeFolder | None) -> Training:
    """Finds out what was trained on: a folder of its own, the manifest's training part, otherwise all real volumes.

    Raises:
        InputError: Both a folder and a manifest with parts say it, or the training part is empty.
    """
    if training is not None:
        if real.parts is not None:
            raise InputError(
                f"--training: the manifest of {real.folder} says already which volumes are for training; leave the option out"
            )
        return Training(training, training.indices(), real.indices())
    if real.parts is None:
        return Training(real, real.indices(), None)
    positions, held_out = real.indices(parts=["train"]), real.indices(parts=["val", "test"])
    if not len(positions):
        raise InputError(f"{real.folder}: manifest.json names no volume for training; export the cohort again")
    return Training(real, positions, held_out if len(held_out) else None)


def distances(
    generated: Tensor, training: Tensor, held_out: Tensor | None, patients: Iterable[str] | None
) -> tuple[Nearest, Nearest]:
    """Nearest training volumes of generated volumes, and the honest ones to hold them against.

    Args:
        generated: Features (m, F), or reduced volumes (m, 1, d, h, w).
        training: The same of training volumes.
        held_out: The same of held-out volumes; None: leave-one-out.
        patients: Of the training volumes, for leave-one-out.
    """
    between = memorisation.feature_distances if training.ndim == 2 else memorisation.voxel_distances
    found = nearest(between(generated, training))
    if held_out is not None:
        return found, nearest(between(held_out, training))
    return found, nearest_other(between(training, training), None if patients is None else list(patients))


def memory_records(
    comparison: Comparison, training: Training, found: Nearest, honest: Nearest, description: dict[str, Any] | None
) -> Iterator[Record]:
    """The memorisation share of every class and of all, in one space.

    Args:
        comparison: What is compared.
        training: What the generator was trained on.
        found: Nearest training volumes of all generated volumes.
        honest: Those of the held-out volumes, or of the training volumes themselves.
        description: Of the feature extractor; None for the space of voxels.
    """
    settings, space = comparison.settings, "features" if description else VOXELS
    generated_labels = comparison.generated.labels
    honest_labels = training.folder.labels[training.positions]
    if training.held_out is not None:
        honest_labels = comparison.real.labels[training.held_out]
    definition = memorisation.definition(
        "features" if description else "voxels", training.reference, size=comparison.real.roi_size
    )
    definition["real_volumes"] = "those held out" if training.held_out is not None else "those trained on"
    for subject in comparison.subjects:
        label = None if subject.name == POOLED else comparison.real.class_names.index(subject.name)
        own = found.distances if label is None else found.distances[generated_labels == label]
        reference = honest.distances if label is None else honest.distances[honest_labels == label]
        if len(reference) < 4:
            continue
        limit = threshold(reference)
        near = torch.from_numpy((own <= limit).astype(np.float64))
        yield Record(
            metric=f"memorisation_share_{space}",
            value=memorisation_share(own, reference),
            definition=comparison.definition(definition, {"extractor": description} if description else {}),
            subject=comparison.subject(subject.name),
            counts={
                "real": len(reference),
                "generated": len(own),
                "training": len(training.positions),
            },
            interval=bootstrap_interval(torch.mean, near, seed=settings.seed, resamples=settings.resamples),
            floor=half_split_floor(
                lambda a, b: memorisation_share(a.numpy(), b.numpy()),
                torch.from_numpy(reference),
                seed=settings.seed,
                splits=settings.splits,
            ),
            details={"limit": limit, "near_copies": int(near.sum()), "smallest_distance": float(own.min())},
        )


def close_pairs(training: Training, found: Nearest, space: str, n: int) -> list[ClosePair]:
    """The `n` closest pairs of a generated and a training volume, closest first."""
    return [
        ClosePair(pair.generated, int(training.positions[pair.training]), pair.distance, space)
        for pair in closest_pairs(found.distances, found.indices, n)
    ]
