"""The command line as a user meets it: runs, folders, what is refused and in which words."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from front import ROOT, TINY_VQGAN, only_run, read_yaml, tumorgen

from data_modules.errors import InputError
from tumorgen.methods.loading import build, load_method
from tumorgen.methods.vqgan.module import VQGAN


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of the tiny VQGAN."""
    place = tmp_path_factory.mktemp("finished")
    assert tumorgen("fit", "--config", TINY_VQGAN, "--runs_dir", place, "--run_id", "first") == 0
    return place / "tiny" / "first"


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line of a refused command."""
    capsys.readouterr()
    assert tumorgen(*words) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tumorgen: error")]
    assert len(lines) == 1
    return lines[0]


def test_a_run_leaves_what_was_promised(finished: Path) -> None:
    assert {path.name for path in (finished / "checkpoints").iterdir()} == {"last.ckpt", "best.ckpt"}
    assert (finished / "csv" / "metrics.csv").is_file()
    assert list(finished.glob("wandb/offline-run-*"))
    config = read_yaml(finished / "config.yaml")
    assert config["model"]["init_args"]["objective"]["init_args"]["pixel"] == 4.0, "defaults are written out"
    assert config["resume"] is None
    assert config["run_id"] is None


def test_the_written_configuration_runs_again_and_gives_the_same_weights(finished: Path, tmp_path: Path) -> None:
    assert (
        tumorgen("fit", "--config", finished / "config.yaml", "--runs_dir", tmp_path, "--wandb.mode", "disabled") == 0
    )
    first, again = (
        weights(finished / "checkpoints/last.ckpt"),
        weights(only_run("tiny", tmp_path) / "checkpoints/last.ckpt"),
    )
    assert first.keys() == again.keys()
    for name, value in first.items():
        assert torch.equal(value, again[name]), name


def test_a_checkpoint_builds_its_model_without_the_configuration(finished: Path) -> None:
    model = load_method(finished / "checkpoints/last.ckpt", VQGAN)
    assert model.class_names == ("LGG", "HGG")
    assert (model.roi_size, model.spacing, model.model.grid, model.model.quantizer.num_codes) == (16, 8.0, 4, 16)
    assert model.updates == 4
    assert not model.training
    assert len(model.origin.patients) == 8


def test_validate_takes_the_architecture_from_the_checkpoint(finished: Path, tmp_path: Path) -> None:
    words = ["--data", "toy.ToyDataModule", "--ckpt_path", finished / "checkpoints/last.ckpt", "--runs_dir", tmp_path]
    assert tumorgen("test", *words, "--wandb.mode", "disabled", "--trainer.accelerator", "cpu") == 0
    header = (only_run("unnamed", tmp_path) / "csv-test" / "metrics.csv").read_text().splitlines()[0]
    assert "test/dice" in header
    assert "test/l1_tumour" in header


def test_data_of_another_size_is_refused(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data", "toy.ToyDataModule", "--data.roi_size", 32, "--ckpt_path", finished / "checkpoints/last.ckpt"]
    line = refused(capsys, "validate", *words, "--runs_dir", tmp_path, "--wandb.mode", "disabled")
    assert "roi_size" in line
    assert "32" in line
    assert "16" in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model.quantizer.decai", "0.9"], "model.quantizer: option 'decai' is not accepted by"),
        (["--data.rooot", "x"], "data: option 'rooot' is not accepted by toy.ToyDataModule"),
        (["--trainer.max_epoch", "3"], "--trainer.max_epoch"),
        (["--trainer.max_epochs", "many"], "trainer.max_epochs: expected a value of type int, found many"),
        (["--config", "nix.yaml"], "nix.yaml"),
        (["--model.discriminator_start", "3"], "model.discriminator_start is 3"),
        (["--data.roi_size", "18"], "roi_size 18 cannot be halved 2 times"),
        (["--ckpt_path", "nix.ckpt"], "nix.ckpt: no such file"),
        (["--ckpt_path", "last"], "last: no such file"),
        (["--resume"], "--resume: no run of `fit` in"),
        (["--resume", "yesterday"], "--resume: no run 'yesterday'"),
    ],
)
def test_bad_options_get_one_line(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in refused(capsys, "fit", "--config", TINY_VQGAN, *words)
    assert list(tmp_path.iterdir()) == [], "a refused command leaves nothing behind"


def test_unknown_commands_are_refused_with_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean 'prepare'?" in refused(capsys, "prepair")


def test_an_existing_run_is_not_written_over(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--config", TINY_VQGAN, "--runs_dir", finished.parents[1], "--run_id", "first"]
    assert "run 'first' of experiment 'tiny' exists" in refused(capsys, "fit", *words)


def test_checkpoints_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes(b"PK\x03\x04 cut short")
    foreign = tmp_path / "foreign.ckpt"
    torch.save({"state_dict": {}}, foreign)
    evil = tmp_path / "evil.ckpt"
    torch.save({"hyper_parameters": {"_class_path": "os.system"}}, evil)
    for path, said in (
        (cut, "not readable"),
        (foreign, "no hyperparameters"),
        (evil, "may not choose what is imported"),
    ):
        line = refused(capsys, "fit", "--config", TINY_VQGAN, "--ckpt_path", path, "--runs_dir", tmp_path)
        assert said in line
        assert path.name in line


def test_a_checkpoint_of_another_shape_names_the_tensors(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--config", TINY_VQGAN, "--model.quantizer.num_codes", 32, "--runs_dir", tmp_path]
    line = refused(capsys, "fit", *words, "--ckpt_path", finished / "checkpoints/last.ckpt")
    assert "quantizer.codebook" in line
    assert "config.yaml" in line


def test_fit_does_not_continue_what_was_not_trained_here(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = torch.load(finished / "checkpoints/last.ckpt", weights_only=True)
    del checkpoint["optimizer_states"]
    torch.save(checkpoint, tmp_path / "imported.ckpt")
    words = ["--config", TINY_VQGAN, "--ckpt_path", tmp_path / "imported.ckpt", "--runs_dir", tmp_path]
    assert "no state of its training" in refused(capsys, "fit", *words)


def test_predict_needs_a_generator(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data", "data_modules.request.SamplingRequest", "--data.counts", "{LGG: 1}", "--runs_dir", tmp_path]
    line = refused(
        capsys, "predict", *words, "--ckpt_path", finished / "checkpoints/last.ckpt", "--wandb.mode", "disabled"
    )
    assert "samples nothing" in line


def test_python_users_get_the_message_itself() -> None:
    with pytest.raises(InputError, match=r"model\.discriminator_start is 2"):
        build("tumorgen.methods.vqgan.module.VQGAN", {"discriminator_start": 2.0}, VQGAN)


def test_init_copies_every_experiment_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tumorgen("init", "--output", tmp_path / "mine") == 0
    shipped = {path.relative_to(ROOT / "experiments") for path in (ROOT / "experiments").rglob("*.yaml")}
    assert {path.relative_to(tmp_path / "mine") for path in (tmp_path / "mine").rglob("*.yaml")} == shipped
    (tmp_path / "mine" / "vqgan.yaml").write_text("edited")
    assert "already there" in refused(capsys, "init", "--output", tmp_path / "mine")
    assert (tmp_path / "mine" / "vqgan.yaml").read_text() == "edited"


@pytest.mark.parametrize(("chosen", "sleeps"), [(None, True), ("ACTIVE", False)])
def test_waiting_threads_sleep_unless_the_user_wants_otherwise(chosen: str | None, sleeps: bool) -> None:
    """As the OpenMP library that torch loads reports it: a thread that spins takes the core from other processes."""
    environment = {
        name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    }
    environment |= {"OMP_DISPLAY_ENV": "verbose"} | ({"OMP_WAIT_POLICY": chosen} if chosen else {})
    command = [sys.executable, "-m", "tumorgen", "fit", "--help"]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stderr
    found = re.search(r"GOMP_SPINCOUNT = '(\w+)'", told)
    if found is None:
        pytest.skip("torch uses another OpenMP library here")
    assert (found[1] == "0") == sleeps
