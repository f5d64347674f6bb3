"""Training on generated volumes, alone or with real ones, and testing on real ones."""

from pathlib import Path
from typing import Any

import numpy as np

from data_modules.base import VolumeSet
from data_modules.brats import BraTSDataModule
from data_modules.errors import InputError
from data_modules.origin import check_leakage, origin_known, unlisted_volumes
from data_modules.volumes.folder import VolumeFolder
from data_modules.volumes.select import (
    Pick,
    Selection,
    first_patients,
    joined,
    oversampled,
    with_shuffled_labels,
)


class SyntheticDataModule(BraTSDataModule):
    """Generated volumes for training, the real validation and test parts of the fold to be judged by.

    Volumes whose manifest says that patients of those parts were in the training data are refused. Generated volumes are
    augmented like real ones, so that augmentation does not tell them apart.

    Args:
        root: Folder of the real cohort.
        generated: Folder of generated volumes, or several; `{fold}` in a name becomes the number of the fold.
        generated_per_class: Use at most so many generated volumes of each class; None uses all.
        shuffle_labels: Permute the labels of the generated volumes: a negative control.
        selection_seed: Which volumes and patients are used, and the permutation.
        trust_unmanifested: Accept volumes that cannot tell which patients they were trained on.
        intensities: Range of the generated files where no manifest states it, see `VolumeFolder`.
        axes: Directions in which the axes of the generated files grow, where their headers are wrong, see `VolumeFolder`.
        convert: Resample generated volumes of another size or spacing instead of refusing them.
        options: Everything that `BraTSDataModule` takes.

    Attributes:
        generated_folders: The folders with their manifests, after `setup`.
        generated_origins: Per folder salt and hashes of training patients as its manifest has them, and whether there are
            others that are unknown: for the provenance of what is trained on the volumes.
    """

    train: VolumeSet | None  # type: ignore[assignment]  # wider than for real data alone

    def __init__(
        self,
        root: Path,
        generated: list[Path] | Path,
        generated_per_class: int | None = None,
        shuffle_labels: bool = False,
        selection_seed: int = 0,
        trust_unmanifested: bool = False,
        intensities: str | None = None,
        axes: str | None = None,
        convert: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(root, **options)
        if generated_per_class is not None and generated_per_class < 1:
            raise InputError(
                f"--data.generated_per_class is {generated_per_class}; expected 1 or more, or null for all."
            )
        folders = generated if isinstance(generated, list) else [generated]
        self.generated = [Path(str(folder).replace("{fold}", str(self.fold))) for folder in folders]
        self.generated_per_class = generated_per_class
        self.shuffle_labels, self.selection_seed = shuffle_labels, selection_seed
        self.trust_unmanifested = trust_unmanifested
        self.intensities, self.axes, self.convert = intensities, axes, convert
        self.generated_folders: list[VolumeFolder] = []
        self.generated_origins: list[dict[str, Any]] = []
        self._real: VolumeSet | None = None
        self._generated = Selection([])

    @property
    def train_real(self) -> VolumeSet | None:
        """Real training volumes, each once and under its own label; None where generated ones are trained on alone."""
        return self._real

    @property
    def train_generated(self) -> VolumeSet | None:
        """Generated training volumes, each once and under its own label."""
        return self._generated

    def setup(self, stage: str | None = None) -> None:
        """Puts the training set together; validation and test parts are the real ones.

        Raises:
            InputError: Generated volumes cannot be used, have seen held-out patients, or a class has no training volume.
        """
        super().setup(stage)
        assert self.train is not None
        self._generated = self._read_generated()
        self.train = self._training_set(self.train)
        counts = np.bincount(self.train.labels, minlength=self.num_classes)
        if not counts.all():
            names = [name for name, count in zip(self.class_names, counts, strict=True) if not count]
            raise InputError(
                f"--data.generated: no training volume of the class {', '.join(names)} in "
                f"{', '.join(map(str, self.generated))}; expected some of every class. Sample them, or mix in real ones."
            )

    def _training_set(self, real: VolumeSet) -> Selection:
        self.training_patients = []
        return self._labelled()

    def _labelled(self) -> Selection:
        """Generated volumes under the labels that they are trained with."""
        return with_shuffled_labels(self._generated, self.selection_seed) if self.shuffle_labels else self._generated

    def _read_generated(self) -> Selection:
        """Generated volumes as the options ask for them."""
        held_out = self.held_out
        self.generated_folders, self.generated_origins = [], []
        picks: list[Pick] = []
        for folder in self.generated:
            volumes = VolumeFolder(
                folder, self.class_names, self.roi_size, self.spacing, self.intensities, self.axes, self.convert
            )
            unlisted = unlisted_volumes(volumes)
            check_leakage(folder, volumes.manifest, held_out, unlisted, trust_unmanifested=self.trust_unmanifested)
            origin = dict((volumes.manifest or {}).get("training_patients") or {})
            if unlisted or not origin_known(volumes.manifest):  # accepted on trust, which is not handed on
                origin["training_patients_unknown"] = True
            self.generated_folders.append(volumes)
            self.generated_origins.append(origin)
            named = [f"generated{len(self.generated_folders)}/{name}" for name in volumes.names]
            facts = enumerate(zip(volumes.labels.tolist(), named, strict=True))
            picks += [Pick(volumes, index, label, patient=name, case=name) for index, (label, name) in facts]
        if self.generated_per_class is None:
            return Selection(picks)
        return first_patients(Selection(picks), self.selection_seed, per_class=self.generated_per_class)


class MixedDataModule(SyntheticDataModule):
    """Real and generated volumes for training, the real validation and test parts of the fold to be judged by.

    Args:
        root: Folder of the real cohort.
        generated: Folder of generated volumes, or several; an empty list trains on real ones alone.
        real_share: Share of the real training patients of each class, above 0 to 1. Larger shares hold smaller ones.
        oversample: Repeat volumes of smaller classes, after real and generated ones are put together.
        options: Everything that `SyntheticDataModule` and `BraTSDataModule` take.
    """

    def __init__(
        self,
        root: Path,
        generated: list[Path] | Path,
        real_share: float = 1.0,
        oversample: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(root, generated, **options)
        if not 0 < real_share <= 1:
            raise InputError(
                f"--data.real_share is {real_share}; expected above 0 to 1. Without real volumes, take SyntheticDataModule."
            )
        self.real_share, self.oversample = real_share, oversample

    def _training_set(self, real: VolumeSet) -> Selection:
        self._real = first_patients(real, self.selection_seed, share=self.real_share)
        self.training_patients = sorted(set(self._real.patients))
        result = joined(self._real, self._labelled())
        return oversampled(result, self.selection_seed) if self.oversample else result
