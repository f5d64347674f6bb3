"""Checkpoints that are written whole or not at all."""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from front import HELPERS, ROOT, TINY_VQGAN, tumorgen
from interruptions import killed_while_saving

from tumorgen.runs.checkpoints import DurableCheckpoints
from tumorgen.runs.folder import Run, leave_run, open_run

OLD, NEW = {"weights": torch.zeros(1000)}, {"weights": torch.ones(1000)}


@pytest.fixture
def last(tmp_path: Path) -> Path:
    """A checkpoint that is there already."""
    run = Run("tiny", "run", tmp_path / "tiny/run")
    DurableCheckpoints().save_checkpoint(OLD, run.last_checkpoint)
    return run.last_checkpoint


def is_old(path: Path) -> bool:
    return torch.equal(torch.load(path, weights_only=True)["weights"], OLD["weights"])


def test_a_new_checkpoint_takes_the_place_of_the_old_one(last: Path) -> None:
    assert is_old(last)
    DurableCheckpoints().save_checkpoint(NEW, last)
    assert not is_old(last)
    assert list(last.parent.iterdir()) == [last]


def test_a_failure_leaves_the_old_checkpoint_and_nothing_else(last: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(checkpoint: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        DurableCheckpoints().save_checkpoint(NEW, last)
    assert is_old(last)
    assert list(last.parent.iterdir()) == [last]


def _save_and_die(path: Path) -> None:
    torch.save = killed_while_saving
    DurableCheckpoints().save_checkpoint(NEW, path)


def test_a_kill_leaves_the_old_checkpoint_and_what_is_swept_at_the_next_start(last: Path, tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_save_and_die, args=(last,))
    process.start()
    process.join(timeout=60)
    assert process.exitcode == -signal.SIGKILL
    assert is_old(last)
    (half,) = set(last.parent.iterdir()) - {last}
    assert half.name.startswith(".")
    open_run(tmp_path, "tiny", "run", Run("tiny", "run", tmp_path / "tiny/run"))
    leave_run()
    assert list(last.parent.iterdir()) == [last]


def test_the_disk_has_the_file_before_it_gets_its_name(last: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(opened: int) -> None:
        happened.append(f"fsync {Path(os.readlink(f'/proc/self/fd/{opened}')).suffix}")
        fsync(opened)

    def noted_replace(path: Path, target: Path) -> Path:
        happened.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    DurableCheckpoints().save_checkpoint(NEW, last)
    assert happened == ["fsync .ckpt", "rename", "fsync "]


def test_fit_needs_no_other_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import_module("tumorgen.cli")  # libraries that look for a place when they are imported have found one
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    short = ("--trainer.max_epochs", 1, "--trainer.limit_train_batches", 1, "--wandb.mode", "disabled")
    assert tumorgen("fit", "--config", TINY_VQGAN, "--runs_dir", tmp_path, "--run_id", "run", *short) == 0
    names = {path.name for path in (tmp_path / "tiny/run/checkpoints").iterdir()}
    assert names == {"last.ckpt", "best.ckpt"}


@pytest.mark.ci
def test_a_training_that_is_killed_while_it_saves_goes_on(tmp_path: Path) -> None:
    common = ["fit", "--config", str(TINY_VQGAN), "--runs_dir", str(tmp_path), "--wandb.mode", "disabled"]
    accident = ["--run_id", "cut", "--trainer.callbacks+=interruptions.KillWhileSaving"]
    settings = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(HELPERS)]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tumorgen", *common, *accident]
    killed = subprocess.run(command, env=settings, capture_output=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    checkpoints = tmp_path / "tiny/cut/checkpoints"
    assert torch.load(checkpoints / "last.ckpt", weights_only=True)["epoch"] == 0
    assert len(list(checkpoints.glob(".*"))) == 1
    assert tumorgen(*common, "--resume", "cut") == 0
    assert torch.load(checkpoints / "last.ckpt", weights_only=True)["epoch"] == 1
    assert not list(checkpoints.glob(".*"))
