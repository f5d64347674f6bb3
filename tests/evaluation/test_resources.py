"""An evaluation reads volumes as it needs them: its memory does not grow with their number."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import pytest
from volumes import CLASSES, blob

from data_modules.volumes.file import to_nifti

MEASURED = """
import json, resource, sys, time
from pathlib import Path
from data_modules.volumes.folder import VolumeFolder
from tumorgen.evaluation.compare import Folders, Options
from tumorgen.evaluation.folder import evaluate_to
from tumorgen.evaluation.listed import listed_metrics
from tumorgen.evaluation.downstream import DownstreamAUC
from tumorgen.metrics.memorisation import Memorisation
from tumorgen.metrics.metric import Resampling
from tumorgen.metrics.mmd_paper import PaperMMD
from tumorgen.metrics.ms_ssim import MSSSIMDiversity

settings, size, roots = json.loads(sys.argv[1]), sys.argv[2], [Path(root) for root in sys.argv[3:]]
metrics, resampling = listed_metrics(), Resampling()
if size == "tiny":
    resampling = Resampling(resamples=20, permutations=20, splits=4)
    quick = (PaperMMD(passes=5, memory=0.03), MSSSIMDiversity(pairs=2), Memorisation(side=16), DownstreamAUC(1, 1, 2))
    metrics = [next((one for one in quick if type(one) is type(metric)), metric) for metric in metrics]
for metric in metrics:
    vars(metric).update({key: value for key, value in settings.items() if key in vars(metric)})
for root in roots:
    begin = time.process_time()
    real, generated = (VolumeFolder(root / name, intensities="[0, 1]") for name in ("real", "generated"))
    features = "classifier" if size == "tiny" else "mri,classifier"
    evaluate_to(root / "results", Folders(real, generated), metrics, Options(features), resampling)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"peak_mib": peak, "seconds": time.process_time() - begin}))
"""


def linked(root: Path, size: int, spacing: float, numbers: dict[str, dict[str, int]], distinct: int) -> Path:
    """Folders of many volumes that are links to few: numbers by folder and class."""
    for offset, (folder, classes) in enumerate(numbers.items()):
        for grade, name in enumerate(CLASSES):
            (root / folder / name).mkdir(parents=True)
            for i in range(classes[name]):
                path = root / folder / name / f"{name}_{i:04d}.nii.gz"
                if i < distinct:
                    volume = blob(10_000 * offset + 1000 * grade + i, size, grade)
                    nib.save(to_nifti(volume, spacing), path)
                else:
                    path.symlink_to(root / folder / name / f"{name}_{i % distinct:04d}.nii.gz")
    return root


def measure(size: str, *roots: Path, **settings: object) -> list[dict[str, float]]:
    """Peak memory of a process so far, and processor time, after each of several evaluations."""
    threads = {
        "OMP_NUM_THREADS": "1" if size == "tiny" else "2",
        "OMP_WAIT_POLICY": "PASSIVE",
        "MALLOC_ARENA_MAX": "2",
    }
    out = subprocess.run(
        [sys.executable, "-c", MEASURED, json.dumps(settings), size, *map(str, roots)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **threads},
    ).stdout
    return [json.loads(line) for line in out.splitlines()]


def test_memory_hardly_grows_with_the_number_of_volumes(tmp_path):
    """40 volumes of 96^3 more are 135 MiB of voxels; of each stays its average, here to 16^3 instead of 64^3."""
    few = {"generated": {"LGG": 4, "HGG": 4}, "real": {"LGG": 8, "HGG": 8}}
    many = {"generated": {"LGG": 4, "HGG": 4}, "real": {"LGG": 8, "HGG": 48}}
    roots = [linked(tmp_path / name, 96, 1.0, part, distinct=3) for name, part in (("few", few), ("many", many))]
    before, after = measure("tiny", *roots)
    assert after["peak_mib"] - before["peak_mib"] < 70, (before, after)


@pytest.mark.bench
@pytest.mark.timeout(3600)
def test_full_size_stays_under_4_gib(tmp_path):
    """2 x 250 volumes of 128^3 against 335, with both default feature spaces; pairs do not matter for memory."""
    numbers = {"generated": {"LGG": 250, "HGG": 250}, "real": {"LGG": 76, "HGG": 259}}
    begin = time.monotonic()
    root = linked(tmp_path, 128, 1.0, numbers, distinct=12)
    print(f"written in {time.monotonic() - begin:.0f} s")
    (found,) = measure("all", root, pairs=10)
    print(found)
    assert found["peak_mib"] < 4096, found


@pytest.mark.bench
def test_demonstration_size_takes_less_than_a_minute(tmp_path):
    """32 + 32 generated against 240 real volumes of 32^3, default settings; processor time of all threads together."""
    numbers = {"generated": {"LGG": 32, "HGG": 32}, "real": {"LGG": 120, "HGG": 120}}
    (found,) = measure("all", linked(tmp_path, 32, 4.0, numbers, distinct=120))
    print(found)
    assert found["seconds"] < 60, found
