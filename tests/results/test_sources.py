"""What the report is given is recognised by content, and refused in one sentence when it is nothing."""

import json
from pathlib import Path

import pytest
from results import benchmark_folder, evaluation_folder, everything, run_folder, volume_folder

from data_modules.errors import InputError
from tumorgen.provenance import patient_hashes
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


PHANTOMS = [f"BraTS19_Phantom_HGG{index:04d}_1" for index in range(1, 7)]


def test_phantoms_are_noticed_by_configuration_names_and_hashes(tmp_path):
    assert not find_sources(everything(tmp_path / "real")).of_phantoms
    for folder in (
        run_folder(tmp_path / "run" / "a", phantoms=True),
        with_cases(volume_folder(tmp_path / "named", kind="real"), PHANTOMS),
        learnt_from(volume_folder(tmp_path / "hashed"), ["BraTS19_Phantom_LGG0003"]),
        evaluation_of(tmp_path / "evaluation", PHANTOMS),
    ):
        sources = find_sources([folder])
        assert (sources.of_phantoms, sources.mixed, sources.shows_real) == (True, False, False), folder


def test_a_benchmark_is_of_phantoms_where_its_generated_volumes_are(tmp_path):
    folder = learnt_from(volume_folder(tmp_path / "generated"), ["BraTS19_Phantom_LGG0003"])
    path = benchmark_folder(tmp_path / "b") / "benchmark.json"
    assert not find_sources([path]).of_phantoms
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "generated": {"samples": {"0": {"folder": str(folder)}}}}))
    assert find_sources([path]).of_phantoms


@pytest.mark.parametrize("real", ["run", "volumes", "evaluation", "some of the cases"])
def test_one_source_that_may_be_of_patients_is_enough(tmp_path, real):
    """Phantoms everywhere else do not make patients of the one source unworthy of protection."""
    run_folder(tmp_path / "runs" / "phantoms", phantoms=True)
    with_cases(volume_folder(tmp_path / "phantoms", kind="real"), PHANTOMS)
    evaluation_of(tmp_path / "evaluation_phantoms", PHANTOMS)
    assert not find_sources([tmp_path]).shows_real
    if real == "run":
        run_folder(tmp_path / "runs" / "patients")
    elif real == "volumes":
        volume_folder(tmp_path / "patients", kind="real")
    elif real == "evaluation":
        evaluation_of(tmp_path / "evaluation", [*PHANTOMS, "BraTS19_TCIA01_1"])
    else:
        with_cases(volume_folder(tmp_path / "patients", kind="real"), [*PHANTOMS[:5], "BraTS19_TCIA01_1"])
    sources = find_sources([tmp_path])
    assert (sources.of_phantoms, sources.mixed, sources.shows_real) == (True, True, True)


def test_an_evaluation_is_of_phantoms_only_where_its_whole_real_folder_is(tmp_path):
    """Closest pairs name a few cases only."""
    real = with_cases(volume_folder(tmp_path / "real", kind="real"), [*PHANTOMS[:5], "BraTS19_TCIA01_1"])
    assert find_sources([evaluation_of(tmp_path / "a", PHANTOMS, real)]).shows_real
    with_cases(real, PHANTOMS)
    assert not find_sources([evaluation_of(tmp_path / "b", PHANTOMS, real)]).shows_real


def test_a_cohort_of_patients_in_a_folder_called_phantom_is_of_patients(tmp_path):
    """Paths and class names say nothing: only names of cases, hashes and tumorgen's own data module do."""
    place = tmp_path / "PhantomStudy"
    real = volume_folder(place / "Phantom_real", kind="real")
    evaluation_folder(place / "evaluation", "Phantom", real=real)
    folder = run_folder(place / "runs" / "Phantom")
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("data_modules.brats.BraTS", "data_modules.PhantomStudy"))
    sources = find_sources([place])
    assert (sources.of_phantoms, sources.mixed, sources.shows_real) == (False, False, True)


def with_cases(folder, cases):
    """The folder, its volumes being of these cases."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for entry, case in zip(manifest["volumes"], cases, strict=True):
        entry["case"] = case
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def learnt_from(folder, patients):
    """The folder, its volumes generated by what was trained on these patients."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["training_patients"] = {"salt": "0", "training_patients": patient_hashes(patients, "0")}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def evaluation_of(folder, cases, real=Path("gone")):
    """An evaluation whose closest pairs are of these cases."""
    path = evaluation_folder(folder, folder.name, real=real) / "evaluation.json"
    content = json.loads(path.read_text())
    content["closest_pairs"] = [
        {"generated": "LGG/LGG_0001", "training": f"LGG/{case}", "distance": 1} for case in cases
    ]
    path.write_text(json.dumps(content))
    return folder
