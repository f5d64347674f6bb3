"""BraTS, and cohorts laid out like it, as a data module."""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from jsonargparse import lazy_instance
from rich.console import Console

from data_modules.base import Part
from data_modules.cohort.discover import Cohort, discover
from data_modules.cohort.folds import PatientCase
from data_modules.cohort.module import CohortDataModule
from data_modules.cohort.naming import Modality
from data_modules.cores import available_cores
from data_modules.errors import InputError
from data_modules.files import short_hash
from data_modules.phantoms.cohort import SETTINGS_FILE
from data_modules.roi.cache import RoiSettings, RoiStore
from data_modules.roi.dataset import ROIDataset
from data_modules.roi.extract import OversizePolicy
from data_modules.roi.prepare import Manifest, ManifestEntry, prepare
from data_modules.transforms import Augmentation, TumourAugmentation

# Lazy, so that the command line writes it into config.yaml as a class_path with arguments.
DEFAULT_AUGMENTATION: Augmentation = lazy_instance(TumourAugmentation)

# A case in work takes about 150 MB; beyond this many the disk is the limit.
_MOST_PREPARING = 16


class BraTSDataModule(CohortDataModule):
    """Tumour regions of a folder of glioma scans with expert segmentations, in training, validation and test parts.

    Reads every BraTS layout from 2015 on, and users' own folders with such names; `data_modules.cohort.discover.discover` says
    where classes come from. Every label above 0 is tumour, in BraTS 2024 the resection cavity too. `prepare_data` cuts
    the regions out once and keeps them, a manifest and the split of the cohort in a cache; `setup` only reads that cache, so
    that every process of a distributed run sees the same.

    Args:
        root: Folder of the cohort.
        grades: CSV file of your own with a class per case; None reads HGG/LGG folders and `name_mapping.csv`.
        grade_column: Column of the classes.
        modality: MRI sequence.
        class_names: Classes in label order, all that are used; None takes those found, LGG = 0 and HGG = 1. Folds do not
            depend on it.
        oversize: Tumours larger than the region: "crop" loses the outer voxels, "fit" enlarges that region's voxels.
        skip_unusable: Leave out cases that cannot be used instead of stopping with a list of them.
        augmentation: Changes training volumes (1, D, H, W); None trains on the originals.
        roi_size: Edge length of the cubic regions in voxels.
        spacing: Edge length of their voxels in mm.
        cache_dir: As for `CohortDataModule`.
        options: Everything else that `CohortDataModule` takes.
    """

    def __init__(
        self,
        root: Path,
        grades: Path | None = None,
        grade_column: str = "Grade",
        modality: Modality = "flair",
        class_names: list[str] | None = None,
        oversize: OversizePolicy = "crop",
        skip_unusable: bool = False,
        augmentation: Augmentation | None = DEFAULT_AUGMENTATION,
        roi_size: int = 128,
        spacing: float = 1.0,
        cache_dir: Path | None = None,
        **options: Any,
    ) -> None:
        super().__init__(root, roi_size, spacing, cache_dir, **options)
        self.grades = grades
        self.grade_column = self.stratified_by = grade_column
        self.given_class_names = class_names
        self.skip_unusable = skip_unusable
        self.phantom = (self.root / SETTINGS_FILE).is_file()
        # the lazy object itself cannot be sent to loader processes
        self.augmentation = TumourAugmentation() if augmentation is DEFAULT_AUGMENTATION else augmentation
        self.settings = RoiSettings(modality, roi_size, spacing, oversize)
        self._manifest: Manifest | None = None
        self.place = self.manifest_path.parent

    @cached_property
    def cohort(self) -> Cohort:
        """What is in the folder, by names and tables alone."""
        return discover(self.root, self.settings.modality, self.grades, self.grade_column, self.given_class_names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; the position is the label."""
        return self.cohort.class_names

    @cached_property
    def store(self) -> RoiStore:
        """The prepared regions of interest."""
        return RoiStore(self.root, self.cache_dir, self.settings)

    @property
    def manifest_path(self) -> Path:
        """The list of prepared cases, one per way of giving classes; the regions themselves are shared."""
        grades = None if self.grades is None else os.path.relpath(self.grades, self.root)
        digest = short_hash(grades, self.grade_column, self.given_class_names, self.skip_unusable)
        column = "".join(letter if letter.isalnum() else "-" for letter in self.grade_column)
        return self.store.folder / f"{column}-{digest}" / "manifest.json"

    @property
    def manifest(self) -> Manifest:
        """All prepared cases.

        Raises:
            InputError: if the cohort has not been prepared.
        """
        if self._manifest is None:
            self._manifest = Manifest.read(self.manifest_path)
        return self._manifest

    def case_record(self, case: str) -> ManifestEntry:
        """Class, patient, geometry and intensities of one prepared case.

        Raises:
            InputError: if there is no such case.
        """
        for entry in self.manifest.entries:
            if entry.case == case:
                return entry
        raise InputError(f"{self.manifest_path}: no case {case!r} among the {len(self.manifest.entries)} prepared ones")

    def all_cases(self) -> Sequence[PatientCase]:
        """All cases of the cohort, by names and tables alone."""
        return self.cohort.all_cases

    def used_cases(self) -> Sequence[PatientCase]:
        """The prepared cases."""
        return [PatientCase(entry.case, entry.patient, entry.class_name) for entry in self.manifest.entries]

    def volumes(self, cases: Sequence[str], part: Part) -> ROIDataset:
        """Prepared cases as a list of volumes."""
        entries = {entry.case: entry for entry in self.manifest.entries}
        return ROIDataset(self.store, [entries[case] for case in cases], part)

    def describe(self) -> dict[str, Any]:
        """MRI sequence, and what was done with tumours that are larger than the region."""
        return {"modality": self.settings.modality, "oversize": self.settings.oversize}

    def remarks(self) -> dict[str, list[int]]:
        """Cases per class whose tumour does not fit the region."""
        cropped = [entry.label for entry in self.manifest.entries if entry.roi.cropped_voxels > 0]
        return {"cropped": [cropped.count(label) for label in range(self.num_classes)]}

    def prepare_data(self) -> None:
        """Cuts out what is missing or changed, and writes the manifest; `tumorgen prepare` calls just this.

        Raises:
            InputError: if cases cannot be used or cannot be split; all of them are listed.
        """
        if not self.cohort.problems:  # before minutes of work; what is broken inside files changes the counts later
            self.deal([PatientCase(case.case, case.patient, case.class_name) for case in self.cohort.cases])
        manifest = prepare(
            self.cohort,
            self.store,
            skip_unusable=self.skip_unusable,
            workers=min(available_cores(), _MOST_PREPARING),
            console=Console(stderr=True),
        )
        self.deal([PatientCase(entry.case, entry.patient, entry.class_name) for entry in manifest.entries])
        manifest.write(self.manifest_path, self.store)
        self._manifest = None
