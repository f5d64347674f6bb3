"""From folders to what is compared with what: which real volumes are held out, which ones a generator has seen."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Int

from data_modules.errors import InputError
from data_modules.volumes.folder import VolumeFolder
from tumorgen.evaluation.decoded import Decoded
from tumorgen.evaluation.evaluate import Progress, evaluate
from tumorgen.evaluation.extractors import Normalisation
from tumorgen.evaluation.features import extractors_for
from tumorgen.evaluation.origin import HELD_OUT, SAME_VOLUME, check_apart, check_origin, overlap
from tumorgen.methods.system import System
from tumorgen.metrics.distances import nearest, reduced, voxel_distances
from tumorgen.metrics.metric import Metric, Real, Resampling, Volumes
from tumorgen.results.records import Record

Reference: TypeAlias = Literal["held-out", "all"]
Positions: TypeAlias = Int[np.ndarray, " n"]

FEWEST = 4  # real volumes of a class: two halves of two
FEWEST_GENERATED = 3  # of a class: intervals leave one out, and what is left has a covariance


@dataclass(frozen=True)
class Options:
    """How folders are compared.

    Attributes:
        features: Feature spaces, with commas: `mri`, `classifier` (trained here), a classifier's checkpoint (.ckpt),
            TorchScript files (trusted ones only: they are run).
        script_normalisation: What TorchScript networks see: [-1, 1], or z-scores of the tumour's voxels on 0.
        reference: Real volumes that generated ones are compared with, where the manifest says parts: those that no generator
            of this fold was trained on (validation and test), or all.
        label: What to call the generated volumes; None: the system's name in their manifest, else the folder's name.
    """

    features: str = "mri,classifier"
    script_normalisation: Normalisation = "none"
    reference: Reference = "held-out"
    label: str | None = None


@dataclass(frozen=True)
class Folders:
    """Real and generated volumes that may be compared.

    Attributes:
        real: Real volumes.
        generated: Generated ones, with the real ones' classes and size.
        training: Those that the generator was trained on, where the real ones are all held out.
    """

    real: VolumeFolder
    generated: VolumeFolder
    training: VolumeFolder | None = None

    def trained_on(self) -> tuple[Positions, Positions | None]:
        """Positions of the training volumes, and of those held out in the real folder; None where nobody says it.

        Training volumes are those of a folder of its own (of its training part, where its manifest says parts), or the
        training part of the real folder, otherwise all real volumes.

        Raises:
            InputError: Both a folder and a manifest with parts say it, the training part is empty, or patients are in both.
        """
        if self.training is not None:
            if self.real.parts is not None:
                raise InputError(
                    f"--training: the manifest of {self.real.folder} says already which volumes are for training; leave the "
                    "option out"
                )
            own = _training_part(self.training)
            check_apart(self.real, self.training, own)
            return own, self.real.indices()
        if self.real.parts is None:
            return self.real.indices(), None
        held_out = self.real.indices(parts=HELD_OUT)
        return _training_part(self.real), held_out if len(held_out) else None

    def compared(self, reference: Reference) -> tuple[Positions, str]:
        """Positions of the real volumes that generated ones are compared with, and what they are.

        Raises:
            InputError: The folders differ in classes or size, or a class has too few volumes.
        """
        real, generated = self.real, self.generated
        if (real.class_names, real.roi_size) != (generated.class_names, generated.roi_size):
            raise InputError(
                f"{generated.folder}: classes {', '.join(generated.class_names)}, {generated.roi_size} voxels a side; expected "
                f"{', '.join(real.class_names)}, {real.roi_size} voxels, as {real.folder} has"
            )
        held_out = real.parts is not None and reference == "held-out"
        positions = real.indices(parts=HELD_OUT if held_out else None)
        for index, name in enumerate(real.class_names):
            own, theirs = len(generated.indices(index)), int((real.labels[positions] == index).sum())
            if own and (own < FEWEST_GENERATED or theirs < FEWEST):
                raise InputError(
                    f"class {name}: {own} generated volumes in {generated.folder} and {theirs} real ones "
                    f"{'held out in' if held_out else 'in'} {real.folder}; expected at least {FEWEST_GENERATED} and {FEWEST}"
                    + (". Compare with all real volumes: --reference all" if held_out else "")
                )
        if real.parts is None:
            return positions, "all"
        return positions, f"{'validation and test part' if held_out else 'all'} of fold {_fold(real)}"


@dataclass(frozen=True)
class Evaluation:
    """What was found, and on what.

    Attributes:
        folders: Where the volumes are.
        label: What the generated ones are called.
        real: Real volumes.
        generated: Generated volumes.
        records: Of all metrics.
    """

    folders: Folders
    label: str
    real: Real
    generated: Volumes
    records: Sequence[Record]


def evaluate_folders(
    folders: Folders,
    metrics: Sequence[Metric],
    scratch: Path,
    options: Options = Options(),
    resampling: Resampling = Resampling(),  # noqa: B008 (frozen)
    progress: Progress = lambda _: None,
) -> Evaluation:
    """Holds generated volumes against real ones, per class and pooled; every file is decoded once.

    Args:
        folders: The volumes.
        metrics: What is measured.
        scratch: Where decoded volumes may lie meanwhile.
        options: How folders are compared.
        resampling: How intervals, tests and floors are taken.
        progress: Is told what comes next.

    Raises:
        InputError: The folders do not fit each other, hold too few volumes, or held-out patients were trained on.
    """
    positions, which = folders.compared(options.reference)
    training, held_out = folders.trained_on()
    apart = check_origin(folders.real, folders.generated, folders.training)
    everything, generated = (_volumes(folder, scratch) for folder in (folders.real, folders.generated))
    trained = everything if folders.training is None else _volumes(folders.training, scratch)
    real = Real(
        class_names=folders.real.class_names,
        spacing=folders.real.spacing,
        compared=everything.select(torch.from_numpy(positions)),
        everything=everything,
        training=trained.select(torch.from_numpy(training)),
        held_out=None if held_out is None else everything.select(torch.from_numpy(held_out)),
        resampling=resampling,
        facts={"real_volumes": which, **({"held_out_patients": apart} if apart else {})},
    )
    if folders.training is not None:
        _check_distinct(real, folders)
    progress("feature extractors")
    real = replace(real, extractors=extractors_for(options.features, real, options.script_normalisation))
    label = (
        options.label or System.of_manifest(folders.generated.manifest).name or folders.generated.folder.resolve().name
    )
    return Evaluation(folders, label, real, generated, evaluate(real, generated, metrics, label, progress))


def _volumes(folder: VolumeFolder, scratch: Path) -> Volumes:
    return Volumes.of(Decoded(folder, scratch), folder.labels, folder.names, folder.patients)


def _training_part(folder: VolumeFolder) -> Positions:
    """Positions of the volumes for training: all where the manifest does not say parts."""
    positions = folder.indices(parts=None if folder.parts is None else ["train"])
    if not len(positions):
        raise InputError(f"{folder.folder}: manifest.json names no volume for training; export the cohort again")
    return positions


def _check_distinct(real: Real, folders: Folders) -> None:
    """Makes sure that no held-out volume is a volume of the training folder: the limit of a copy would be 0.

    Raises:
        InputError: Some are.
    """
    assert real.held_out is not None
    assert folders.training is not None
    found = nearest(voxel_distances(*(volumes.rows("distinct", reduced) for volumes in (real.held_out, real.training))))
    same = np.flatnonzero(found.distances <= SAME_VOLUME)
    if len(same):
        one, other = real.held_out.name(same[0]), real.training.name(found.indices[same[0]])
        volumes = f"{len(same)} volumes are in both (--real {one} equals --training {other})"
        raise overlap(folders.real, folders.training, volumes)


def _fold(real: VolumeFolder) -> str:
    stated = (real.manifest or {}).get("fold", {})
    return f"{stated.get('fold', '?')} of {stated.get('folds', '?')}"
