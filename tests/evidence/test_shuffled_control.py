"""Generated volumes under shuffled labels must not help: otherwise the benchmark measures something else than it says."""

import nibabel as nib
import pytest
from front import ROOT, tumorgen
from phantom_regions import regions

from data_modules.files import write_json
from data_modules.volumes.file import to_nifti
from tumorgen.benchmark.arms import CONTROL
from tumorgen.benchmark.summary import DIFFERENCE
from tumorgen.results.records import read_results

EXPERIMENTS = ROOT / "experiments"


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_shuffled_labels_do_not_help(tmp_path):
    cohort, generated = tmp_path / "cohort", tmp_path / "generated"
    assert tumorgen("phantom", "--output", cohort, "--hgg", 60, "--lgg", 60) == 0
    # phantoms of another seed: the best generator there could be
    entries = []
    for name, volumes in zip(("LGG", "HGG"), regions(seed=1, number=24).squeeze(1).chunk(2), strict=True):
        (generated / name).mkdir(parents=True)
        for number, volume in enumerate(volumes):
            file = f"{name}/{name}_{number:04d}.nii.gz"
            nib.save(to_nifti(volume.numpy(), 4.0), generated / file)
            entries.append({"file": file, "class": name, "seed": number})
    stated = {"class_names": ["LGG", "HGG"], "roi_size": 32, "spacing_mm": 4.0, "intensities": "[0, 1]"}
    write_json(generated / "manifest.json", {**stated, "volumes": entries})

    configs = ("--config", EXPERIMENTS / "benchmark.yaml", "--config", EXPERIMENTS / "demo" / "benchmark.yaml")
    where = ("--data.root", cohort, "--output", tmp_path / "out", "--generated", f'{{phantoms: "{generated}"}}')
    where += ("--trust_unmanifested", "true")
    assert tumorgen("benchmark", *configs, *where, "--arms", f"[real_only, {CONTROL}]", "--folds", "[0, 1]") == 0
    records = read_results(tmp_path / "out" / "benchmark.json").records
    (control,) = (r for r in records if r.metric == DIFFERENCE and r.group["arm"] == CONTROL)
    assert control.interval.low <= 0
