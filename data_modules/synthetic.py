"""Training on generated volumes, alone or with real ones, and testing on real ones; whatever cohort the real ones are of."""

from pathlib import Path
from typing import Any

import numpy as np

from data_modules.base import ROIDataModule, VolumeSet
from data_modules.errors import InputError
from data_modules.origin import Origin
from data_modules.volumes.folder import VolumeFolder
from data_modules.volumes.memory import InMemory
from data_modules.volumes.select import (
    Pick,
    Selection,
    first_patients,
    joined,
    oversampled,
    with_shuffled_labels,
)


class SyntheticDataModule(ROIDataModule):
    """Generated volumes for training, the real validation and test parts of a fold to be judged by.

    Volumes whose manifest says that patients of those parts were in the training data are refused. Generated volumes are
    augmented like real ones, so that augmentation does not tell them apart.

    Args:
        real: The real data: classes, sizes, loaders and augmentation are theirs.
        generated: Folder of generated volumes, or several; `{fold}` in a name becomes the number of the fold.
        generated_per_class: Use at most so many generated volumes of each class; None uses all.
        shuffle_labels: Permute the labels of the generated volumes: a negative control.
        selection_seed: Which volumes and patients are used, and the permutation.
        trust_unmanifested: Accept volumes that cannot tell which patients they were trained on.
        intensities: Range of the generated files where no manifest states it, see `VolumeFolder`.
        axes: Directions in which the axes of the generated files grow, where their headers are wrong, see `VolumeFolder`.
        convert: Resample generated volumes of another size or spacing instead of refusing them.
    """

    def __init__(
        self,
        real: ROIDataModule,
        generated: list[Path] | Path,
        generated_per_class: int | None = None,
        shuffle_labels: bool = False,
        selection_seed: int = 0,
        trust_unmanifested: bool = False,
        intensities: str | None = None,
        axes: str | None = None,
        convert: bool = False,
    ) -> None:
        super().__init__(real.roi_size, real.spacing, real.batch_size, real.num_workers)
        if generated_per_class is not None and generated_per_class < 1:
            raise InputError(
                f"--data.generated_per_class is {generated_per_class}; expected 1 or more, or null for all."
            )
        self.real = real
        self.channels, self.augmentation, self.phantom = real.channels, real.augmentation, real.phantom
        self.fold, self.folds = real.fold, real.folds
        folders = generated if isinstance(generated, list) else [generated]
        self.generated = [Path(str(folder).replace("{fold}", str(self.fold))) for folder in folders]
        self.generated_per_class = generated_per_class
        self.shuffle_labels, self.selection_seed = shuffle_labels, selection_seed
        self.trust_unmanifested = trust_unmanifested
        self.intensities, self.axes, self.convert = intensities, axes, convert
        self._folders: list[VolumeFolder] = []
        self._generated = Selection([])
        self._real: VolumeSet | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the real classes; the position is the label."""
        return self.real.class_names

    @property
    def train_real(self) -> VolumeSet | None:
        """Real training volumes, each once and under its own label; None where generated ones are trained on alone."""
        return self._real

    @property
    def train_generated(self) -> VolumeSet | None:
        """Generated training volumes, each once and under its own label."""
        return self._generated

    @property
    def origin(self) -> Origin:
        """Real patients that are trained on, and those behind the generated volumes."""
        return super().origin.joined(*(folder.origin for folder in self._folders))

    def describe(self) -> dict[str, Any]:
        """As of the real data."""
        return self.real.describe()

    def prepare_data(self) -> None:
        """Prepares the real data."""
        self.real.prepare_data()

    def setup(self, stage: str) -> None:
        """Puts the training set together; validation and test parts are the real ones.

        Raises:
            InputError: Generated volumes cannot be used, have seen held-out patients, or a class has no training volume.
        """
        self.real.setup(stage)
        self.patient_key = self.real.patient_key
        parts = self.real.parts()
        self.val, self.test = parts.get("val"), parts.get("test")
        self._folders = [self._opened(folder) for folder in self.generated]
        self._generated = self._chosen()
        self.train = self._training_set(parts["train"])
        counts = np.bincount(self.train.labels, minlength=self.num_classes)
        if not counts.all():
            names = [name for name, count in zip(self.class_names, counts, strict=True) if not count]
            raise InputError(
                f"--data.generated: no training volume of the class {', '.join(names)} in "
                f"{', '.join(map(str, self.generated))}; expected some of every class. Sample them, or mix in real ones."
            )

    def _training_set(self, real: VolumeSet) -> Selection:
        return self._labelled()

    def _labelled(self) -> Selection:
        """Generated volumes under the labels that they are trained with."""
        return with_shuffled_labels(self._generated, self.selection_seed) if self.shuffle_labels else self._generated

    def _opened(self, folder: Path) -> VolumeFolder:
        volumes = VolumeFolder(
            folder, self.class_names, self.roi_size, self.spacing, self.intensities, self.axes, self.convert
        )
        self.real.check_volumes(volumes, self.trust_unmanifested)
        return volumes

    def _chosen(self) -> Selection:
        """Generated volumes as the options ask for them, under names that tell volumes of several folders apart."""
        picks = []
        for number, folder in enumerate(self._folders, start=1):
            volumes = InMemory(folder)
            for index, (label, name) in enumerate(zip(folder.labels.tolist(), folder.names, strict=True)):
                own = f"generated{number}/{name}"
                picks.append(Pick(volumes, index, label, patient=own, case=own))
        if self.generated_per_class is None:
            return Selection(picks)
        return first_patients(Selection(picks), self.selection_seed, per_class=self.generated_per_class)


class MixedDataModule(SyntheticDataModule):
    """Real and generated volumes for training, the real validation and test parts of the fold to be judged by.

    Args:
        real: The real data.
        generated: Folder of generated volumes, or several; an empty list trains on real ones alone.
        real_share: Share of the real training patients of each class, above 0 to 1. Larger shares hold smaller ones.
        oversample: Repeat volumes of smaller classes, after real and generated ones are put together.
        options: Everything else that `SyntheticDataModule` takes.
    """

    def __init__(
        self,
        real: ROIDataModule,
        generated: list[Path] | Path,
        real_share: float = 1.0,
        oversample: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(real, generated, **options)
        if not 0 < real_share <= 1:
            raise InputError(
                f"--data.real_share is {real_share}; expected above 0 to 1. Without real volumes, take SyntheticDataModule."
            )
        self.real_share, self.oversample = real_share, oversample

    def _training_set(self, real: VolumeSet) -> Selection:
        self._real = first_patients(real, self.selection_seed, share=self.real_share)
        result = joined(self._real, self._labelled())
        return oversampled(result, self.selection_seed) if self.oversample else result
