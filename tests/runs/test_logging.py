"""What a run really logged, read back from its CSV file and from its offline Weights & Biases record."""

import csv
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import offline_record
import pytest
from front import TINY_VQGAN, read_yaml, tumorgen
from offline_record import history
from PIL import Image

from tumorgen.methods.vqgan.objective import GeneratorTerms
from tumorgen.metrics.reconstruction import ReconstructionMetrics

CLASSES = ("LGG", "HGG")
TERMS = {f"train/{name}" for name in (*GeneratorTerms._fields, "total", "adaptive_weight", "importance_accuracy")}
CODEBOOK = {
    f"codebook_{name}{suffix}" for name in ("usage", "perplexity") for suffix in ("", *(f"_{c}" for c in CLASSES))
}
HELD_OUT = {
    f"val/{name}" for name in (*ReconstructionMetrics.NAMES, *CODEBOOK, "importance_auc", "importance_accuracy")
}
RATES = {"learning_rate/generator", "learning_rate/discriminator"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with pictures and Weights & Biases as they are by default: no account, no network."""
    place = tmp_path_factory.mktemp("logged")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        pictures = "--trainer.callbacks+=tumorgen.callbacks.pictures.ReconstructionPictures"
        assert tumorgen("fit", "--config", TINY_VQGAN, "--runs_dir", place, "--run_id", "logged", pictures) == 0
    return place / "tiny" / "logged"


@pytest.fixture(scope="module")
def table(run: Path) -> list[dict[str, str]]:
    with open(run / "csv" / "metrics.csv", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def records(run: Path) -> list[dict[str, Any]]:
    """Everything in the offline record."""
    return offline_record.read(run)


def column(rows: list[dict[str, Any]], name: str) -> list[float]:
    return [float(row[name]) for row in rows if row.get(name) not in (None, "")]


@pytest.mark.parametrize("where", ["csv", "wandb"])
def test_every_term_figure_and_rate_is_there(
    where: str, table: list[dict[str, str]], records: list[dict[str, Any]]
) -> None:
    rows: list[dict[str, Any]] = list(table) if where == "csv" else history(records)
    for name in TERMS | {"train/voxels_per_second"}:
        assert len(column(rows, name)) == 4, name
    assert len(column(rows, "train/discriminator")) == 2, "it joins after half of the run"
    for name in HELD_OUT | {f"train/{figure}" for figure in CODEBOOK}:
        assert len(column(rows, name)) == 2, name
    for name in RATES:
        values = column(rows, name)
        assert values == sorted(values, reverse=True), name
        assert values[0] == pytest.approx(5e-5)
        assert len(values) == 4
    named = {name for row in rows for name in row if "/" in name and not name.startswith(("trainer/", "pictures/"))}
    assert named == TERMS | HELD_OUT | RATES | {f"train/{figure}" for figure in CODEBOOK} | {
        "train/voxels_per_second",
        "train/discriminator",
    }


def test_both_records_say_the_same(table: list[dict[str, str]], records: list[dict[str, Any]]) -> None:
    for name in sorted(TERMS | HELD_OUT):
        assert column(list(table), name) == pytest.approx(column(history(records), name), rel=1e-6, nan_ok=True), name


def test_figures_lie_in_their_ranges(table: list[dict[str, str]]) -> None:
    rows: list[dict[str, Any]] = list(table)
    shares = ["val/dice", "val/importance_auc", "val/importance_accuracy", "train/importance_accuracy"]
    shares += [f"{part}/codebook_usage{suffix}" for part in ("train", "val") for suffix in ("", "_LGG", "_HGG")]
    for name in shares:
        assert all(0 <= value <= 1 for value in column(rows, name)), name
    for suffix in ("", "_LGG", "_HGG"):
        perplexities = column(rows, f"val/codebook_perplexity{suffix}")
        codes = [16 * share for share in column(rows, f"val/codebook_usage{suffix}")]
        assert all(1 <= p <= n + 1e-3 for p, n in zip(perplexities, codes, strict=True))
    assert all(math.isfinite(value) for name in TERMS | HELD_OUT for value in column(rows, name))


def test_the_run_is_named_after_experiment_and_id(records: list[dict[str, Any]]) -> None:
    about = offline_record.about(records)
    assert about["run_group"] == "tiny"
    assert about["display_name"] == "logged"
    assert about["run_id"] == "tiny-logged"
    assert about["project"] == "tumorgen"
    assert about["job_type"] == "fit VQGAN"
    assert about["tags"] == ["VQGAN", "ToyDataModule", "seed 0"]
    assert about["telemetry"]["feature"]["offline"]


def test_every_figure_has_an_axis_and_a_summary(run: Path, records: list[dict[str, Any]]) -> None:
    axes, summary = offline_record.axes(records), offline_record.summary(run)
    for name in TERMS | HELD_OUT | RATES:
        expected = "trainer/global_step" if name.startswith(("train/", "learning_rate")) else "epoch"
        assert axes[name]["step_metric"] == expected, name
        assert axes[name]["options"]["step_sync"], name
        values = column(history(records), name)
        assert summary[name] == pytest.approx({"min": min(values), "max": max(values), "last": values[-1]}), name
    assert axes["pictures/reconstructions"]["step_metric"] == "epoch"
    assert "summary" not in axes["pictures/reconstructions"]


def test_the_dashboard_has_the_complete_configuration(run: Path, records: list[dict[str, Any]]) -> None:
    known = offline_record.configuration(records)
    assert known["quantizer"]["init_args"]["num_codes"] == 16
    assert known["roi_size"] == 16, "facts of the data that the model took over"
    written = read_yaml(run / "config.yaml")
    for section in ("data", "trainer", "model"):
        assert known[section].keys() == written[section].keys(), section
    assert known["data"]["init_args"] == written["data"]["init_args"]
    assert known["seed_everything"] == written["seed_everything"] == 0


def test_pictures_are_on_the_dashboard_and_in_the_folder(run: Path, records: list[dict[str, Any]]) -> None:
    assert [path.name for path in sorted((run / "pictures").iterdir())] == [
        "reconstructions_0001.png",
        "reconstructions_0002.png",
    ]
    (folder,) = run.glob("wandb/offline-run-*")
    logged = [item for item in history(records) if "pictures/reconstructions.filenames" in item]
    assert len(logged) == 2
    for number, item in enumerate(logged, start=1):
        (name,) = item["pictures/reconstructions.filenames"]
        sent = np.asarray(Image.open(folder / "files" / name).convert("RGB"))
        kept = np.asarray(Image.open(run / "pictures" / f"reconstructions_{number:04d}.png").convert("RGB"))
        assert np.array_equal(sent, kept)


def test_disabled_leaves_no_trace(tmp_path: Path) -> None:
    words = [
        "--runs_dir",
        tmp_path,
        "--run_id",
        "silent",
        "--wandb.mode",
        "disabled",
        "--trainer.limit_train_batches",
        1,
    ]
    assert tumorgen("fit", "--config", TINY_VQGAN, *words, "--trainer.max_epochs", 1) == 0
    run = tmp_path / "tiny/silent"
    assert (run / "csv/metrics.csv").is_file()
    assert not list(run.rglob("*wandb*"))


def test_a_second_job_of_the_same_process_has_a_record_of_its_own(run: Path, tmp_path: Path) -> None:
    """A demonstration trains both stages one after the other."""
    words = ["--runs_dir", tmp_path, "--trainer.limit_train_batches", 1, "--trainer.max_epochs", 1]
    for run_id in ("one", "two"):
        assert tumorgen("fit", "--config", TINY_VQGAN, *words, "--run_id", run_id) == 0
        assert [path.name for path in (tmp_path / "tiny" / run_id).glob("wandb/offline-run-*/*.wandb")] == [
            f"run-tiny-{run_id}.wandb"
        ]
