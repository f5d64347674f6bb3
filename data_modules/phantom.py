"""Phantom gliomas as a data module: the cohort is written on first use, everything else is as for BraTS.

Phantoms serve tests and demonstrations only: a model trained on them says nothing about patients.
"""

from pathlib import Path
from typing import Any

from data_modules.brats import BraTSDataModule
from data_modules.phantoms.cohort import PhantomCohort, write_cohort
from data_modules.phantoms.parameters import GRADES


class PhantomDataModule(BraTSDataModule):
    """Synthetic gliomas in BraTS layout, written to `root` by `prepare_data` where they are not there yet.

    Args:
        root: Folder of the cohort: absent, empty, or holding (part of) the same cohort.
        hgg: Number of high-grade cases; the default is that of BraTS 2019.
        lgg: Number of low-grade cases; the default is that of BraTS 2019.
        phantom_seed: Seed of the cases; the folds have their own.
        options: Everything that `BraTSDataModule` takes.

    Raises:
        InputError: if the numbers make no cohort, and from `prepare_data` if `root` holds something else.
    """

    def __init__(self, root: Path, hgg: int = 259, lgg: int = 76, phantom_seed: int = 0, **options: Any) -> None:
        super().__init__(root, **options)
        self.phantom = True  # also before the cohort is written
        self.phantoms = PhantomCohort(hgg=hgg, lgg=lgg, seed=phantom_seed)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, known before the cohort is written; the position is the label."""
        if self.grades is not None:
            return super().class_names
        numbers = dict(zip(GRADES, (self.phantoms.lgg, self.phantoms.hgg), strict=True))
        return tuple(self.given_class_names or (grade for grade in GRADES if numbers[grade] > 0))

    def prepare_data(self) -> None:
        """Writes what is missing of the cohort, then prepares it like any other.

        Raises:
            InputError: if `root` holds something else, or cases cannot be split.
        """
        write_cohort(self.root, self.phantoms)
        super().prepare_data()
