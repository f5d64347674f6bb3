"""What the report is given is recognised by content, and refused in one sentence when it is nothing."""

import json

import pytest
from results import benchmark_folder, evaluation_folder, everything, run_folder, volume_folder

from data_modules.errors import InputError
from tumorgen.provenance import patient_hashes
from tumorgen.reports.html.sources import find_sources


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


def test_phantoms_are_noticed_by_configuration_names_and_hashes(tmp_path):
    assert not find_sources(everything(tmp_path / "real")).of_phantoms
    assert find_sources([run_folder(tmp_path / "run" / "a", phantoms=True)]).of_phantoms
    named = volume_folder(tmp_path / "named", kind="real")
    manifest = json.loads((named / "manifest.json").read_text())
    manifest["volumes"][0]["case"] = "BraTS19_Phantom_HGG0001_1"
    (named / "manifest.json").write_text(json.dumps(manifest))
    assert find_sources([named]).of_phantoms
    hashed = volume_folder(tmp_path / "hashed")
    manifest = json.loads((hashed / "manifest.json").read_text())
    patients = patient_hashes(["BraTS19_Phantom_LGG0003"], "0")
    manifest["training_patients"] = {"salt": "0", "training_patients": patients}
    (hashed / "manifest.json").write_text(json.dumps(manifest))
    assert find_sources([hashed]).of_phantoms
