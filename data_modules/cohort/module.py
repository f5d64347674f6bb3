"""A cohort of patients as a data module: what all of them share is here, what is special about one is in its own file."""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from data_modules.base import Part, ROIDataModule, VolumeSet
from data_modules.cohort.folds import FoldSettings, PatientCase
from data_modules.cohort.splits import CohortSplit, split_path, update_split
from data_modules.errors import InputError


class CohortDataModule(ROIDataModule):
    """Patients in a folder, dealt to folds once and for all by the split file of the cohort.

    A cohort of another kind needs `class_names`, `all_cases` and `volumes`; then every command works with it.

    Args:
        root: Folder of the cohort.
        roi_size: Edge length of the cubic regions in voxels.
        spacing: Edge length of their voxels in mm.
        cache_dir: Folder for caches; None takes `.tumorgen` in `root`, or the user's cache where root is read-only. The split
            file is in it, too.
        folds: Number of patient-level, stratified folds.
        fold: The fold to test on, from 0.
        val_share: Share of the other folds' cases held back for validation.
        seed: Seed of the folds.
        batch_size: Volumes per batch and process.
        num_workers: Loader processes; None chooses, see `ROIDataModule`.
    """

    stratified_by: str = "class"
    """Column of the classes, for the split file."""

    def __init__(
        self,
        root: Path,
        roi_size: int = 128,
        spacing: float = 1.0,
        cache_dir: Path | None = None,
        folds: int = 5,
        fold: int = 0,
        val_share: float = 0.15,
        seed: int = 0,
        batch_size: int = 3,
        num_workers: int | None = None,
    ) -> None:
        super().__init__(roi_size, spacing, batch_size, num_workers)
        self.root, self.cache_dir = Path(root), cache_dir
        self.fold, self.folds = fold, folds
        self.fold_settings = FoldSettings(folds, val_share, seed)
        if not 0 <= fold < folds:
            raise InputError(f"--data.fold is {fold}; with --data.folds {folds} it must lie between 0 and {folds - 1}")

    @abstractmethod
    def all_cases(self) -> Sequence[PatientCase]:
        """All cases of the cohort, also those of classes that are not used; the class is empty where nobody knows it."""

    @abstractmethod
    def volumes(self, cases: Sequence[str], part: Part) -> VolumeSet:
        """Some cases as a list of volumes, in this order; called by `setup`."""

    def used_cases(self) -> Sequence[PatientCase]:
        """Those that are used; called by `setup`."""
        return [case for case in self.all_cases() if case.class_name in self.class_names]

    @property
    def split_path(self) -> Path:
        """The split file of the cohort."""
        return split_path(self.root, self.cache_dir)

    def prepare_data(self) -> None:
        """Deals new patients to folds; a subclass that has something to compute does that, too.

        Raises:
            InputError: The cases cannot be split.
        """
        self.deal(self.used_cases())

    def deal(self, usable: Sequence[PatientCase]) -> None:
        """Brings the split file up to date.

        Args:
            usable: The cases that are going to be used.

        Raises:
            InputError: They cannot be split, or the file is damaged.
        """
        update_split(self.split_path, self.all_cases(), self.fold_settings, self.stratified_by, usable)

    def setup(self, stage: str | None = None) -> None:
        """Reads who is in which part; volumes are read when asked for.

        Raises:
            InputError: The cohort has not been prepared.
        """
        split = CohortSplit.read(self.split_path)
        folds = split.of(self.fold_settings, self.split_path)
        self.patient_key = split.key
        parts: dict[Part, list[str]] = defaultdict(list)
        for one in self.used_cases():
            part = folds.part(one.patient, self.fold)
            if part is None:
                raise InputError(f"{self.split_path}: {one.case} is in no fold yet; run `tumorgen prepare` first")
            parts[part].append(one.case)
        self.train, self.val, self.test = (self.volumes(parts[part], part) for part in ("train", "val", "test"))
