"""Fixtures that several test folders share: small cohorts written on the spot, and the real cases where they are."""

import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
TINY_SHAPE = (48, 52, 40)  # three different lengths, so that a swapped axis cannot go unnoticed


def tiny_scan(seed: int = 0, shape=TINY_SHAPE, radii=(9, 6, 5)):
    """A scan and its segmentation: a brain with a gradient along every axis, and a tumour with a core, off the centre."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    centre = np.array(shape) / 2 + rng.integers(-4, 5, 3)
    brain = sum(((a - n / 2) / (0.47 * n)) ** 2 for a, n in zip((x, y, z), shape, strict=True)) < 1
    distance = sum(((a - c) / r) ** 2 for a, c, r in zip((x, y, z), centre, radii, strict=True))
    scan = np.where(brain, 200 + 2 * x + 3 * y + 4 * z + rng.integers(0, 50, shape), 0)
    scan = np.where(distance < 1, scan + 400, scan).astype(np.int16)
    mask = np.where(distance < 0.3, 1, np.where(distance < 1, 2, 0)).astype(np.uint8)
    return scan, mask


def write_pair(folder: Path, case: str, seed: int = 0, names: str = "{case}_{role}.nii.gz", roles=("flair", "seg")):
    """Writes the tiny scan of a case; `names` holds {case} and {role}."""
    folder.mkdir(parents=True, exist_ok=True)
    scan, mask = tiny_scan(seed)
    affine = LPS.copy()
    affine[:3, 3] = (20, 30, -10)
    paths = [folder / names.format(case=case, role=role) for role in roles]
    for path, voxels in zip(paths, (scan, mask), strict=True):
        nib.save(nib.Nifti1Image(voxels, affine), path)
    return paths


def write_cohort(root: Path, hgg: int, lgg: int) -> Path:
    """A cohort in BraTS 2019 layout."""
    for grade, number in (("HGG", hgg), ("LGG", lgg)):
        for i in range(number):
            case = f"BraTS19_Tiny_{grade}{i}_1"
            write_pair(root / grade / case, case, seed=i + 100 * (grade == "LGG"))
    return root


@pytest.fixture(scope="session")
def pair_writer() -> Callable[..., list[Path]]:
    """`write_pair`, for cohorts in layouts of a test's own."""
    return write_pair


@pytest.fixture(scope="session")
def cohort_writer() -> Callable[[Path, int, int], Path]:
    """`write_cohort(root, hgg, lgg)`, for tests that change the files."""
    return write_cohort


@pytest.fixture(scope="session")
def scan_maker():
    """`tiny_scan(seed, shape, radii)`: scan and mask as arrays."""
    return tiny_scan


@pytest.fixture(scope="session")
def tiny_cohort(tmp_path_factory) -> Path:
    """Root of a cohort of 4 HGG and 4 LGG cases of 48x52x40 voxels, 1 mm. Shared: give data modules a `cache_dir`."""
    return write_cohort(tmp_path_factory.mktemp("tiny_cohort"), 4, 4)


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """Options that name a cohort in regions of 16^3 voxels and two folds, which have been cut already."""
    from journey import SMALL, call  # imports torch, which not every test needs

    folder = tmp_path_factory.mktemp("small_data")
    place = ("--data.root", write_cohort(folder / "cohort", 8, 8), "--data.cache_dir", folder / "cache")
    call("prepare", *place, *SMALL)
    return (*place, *SMALL)


@pytest.fixture(scope="session")
def small_regions(small_data: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """These regions as a folder of volumes that knows the parts of fold 0."""
    from journey import call

    folder = tmp_path_factory.mktemp("small_regions") / "volumes"
    call("prepare", *small_data, "--export", folder)
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with `brats2021/` and `grades.csv`: six real cases that are not part of the project."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    candidates = [Path(os.environ["TUMORGEN_REAL_DATA"])] if "TUMORGEN_REAL_DATA" in os.environ else [beside]
    for folder in candidates:
        if (folder / "brats2021").is_dir():
            return folder
    pytest.skip(f"no real BraTS cases: {candidates[0]} has no brats2021 folder; set TUMORGEN_REAL_DATA")
