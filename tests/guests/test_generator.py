"""A class-conditional generator of one file and one YAML goes through every command."""

import json
from pathlib import Path

import pytest
from journey import GUESTS, Home, call, curve, last, manifest, same_training

from tumorgen.results.records import read_results

GAUSSIAN = ("--config", GUESTS / "gaussian.yaml")


@pytest.fixture(scope="module")
def home(small_data: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("generator"), small_data)


@pytest.fixture(scope="module")
def run(home: Home) -> Path:
    return home.fit(*GAUSSIAN)


@pytest.fixture(scope="module")
def samples(home: Home, run: Path) -> Path:
    return home.predict(last(run), counts="{LGG: 3, HGG: 3}")


def test_it_is_evaluated_while_it_trains(run: Path) -> None:
    for name in (
        "val/error",
        "evaluation/mmd_rbf_blocks_LGG",
        "evaluation/ms_ssim_diversity_HGG",
        "evaluation/benchmark_auc",
    ):
        assert len(curve(run, name)) == 2, name
    records = read_results(run / "evaluations" / "epoch_0002.json").records
    assert {"mmd_rbf_blocks", "ms_ssim_diversity", "benchmark_auc"} <= {record.metric for record in records}
    assert (run / "checkpoints" / "best.ckpt").is_file()


def test_it_resumes(home: Home, run: Path) -> None:
    home.cut(*GAUSSIAN)
    assert same_training(home.fit(*GAUSSIAN, run="cut", resume=True), run)


def test_samples_depend_on_checkpoint_class_and_seed_alone(home: Home, run: Path, samples: Path) -> None:
    again = home.predict(last(run), "--data.batch_size", 1, counts="{HGG: 3, LGG: 3}", into="again")
    digests = [
        [(entry["file"], entry["sha256"]) for entry in manifest(folder)["volumes"]] for folder in (samples, again)
    ]
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == 6
    assert manifest(samples)["method"] == "Gaussian"
    assert manifest(samples)["system"]["name"] == "gaussian"
    assert manifest(samples)["generators"][0]["sampler"]["spread"] == 0.1


def test_a_runtime_option_is_typed_where_it_samples(home: Home, run: Path) -> None:
    assert (
        manifest(home.predict(last(run), "--model.spread", 0.3, into="wide"))["generators"][0]["sampler"]["spread"]
        == 0.3
    )


def test_it_is_evaluated_and_benchmarked_and_reported(
    home: Home, small_regions: Path, samples: Path, tmp_path: Path
) -> None:
    evaluation = home.evaluate(small_regions, samples)
    assert {"mmd_rbf_blocks", "ms_ssim_diversity", "kid"} <= {record.metric for record in evaluation.records}
    benchmark = home.benchmark(samples)
    assert {record.group["arm"] for record in benchmark.records} == {"real_only", "mixed"}
    assert benchmark.extra["generated"]["gaussian"]["0"]["reason"] == ""
    # one name, given in the experiment
    assert {record.group["generated"] for record in evaluation.records} == {"gaussian"}
    assert {record.group["generated"] for record in benchmark.records} == {"", "gaussian"}
    assert "gaussian" in home.report()
    results = f"[{home.folder / 'evaluation'}, {home.folder / 'benchmark'}]"
    call("dashboard", "--runs_dir", home.folder / "runs", "--results", results, "--output", tmp_path / "dashboard.json")
    assert json.loads((tmp_path / "dashboard.json").read_text())
