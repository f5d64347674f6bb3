"""Are generated volumes copies of training volumes? The share that lies too close, and the closest pairs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from data_modules.errors import InputError
from data_modules.volumes.folder import VolumeFolder
from tumorgen.evaluation.groups import POOLED, Comparison
from tumorgen.evaluation.origin import HELD_OUT, SAME_VOLUME, check_apart, overlap
from tumorgen.metrics import memorisation
from tumorgen.metrics.memorisation import Nearest, closest_pairs, memorisation_share, nearest, nearest_other, threshold
from tumorgen.metrics.resampling import half_split_floor, share_interval
from tumorgen.results.records import Record

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

    Of a folder of its own whose manifest says parts, only the training part counts.

    Raises:
        InputError: Both a folder and a manifest with parts say it, the training part is empty, or patients are in both folders.
    """
    if training is not None:
        if real.parts is not None:
            raise InputError(
                f"--training: the manifest of {real.folder} says already which volumes are for training; leave the option out"
            )
        own = _training_part(training)
        check_apart(real, training, own)
        return Training(training, own, real.indices())
    if real.parts is None:
        return Training(real, real.indices(), None)
    positions, held_out = _training_part(real), real.indices(parts=HELD_OUT)
    return Training(real, positions, held_out if len(held_out) else None)


def _training_part(folder: VolumeFolder) -> Int[np.ndarray, " n"]:
    """Positions of the volumes for training: all where the manifest does not say parts."""
    positions = folder.indices(parts=None if folder.parts is None else ["train"])
    if not len(positions):
        raise InputError(f"{folder.folder}: manifest.json names no volume for training; export the cohort again")
    return positions


def check_distinct(comparison: Comparison, training: Training, honest: Nearest) -> None:
    """Makes sure that no held-out volume is a volume of a training folder of its own, told by distances of voxels.

    Raises:
        InputError: Some are: the limit below which a volume counts as a copy would be 0.
    """
    if training.held_out is None or training.folder is comparison.real:
        return
    same = np.flatnonzero(honest.distances <= SAME_VOLUME)
    if len(same):
        one = comparison.real.names[training.held_out[same[0]]]
        other = training.folder.names[training.positions[honest.indices[same[0]]]]
        raise overlap(
            comparison.real,
            training.folder,
            f"{len(same)} volumes are in both (--real {one} equals --training {other})",
        )


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
    for group in comparison.groups:
        label = None if group.name == POOLED else comparison.real.class_names.index(group.name)
        own = found.distances if label is None else found.distances[generated_labels == label]
        reference = honest.distances if label is None else honest.distances[honest_labels == label]
        if len(reference) < 4:
            continue
        limit = threshold(reference)
        near = int((own <= limit).sum())
        yield Record(
            metric=f"memorisation_share_{space}",
            value=memorisation_share(own, reference),
            definition=comparison.definition(definition, {"extractor": description} if description else {}),
            group=comparison.group(group.name),
            counts={
                "real": len(reference),
                "generated": len(own),
                "training": len(training.positions),
            },
            interval=share_interval(near, len(own)),
            floor=half_split_floor(
                lambda a, b: memorisation_share(a.numpy(), b.numpy()),
                torch.from_numpy(reference),
                seed=settings.seed,
                splits=settings.splits,
            ),
            details={"limit": limit, "near_copies": near, "smallest_distance": float(own.min())},
        )


def close_pairs(training: Training, found: Nearest, space: str, n: int) -> list[ClosePair]:
    """The `n` closest pairs of a generated and a training volume, closest first."""
    return [
        ClosePair(pair.generated, int(training.positions[pair.training]), pair.distance, space)
        for pair in closest_pairs(found.distances, found.indices, n)
    ]
