"""The classifier through the real command line, on blobs."""

import csv
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from front import HELPERS, ROOT, only_run, read_yaml, tumorgen
from interruptions import PowerCutError
from sklearn.metrics import accuracy_score, f1_score, recall_score, roc_auc_score
from toy import TOY_KEY, Blobs, ToyDataModule

from data_modules.origin import Origin
from tumorgen.classifier.module import GradeClassifier
from tumorgen.classifier.networks import SmallCNN
from tumorgen.methods.loading import load_method

TINY = HELPERS / "tiny_classifier.yaml"
QUIET = ("--wandb.mode", "disabled")


def fit(runs: Path, *words: object) -> Path:
    assert tumorgen("fit", "--config", TINY, "--runs_dir", runs, *QUIET, *words) == 0
    return runs / "tiny-classifier"


def checkpoint(run: Path, name: str) -> dict[str, Any]:
    return torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)


def rows(run: Path, folder: str = "csv") -> list[dict[str, str]]:
    with open(run / folder / "metrics.csv", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of six epochs."""
    return fit(tmp_path_factory.mktemp("finished"), "--run_id", "a", "--trainer.max_epochs", 6) / "a"


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    assert tumorgen(*words) == 2
    return capsys.readouterr().err


def test_a_run_leaves_figures_and_checkpoints(finished: Path) -> None:
    assert {path.name for path in (finished / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    header = rows(finished)[0].keys()
    for part in ("auc", "f1", "accuracy", "precision", "recall", "loss", "selection"):
        assert f"val/{part}" in header
    assert {"train/loss", "train/accuracy"} <= header
    arguments = read_yaml(finished / "config.yaml")["model"]["init_args"]
    assert arguments["network"]["class_path"] == "tumorgen.classifier.networks.SmallCNN"


def test_the_best_checkpoint_is_of_the_highest_validation_auc(finished: Path) -> None:
    validated = [row for row in rows(finished) if row["val/auc"]]
    assert len(validated) == 6
    best = max(validated, key=lambda row: (float(row["val/auc"]), -float(row["val/loss"])))
    assert checkpoint(finished, "best")["epoch"] == int(best["epoch"])
    assert len({row["val/loss"] for row in validated}) == 6
    assert checkpoint(finished, "last")["epoch"] == 5


def test_testing_takes_everything_from_the_checkpoint(finished: Path, tmp_path: Path) -> None:
    best = finished / "checkpoints" / "best.ckpt"
    words = ["--data", "toy.ToyDataModule", "--ckpt_path", best, "--runs_dir", tmp_path, "--trainer.accelerator", "cpu"]
    assert tumorgen("test", *words, *QUIET) == 0
    (row,) = rows(only_run("unnamed", tmp_path), "csv-test")
    model = load_method(best, GradeClassifier)
    cases = [Blobs(4, 16, 2000)[i] for i in range(4)]
    probabilities = model.probabilities(torch.stack([case["volume"] for case in cases]))
    assert torch.allclose(probabilities.sum(1), torch.ones(4))
    truth, scores = [case["label"] for case in cases], probabilities[:, 1]
    assert {name: float(row[f"test/{name}"]) for name in ("auc", "accuracy", "f1", "recall")} == pytest.approx(
        {
            "auc": roc_auc_score(truth, scores),
            "accuracy": accuracy_score(truth, scores > 0.5),
            "f1": f1_score(truth, scores > 0.5, zero_division=0.0),
            "recall": recall_score(truth, scores > 0.5),
        }
    )


def test_validating_repeats_the_metrics_of_training(finished: Path, tmp_path: Path) -> None:
    last = finished / "checkpoints" / "last.ckpt"
    words = ["--data", "toy.ToyDataModule", "--ckpt_path", last, "--runs_dir", tmp_path, "--trainer.accelerator", "cpu"]
    assert tumorgen("validate", *words, *QUIET) == 0
    (row,) = rows(only_run("unnamed", tmp_path), "csv-validate")
    trained = [row for row in rows(finished) if row["val/auc"]][-1]
    for name in ("val/auc", "val/loss", "val/accuracy"):
        assert float(row[name]) == pytest.approx(float(trained[name]), abs=1e-6)


def test_resumed_equals_uninterrupted(finished: Path, tmp_path: Path) -> None:
    cut = ("--trainer.callbacks+=interruptions.PowerCut", "--trainer.callbacks.epoch=3")
    with pytest.raises(PowerCutError):
        fit(tmp_path, "--run_id", "cut", "--trainer.max_epochs", 6, *cut)
    run = fit(tmp_path, "--resume", "cut", "--trainer.max_epochs", 6) / "cut"
    for name in ("best", "last"):
        whole, resumed = checkpoint(finished, name), checkpoint(run, name)
        assert whole["epoch"] == resumed["epoch"]
        for key, value in whole["state_dict"].items():
            assert torch.equal(value, resumed["state_dict"][key]), key
    assert checkpoint(run, "last")["tumorgen"].keys() == {"version", "updates", "origin", "system"}


def test_a_checkpoint_tells_whom_it_was_trained_on(finished: Path) -> None:
    model = load_method(finished / "checkpoints" / "last.ckpt", GradeClassifier)
    assert (model.class_names, model.roi_size, model.spacing, model.in_channels) == (("LGG", "HGG"), 16, 8.0, 1)
    assert model.positive_class == "HGG"
    assert model.origin == Origin("toy", 0, TOY_KEY.hashes(f"blob{i:04d}" for i in range(8)))


def test_the_positive_class_can_be_chosen(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = fit(tmp_path, "--run_id", "a", "--trainer.max_epochs", 6, "--model.positive_class", "LGG") / "a"
    trained, other = rows(finished), rows(run)
    for hgg, lgg in zip(trained, other, strict=True):
        assert hgg["train/loss"] == lgg["train/loss"], "only the figures change"
        if hgg["val/auc"]:
            # four cases, two of each class: correct ones among both add up to the accuracy
            accuracy = (float(hgg["val/recall"]) + float(lgg["val/recall"])) / 2
            assert accuracy == pytest.approx(float(hgg["val/accuracy"]))
            assert float(hgg["val/auc"]) == pytest.approx(float(lgg["val/auc"]))
    said = refused(capsys, "fit", "--config", TINY, "--runs_dir", tmp_path, *QUIET, "--model.positive_class", "IDH")
    assert "model.positive_class is IDH; expected one of the data's classes: LGG, HGG." in said


def test_classifiers_sample_nothing(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--data",
        "data_modules.request.SamplingRequest",
        "--data.counts",
        "{HGG: 1}",
        "--trainer.accelerator",
        "cpu",
    ]
    place = ["--ckpt_path", finished / "checkpoints" / "best.ckpt", "--runs_dir", tmp_path, *QUIET]
    assert "a GradeClassifier samples nothing" in refused(capsys, "predict", *words, *place)


class Unbalanced(ToyDataModule):
    """Three blobs of class 0, one of class 1."""

    def setup(self, stage: str) -> None:
        super().setup(stage)
        self.train.keep([self.train.items[i] for i in (0, 2, 4, 1)])

    @property
    def origin(self) -> Origin:
        return super().origin.joined(Origin(unknown=True))


def trained(data: L.LightningDataModule, **options: Any) -> GradeClassifier:
    torch.manual_seed(0)
    model = GradeClassifier(roi_size=16, spacing=8.0, network=SmallCNN, **options)
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = L.Trainer(max_epochs=1, limit_val_batches=0, accelerator="cpu", **quiet)
    trainer.fit(model, data)
    return model


def test_a_balanced_loss_weighs_classes_by_the_inverse_of_their_frequency() -> None:
    assert trained(Unbalanced(), balanced_loss=True).class_weights.tolist() == pytest.approx([4 / 6, 2.0])
    assert trained(Unbalanced()).class_weights.tolist() == [1, 1]
    assert trained(ToyDataModule(), balanced_loss=True).class_weights.tolist() == [1, 1]


def test_volumes_of_unknown_origin_make_the_origin_unknown() -> None:
    assert trained(Unbalanced()).origin.unknown
    assert not trained(ToyDataModule()).origin.unknown


@pytest.mark.slow
def test_two_processes_validate_what_one_does(tmp_path: Path) -> None:
    """Figures are of both halves of the cases, judged by the running statistics that the checkpoint holds."""
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        port = listening.getsockname()[1]
    hidden = ("TUMORGEN_RUN_ID", "SLURM_JOB_ID", "SLURM_NTASKS", "WORLD_SIZE", "LOCAL_RANK", "NODE_RANK")
    environment = {name: value for name, value in os.environ.items() if name not in hidden} | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(HELPERS)]),
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    words = ["fit", "--config", TINY, "--runs_dir", tmp_path / "two", "--run_id", "a", *QUIET]
    both = ["--trainer.strategy", "ddp", "--trainer.devices", 2, "--data.batch_size", 2]
    command = [sys.executable, "-m", "tumorgen", *map(str, words + both)]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=200)
    run = tmp_path / "two" / "tiny-classifier" / "a"
    last = run / "checkpoints" / "last.ckpt"
    one = ["--data", "toy.ToyDataModule", "--ckpt_path", last, "--runs_dir", tmp_path / "one"]
    assert tumorgen("validate", *one, "--trainer.accelerator", "cpu", *QUIET) == 0
    (row,) = rows(only_run("unnamed", tmp_path / "one"), "csv-validate")
    trained_figures = [row for row in rows(run) if row["val/auc"]][-1]
    for name in ("val/auc", "val/loss", "val/accuracy"):
        assert float(row[name]) == pytest.approx(float(trained_figures[name]), abs=1e-6)
