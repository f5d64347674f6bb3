"""A folder of phantom patients in the layout of BraTS 2019, written by several processes, resumed and never mixed."""

import csv
import gzip
import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from data_modules.cores import available_cores
from data_modules.errors import InputError
from data_modules.files import atomic_path, write_json
from data_modules.phantoms.case import make_case
from data_modules.phantoms.parameters import PhantomParameters

SETTINGS_FILE = "phantom.json"
MAPPING_FILE = "name_mapping.csv"

# At most 80 characters fit into a NIfTI header's `descrip`.
DESCRIPTION = "tumorgen PHANTOM: synthetic, no patient; for tests and demonstrations only"

# Voxel axes to the left, to the back and up (LPS), with the origin BraTS uses.
AFFINE = np.array([[-1.0, 0, 0, 0], [0, -1.0, 0, 239.0], [0, 0, 1.0, 0], [0, 0, 0, 1.0]])
_MAPPING_HEADER = (
    "Grade",
    "BraTS_2017_subject_ID",
    "BraTS_2018_subject_ID",
    "TCGA_TCIA_subject_ID",
    "BraTS_2019_subject_ID",
)
_FEWEST_FOR_PROCESSES = 8  # below, starting processes costs more than it saves


@dataclass(frozen=True)
class PhantomCohort:
    """What a cohort consists of: numbers of cases per grade and the seed they follow from.

    Raises:
        InputError: for negative numbers or no case at all.
    """

    hgg: int
    lgg: int
    seed: int

    def __post_init__(self) -> None:
        for name, value in (("hgg", self.hgg), ("lgg", self.lgg), ("seed", self.seed)):
            if value < 0:
                raise InputError(f"phantom cohort: {name} is {value}; it must be 0 or more")
        if self.hgg + self.lgg == 0:
            raise InputError("phantom cohort: hgg and lgg are both 0; ask for at least one case")

    def cases(self) -> list[tuple[str, int]]:
        """Grade and number (from 1) of every case."""
        return [("HGG", i + 1) for i in range(self.hgg)] + [("LGG", i + 1) for i in range(self.lgg)]

    def settings(self) -> dict[str, Any]:
        """What the cohort's `phantom.json` says."""
        return {
            "description": DESCRIPTION,
            "hgg": self.hgg,
            "lgg": self.lgg,
            "seed": self.seed,
            "parameters_sha256": PhantomParameters().fingerprint(),
        }


def case_name(seed: int, grade: str, index: int) -> str:
    """Folder of a case and stem of its files: BraTS19_Phantom_HGG0001_1, of other seeds than 0 BraTS19_Phantom7_HGG0001_1.

    Otherwise phantoms of two cohorts would pass for the same patients.
    """
    return f"BraTS19_Phantom{seed or ''}_{grade}{index:04d}_1"


def case_files(root: Path, seed: int, grade: str, index: int) -> tuple[Path, Path]:
    """FLAIR and segmentation of a case."""
    name = case_name(seed, grade, index)
    folder = root / grade / name
    return folder / f"{name}_flair.nii.gz", folder / f"{name}_seg.nii.gz"


def write_cohort(root: Path | str, cohort: PhantomCohort, workers: int | None = None) -> int:
    """Writes what is missing of a cohort and returns the number of cases written.

    Every case is a function of the cohort's seed, its grade and its number: the files are the same for any number of
    workers and after any interruption.

    Args:
        root: folder of the cohort; it must be absent, empty or hold (part of) the same cohort.
        cohort: what to write.
        workers: processes; by default one per core, or this process alone for a handful of cases.

    Raises:
        InputError: if `root` holds anything else.
    """
    root = Path(root)
    _claim(root, cohort)
    missing = [
        case for case in cohort.cases() if not all(path.is_file() for path in case_files(root, cohort.seed, *case))
    ]
    if missing:
        with _progress() as progress:
            for _ in progress.track(
                _written(root, cohort.seed, missing, workers), len(missing), description="phantoms"
            ):
                pass
    if not (root / MAPPING_FILE).is_file():
        _write_mapping(root / MAPPING_FILE, cohort)
    return len(missing)


def _claim(root: Path, cohort: PhantomCohort) -> None:
    """Makes `root` the folder of this cohort, or refuses."""
    if root.exists() and not root.is_dir():
        raise InputError(f"{root}: is a file; give a folder for the phantom cohort")
    path = root / SETTINGS_FILE
    settings = cohort.settings()
    if not path.is_file():
        if root.is_dir() and any(root.iterdir()):
            raise InputError(
                f"{root}: is not empty and holds no {SETTINGS_FILE}; phantoms are written to a new folder only"
            )
        write_json(path, settings)
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        differences = [
            f"{key} {found.get(key)!r} instead of {value!r}"
            for key, value in settings.items()
            if found.get(key) != value
        ]
    except (json.JSONDecodeError, AttributeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); delete the folder or give another one") from error
    if differences:
        raise InputError(
            f"{root}: holds another phantom cohort ({'; '.join(differences)}); give another folder or delete this one"
        )


def _written(root: Path, seed: int, cases: list[tuple[str, int]], workers: int | None) -> Iterator[None]:
    """Yields once for every case that is on disk."""
    if workers is None:
        workers = 1 if len(cases) < _FEWEST_FOR_PROCESSES else available_cores()
    if workers == 1:
        for case in cases:
            write_case(root, seed, *case)
            yield
        return
    grades, indices = zip(*cases, strict=True)
    # Not forked: the caller may hold threads of torch or of a logger.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(cases)), mp_context=context) as pool:
        yield from pool.map(write_case, repeat(root), repeat(seed), grades, indices)


def write_case(root: Path, seed: int, grade: str, index: int) -> None:
    """Draws one case and writes its two files."""
    flair_path, mask_path = case_files(root, seed, grade, index)
    case = make_case(seed, grade, index)
    _write_nifti(flair_path, case.flair)
    _write_nifti(mask_path, case.segmentation)


def _write_nifti(path: Path, voxels: npt.NDArray[np.int16] | npt.NDArray[np.uint8]) -> None:
    """Writes one volume; no time stamp and fast compression, so the bytes depend on the voxels alone."""
    image = nib.Nifti1Image(voxels, AFFINE)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = DESCRIPTION
    image.set_sform(None, code=0)
    image.set_qform(AFFINE, code=1)
    with atomic_path(path) as temporary:
        temporary.write_bytes(gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))


def _write_mapping(path: Path, cohort: PhantomCohort) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_MAPPING_HEADER)
        for grade, index in cohort.cases():
            writer.writerow([grade, "NA", "NA", "NA", case_name(cohort.seed, grade, index)])


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))
