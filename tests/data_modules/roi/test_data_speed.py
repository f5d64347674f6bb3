"""What preparing and loading cost, compared within one run."""

import io
import shutil
import time

import nibabel as nib
import numpy as np
import pytest
from rich.console import Console

from data_modules.cohort.discover import discover
from data_modules.roi.cache import RoiSettings, RoiStore
from data_modules.roi.prepare import prepare


def median(action, repeats):
    action()
    durations = []
    for _ in range(repeats):
        start = time.process_time()  # the machine may be shared
        action()
        durations.append(time.process_time() - start)
    return float(np.median(durations))


def compare(cohort, roi_size, spacing, cache_dir, repeats):
    """Times of reading the NIfTI pair and of loading the prepared region."""
    store = RoiStore(cohort.root, cache_dir, RoiSettings("flair", roi_size, spacing, "crop"))
    case = cohort.cases[0]
    record = store.build(case)
    pair = median(lambda: [np.asarray(nib.load(path).dataobj) for path in (case.scan, case.mask)], repeats)
    return pair, median(lambda: store.load(record), 4 * repeats)


def test_loading_is_much_faster_than_reading(tmp_path, scan_maker):
    scan, mask = scan_maker(shape=(160, 160, 100), radii=(20, 18, 15))
    folder = tmp_path / "HGG" / "c"
    folder.mkdir(parents=True)
    for role, voxels in (("flair", scan), ("seg", mask)):
        nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1.0, 1.0, 1.0])), folder / f"c_{role}.nii.gz")
    pair, load = compare(discover(tmp_path), 64, 1.0, None, 3)
    assert pair > 10 * load, f"pair {1e3 * pair:.1f} ms, region {1e3 * load:.2f} ms"


@pytest.mark.bench
def test_real_cases(real_data, tmp_path):
    """At most 1/50 of the pair; 335 cases in two minutes on two cores."""
    table = {"grades": real_data / "grades.csv", "grade_column": "enhancing"}
    pair, load = compare(discover(real_data / "brats2021", **table), 128, 1.0, tmp_path / "one", 11)
    print(f"\nNIfTI pair {1e3 * pair:.0f} ms, prepared region {1e3 * load:.2f} ms: 1/{pair / load:.0f}")

    copies, sources = 5, sorted((real_data / "brats2021").iterdir())
    for i in range(copies):
        for source in sources:
            case = f"copy{i}{source.name}"
            (tmp_path / "data" / "HGG" / case).mkdir(parents=True)
            for role in ("flair", "seg"):
                name = f"{case}_{role}.nii.gz"
                shutil.copy(source / f"{source.name}_{role}.nii.gz", tmp_path / "data" / "HGG" / case / name)
    cohort = discover(tmp_path / "data")
    store = RoiStore(cohort.root, None, RoiSettings("flair", 128, 1.0, "crop"))
    wall, cpu = time.perf_counter(), time.process_time()
    prepare(cohort, store, skip_unusable=False, workers=2, console=Console(file=io.StringIO()))
    cases = len(cohort.cases)
    wall, cpu = (time.perf_counter() - wall) / cases, (time.process_time() - cpu) / cases
    print(
        f"preparing: {1e3 * cpu:.0f} ms of processor and {1e3 * wall:.0f} ms per case; 335 cases in {335 * wall:.0f} s"
    )
    assert pair > 50 * load
    # by processor time, which another user of the machine does not change
    assert 335 * cpu / 2 < 120
