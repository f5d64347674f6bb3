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
import torch
from data_modules.volumes.folder import VolumeFolder
from tumorgen.classifier.networks import SmallCNN
from tumorgen.evaluation.extractors import ClassifierExtractor, MRIExtractor
import tumorgen.evaluation.compare
from tumorgen.evaluation.features import trained_here
from tumorgen.evaluation.folder import evaluate_to
from tumorgen.evaluation.groups import Settings

settings, features, roots = Settings(**json.loads(sys.argv[1])), sys.argv[2], [Path(root) for root in sys.argv[3:]]
torch.manual_seed(0)
keep = int(settings.memory * 2**29)
for root in roots:
    begin = time.process_time()
    real, generated = (VolumeFolder(root / name, intensities="[0, 1]", keep=keep) for name in ("real", "generated"))
    if features == "tiny":
        tumorgen.evaluation.compare.FINEST_SIDE = 16
        extractors = [ClassifierExtractor(SmallCNN(widths=(2, 4)), "untrained", side=16)]
    else:
        extractors = [MRIExtractor(), trained_here(real, None, 0)]
    evaluate_to(root / "results", real, generated, extractors, settings)
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


def measure(features: str, *roots: Path, **settings: object) -> list[dict[str, float]]:
    """Peak memory of a process so far, and processor time, after each of several evaluations."""
    threads = {
        "OMP_NUM_THREADS": "1" if features == "tiny" else "2",
        "OMP_WAIT_POLICY": "PASSIVE",
        "MALLOC_ARENA_MAX": "2",
    }
    out = subprocess.run(
        [sys.executable, "-c", MEASURED, json.dumps(settings), features, *map(str, roots)],
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
    quick = {"resamples": 20, "permutations": 20, "splits": 4, "passes": 5, "pairs": 2, "closest": 1, "neighbours": 2}
    before, after = measure("tiny", *roots, memory=0.03, **quick)
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
