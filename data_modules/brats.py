"""BraTS, and cohorts laid out like it, as a data module."""

import os
from functools import cached_property
from pathlib import Path

from jsonargparse import lazy_instance
from rich.console import Console

from data_modules.base import ROIDataModule, available_cores
from data_modules.cohort.discover import Cohort, discover
from data_modules.cohort.naming import Modality
from data_modules.cohort.splits import Member, Split, make_splits, read_split, write_splits
from data_modules.errors import InputError
from data_modules.roi.cache import RoiSettings, RoiStore, short_hash
from data_modules.roi.dataset import ROIDataset
from data_modules.roi.extract import OversizePolicy
from data_modules.roi.prepare import Manifest, ManifestEntry, prepare
from data_modules.transforms import Augmentation, TumourAugmentation

# Lazy, so that the command line writes it into config.yaml as a class_path with arguments.
DEFAULT_AUGMENTATION: Augmentation = lazy_instance(TumourAugmentation)

# A case in work takes about 150 MB; beyond this many the disk is the limit.
_MOST_PREPARING = 16


class BraTSDataModule(ROIDataModule):
    """Tumour regions of a folder of glioma scans with expert segmentations, in training, validation and test parts.

    Reads every BraTS layout from 2015 on, and users' own folders with such names; `data_modules.cohort.discover.discover` says
    where classes come from. Every label above 0 is tumour, in BraTS 2024 the resection cavity too. `prepare_data` cuts
    the regions out once and keeps them, a manifest and the splits in a cache; `setup` only reads that cache, so that
    every process of a distributed run sees the same.

    Args:
        root: Folder of the cohort.
        grades: CSV file of your own with a class per case; None reads HGG/LGG folders and `name_mapping.csv`.
        grade_column: Column of the classes.
        modality: MRI sequence.
        class_names: Classes in label order; None takes those found, LGG = 0 and HGG = 1.
        roi_size: Edge length of the cubic regions in voxels.
        spacing: Edge length of their voxels in mm.
        oversize: Tumours larger than the region: "crop" loses the outer voxels, "fit" enlarges that region's voxels.
        skip_unusable: Leave out cases that cannot be used instead of stopping with a list of them.
        cache_dir: Folder for caches; None takes `.tumorgen` in `root`, or the user's cache where root is read-only.
        folds: Number of patient-level, stratified folds.
        fold: The fold to test on, from 0.
        val_share: Share of the other folds' cases held back for validation.
        seed: Seed of the folds.
        batch_size: Volumes per batch and process.
        num_workers: Loader processes; None chooses, see `ROIDataModule`.
        augmentation: Changes training volumes (1, D, H, W); None trains on the originals.
    """

    train: ROIDataset | None
    val: ROIDataset | None
    test: ROIDataset | None

    def __init__(
        self,
        root: Path,
        grades: Path | None = None,
        grade_column: str = "Grade",
        modality: Modality = "flair",
        class_names: list[str] | None = None,
        roi_size: int = 128,
        spacing: float = 1.0,
        oversize: OversizePolicy = "crop",
        skip_unusable: bool = False,
        cache_dir: Path | None = None,
        folds: int = 5,
        fold: int = 0,
        val_share: float = 0.15,
        seed: int = 0,
        batch_size: int = 3,
        num_workers: int | None = None,
        augmentation: Augmentation | None = DEFAULT_AUGMENTATION,
    ) -> None:
        super().__init__(roi_size, spacing, batch_size, num_workers)
        if not 0 <= fold < folds:
            raise InputError(f"--data.fold is {fold}; with --data.folds {folds} it must lie between 0 and {folds - 1}")
        self.root = Path(root)
        self.grades = grades
        self.grade_column = grade_column
        self.given_class_names = class_names
        self.skip_unusable = skip_unusable
        self.fold, self.folds, self.val_share, self.seed = fold, folds, val_share, seed
        # the lazy object itself cannot be sent to loader processes
        self.augmentation = TumourAugmentation() if augmentation is DEFAULT_AUGMENTATION else augmentation
        self.settings = RoiSettings(modality, roi_size, spacing, oversize)
        self.cache_dir = cache_dir
        self._manifest: Manifest | None = None

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
    def splits_path(self) -> Path:
        """The file of all folds, beside the manifest."""
        return self.manifest_path.with_name(f"folds-{self.folds}-seed-{self.seed}-val-{self.val_share:g}.json")

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

    def prepare_data(self) -> None:
        """Cuts out what is missing or changed, and writes manifest and splits; `tumorgen prepare` calls just this.

        Raises:
            InputError: if cases cannot be used or cannot be split; all of them are listed.
        """
        if not self.cohort.problems:  # before minutes of work; what is broken inside files changes the counts later
            self._split([Member(case.case, case.patient, case.class_name) for case in self.cohort.cases])
        manifest = prepare(
            self.cohort,
            self.store,
            skip_unusable=self.skip_unusable,
            workers=min(available_cores(), _MOST_PREPARING),
            console=Console(stderr=True),
        )
        members = [Member(entry.case, entry.patient, entry.class_name) for entry in manifest.entries]
        splits = self._split(members)
        manifest.write(self.manifest_path, self.store)
        write_splits(self.splits_path, splits, members, folds=self.folds, seed=self.seed, val_share=self.val_share)
        self._manifest = None

    def setup(self, stage: str | None = None) -> None:
        """Reads manifest and splits; volumes are read when asked for."""
        split = read_split(self.splits_path, self.fold)
        entries = {entry.case: entry for entry in self.manifest.entries}
        training, validation, test = ([entries[case] for case in part] for part in (split.train, split.val, split.test))
        self.training_patients = sorted({entry.patient for entry in training})
        self.train = ROIDataset(self.store, training, "train")
        self.val = ROIDataset(self.store, validation, "val")
        self.test = ROIDataset(self.store, test, "test")

    def _split(self, members: list[Member]) -> tuple[Split, ...]:
        return make_splits(members, self.folds, self.val_share, self.seed)
