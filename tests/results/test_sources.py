"""What the report is given is recognised by content, and refused in one sentence when it is nothing."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from results import benchmark_folder, evaluation_folder, everything, run_folder, volume_folder

from data_modules.errors import InputError
from tumorgen.results.html.sources import find_sources


def test_everything_below_a_folder_is_found_once(tmp_path):
    paths = everything(tmp_path)
    sources = find_sources([*paths, tmp_path / "evaluation", tmp_path / "benchmark" / "benchmark.json"])
    assert [results.path.parent.name for results in sources.evaluations] == ["evaluation", "evaluation_noise"]
    assert len(sources.benchmarks) == 1
    assert [run.name for run in sources.runs] == ["vqgan/20260101-120000"]
    assert list(sources.volumes) == ["real", "samples"]


def test_the_folders_that_an_evaluation_compared_are_taken_along(tmp_path):
    real = volume_folder(tmp_path / "elsewhere" / "cohort", kind="real")
    gone = evaluation_folder(tmp_path / "a", real=tmp_path / "gone")
    there = evaluation_folder(tmp_path / "b", real=real)
    assert list(find_sources([gone]).volumes) == []
    assert list(find_sources([there]).volumes) == ["cohort"]


def test_folders_of_one_name_are_told_apart(tmp_path):
    for name in ("fold0", "fold1"):
        volume_folder(tmp_path / name / "samples")
    assert list(find_sources([tmp_path]).volumes) == ["samples", "fold1/samples"]


def test_what_holds_no_results_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no results; expected evaluation\.json"):
        find_sources([tmp_path / "empty"])
    with pytest.raises(InputError, match="is not there"):
        find_sources([tmp_path / "absent"])


def test_figures_changed_by_hand_are_refused(tmp_path):
    path = evaluation_folder(tmp_path) / "evaluation.json"
    content = json.loads(path.read_text())
    content["records"][0]["value"] = 0.0
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="was changed after it was written"):
        find_sources([tmp_path])


def test_results_of_another_kind_are_refused(tmp_path):
    path = benchmark_folder(tmp_path) / "benchmark.json"
    path.write_text(path.read_text().replace('"kind": "benchmark"', '"kind": "weather"'))
    with pytest.raises(InputError, match="kind 'weather', expected one of evaluation, benchmark"):
        find_sources([tmp_path])


def test_a_source_is_of_phantoms_where_it_says_so(tmp_path):
    assert not find_sources(everything(tmp_path / "real")).of_phantoms
    for folder in (
        run_folder(tmp_path / "run" / "a", phantoms=True),
        mixed_run(tmp_path / "run" / "b"),
        volume_folder(tmp_path / "real_ones", kind="real", phantom=True),
        volume_folder(tmp_path / "generated", phantom=True),
        evaluation_of_phantoms(tmp_path / "evaluation"),
        benchmark_of_phantoms(tmp_path / "benchmark"),
    ):
        sources = find_sources([folder])
        assert (sources.of_phantoms, sources.mixed, sources.shows_real) == (True, False, False), folder


@pytest.mark.parametrize("real", ["run", "volumes", "evaluation", "training", "one volume"])
def test_one_source_that_may_be_of_patients_is_enough(tmp_path, real):
    """Phantoms everywhere else do not make patients of the one source unworthy of protection."""
    run_folder(tmp_path / "runs" / "phantoms", phantoms=True)
    phantoms = volume_folder(tmp_path / "phantoms", kind="real", phantom=True)
    evaluation_of_phantoms(tmp_path / "evaluation_phantoms")
    assert not find_sources([tmp_path]).shows_real
    if real == "run":
        run_folder(tmp_path / "runs" / "patients")
    elif real == "volumes":
        volume_folder(tmp_path / "patients", kind="real")
    elif real == "evaluation":
        evaluation_folder(tmp_path / "evaluation", "e", real=Path("gone"))
    elif real == "training":
        evaluation_of_phantoms(tmp_path / "evaluation", training={"folder": "elsewhere", "phantom": False})
    else:
        shutil.copy(phantoms / "LGG" / "LGG_0001.nii.gz", phantoms / "LGG" / "slipped_in.nii.gz")
    sources = find_sources([tmp_path])
    assert (sources.of_phantoms, sources.mixed, sources.shows_real) == (True, True, True)


def test_a_cohort_of_patients_in_a_folder_called_phantom_is_of_patients(tmp_path):
    """Paths, class names and names of cases say nothing."""
    place = tmp_path / "PhantomStudy"
    real = volume_folder(place / "Phantom_real", kind="real")
    manifest = json.loads((real / "manifest.json").read_text())
    for index, entry in enumerate(manifest["volumes"]):
        entry["case"] = f"BraTS19_Phantom_HGG{index:04d}_1"
    (real / "manifest.json").write_text(json.dumps(manifest))
    evaluation_folder(place / "evaluation", "Phantom", real=real)
    folder = run_folder(place / "runs" / "Phantom")
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("data_modules.brats.BraTS", "data_modules.PhantomStudy"))
    sources = find_sources([place])
    assert (sources.of_phantoms, sources.mixed, sources.shows_real) == (False, False, True)


def evaluation_of_phantoms(folder, **more):
    """An evaluation of which all real volumes were phantoms; they are gone."""
    path = evaluation_folder(folder, folder.name, real=Path("gone")) / "evaluation.json"
    content = json.loads(path.read_text())
    content["inputs"]["real"]["phantom"] = True
    content["inputs"] |= more
    path.write_text(json.dumps(content))
    return folder


def benchmark_of_phantoms(folder):
    """A benchmark on phantoms."""
    path = benchmark_folder(folder) / "benchmark.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "phantom": True}))
    return folder


def mixed_run(folder):
    """A run that was trained on generated volumes and phantoms."""
    run_folder(folder, phantoms=True)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    mixed = {"class_path": "data_modules.synthetic.MixedDataModule", "init_args": {"real": config["data"]}}
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, "data": mixed}))
    return folder
