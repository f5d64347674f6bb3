"""Run folders: how they are named, found again, and agreed upon by the processes of one job."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_modules.errors import InputError
from tumorgen.runs.folder import Run, find_run, forget_run, new_run

FOREIGN = ("TUMORGEN_RUN_ID", "TORCHELASTIC_RUN_ID", "SLURM_JOB_ID", "SLURM_NTASKS")


@pytest.fixture(autouse=True)
def _nobody_else(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in FOREIGN:
        monkeypatch.delenv(name, raising=False)
    yield
    forget_run()


def checkpoint(runs_dir: Path, run_id: str, time: int) -> Run:
    """A run with a checkpoint of a certain age."""
    run = Run("vqgan", run_id, runs_dir / "vqgan" / run_id)
    run.checkpoints.mkdir(parents=True)
    run.last_checkpoint.touch()
    os.utime(run.last_checkpoint, (time, time))
    return run


def test_a_new_run_is_named_after_the_time(tmp_path: Path) -> None:
    run = new_run(tmp_path, "vqgan")
    assert re.fullmatch(r"\d{8}-\d{6}", run.id)
    assert run.folder == tmp_path / "vqgan" / run.id
    assert run.last_checkpoint == run.folder / "checkpoints" / "last.ckpt"
    assert list(tmp_path.iterdir()) == [], "naming a run creates nothing"


def test_two_runs_of_one_second_have_two_names(tmp_path: Path) -> None:
    names = []
    for _ in range(3):
        forget_run()
        run = new_run(tmp_path, "vqgan")
        run.folder.mkdir(parents=True)
        names.append(run.id)
    assert len(set(names)) == 3


def test_processes_of_one_job_agree(tmp_path: Path) -> None:
    """A started process inherits the environment."""
    first = new_run(tmp_path, "vqgan")
    first.folder.mkdir(parents=True)
    assert new_run(tmp_path, "vqgan") == first
    forget_run()
    assert new_run(tmp_path, "vqgan") != first


def test_a_name_of_ones_own(tmp_path: Path) -> None:
    run = new_run(tmp_path, "vqgan", "mine")
    assert run.folder == tmp_path / "vqgan" / "mine"
    run.folder.mkdir(parents=True)
    (run.folder / "config.yaml").touch()
    assert new_run(tmp_path, "vqgan", "mine") == run, "another process of the same job"
    forget_run()
    with pytest.raises(InputError, match=r"'mine' of experiment 'vqgan' exists .* --resume mine"):
        new_run(tmp_path, "vqgan", "mine")


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"TORCHELASTIC_RUN_ID": "j7"}, "elastic-j7"),
        ({"SLURM_JOB_ID": "1234", "SLURM_NTASKS": "4"}, "slurm-1234"),
    ],
)
def test_launchers_name_the_run_for_all_ranks(
    environment: dict[str, str], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    assert new_run(tmp_path, "vqgan").id == name


@pytest.mark.parametrize("environment", [{"TORCHELASTIC_RUN_ID": "none"}, {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "1"}])
def test_single_processes_inside_of_a_job_do_not_share_a_name(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interactive SLURM session starts many runs."""
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    assert re.fullmatch(r"\d{8}-\d{6}", new_run(tmp_path, "vqgan").id)


def test_newest_is_by_the_time_of_the_checkpoint_and_not_by_name(tmp_path: Path) -> None:
    old, new = checkpoint(tmp_path, "z", 1000), checkpoint(tmp_path, "a", 2000)
    (tmp_path / "vqgan" / "zz-without-a-checkpoint").mkdir()
    assert find_run(tmp_path, "vqgan") == new
    assert find_run(tmp_path, "vqgan", "z") == old


def test_nothing_to_continue(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no run with a checkpoint in .*vqgan; start one without --resume"):
        find_run(tmp_path, "vqgan")
    (tmp_path / "vqgan" / "empty").mkdir(parents=True)
    with pytest.raises(InputError, match="no run with a checkpoint"):
        find_run(tmp_path, "vqgan")
    checkpoint(tmp_path, "b", 1)
    checkpoint(tmp_path, "a", 2)
    with pytest.raises(InputError, match=r"no run 'empty' with a checkpoint in .*; found: b, a\."):
        find_run(tmp_path, "vqgan", "empty")
