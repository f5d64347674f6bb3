"""A killed job looks killed, whoever asks: the shell, SLURM, or the next attempt."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from front import HELPERS, ROOT, TINY_VQGAN, tumorgen

from tumorgen.runs.signals import SIGNALS, EndOnSignal, Killed

QUIET = ("--wandb.mode", "disabled")
JOBS = ("TUMORGEN_", "TORCHELASTIC_", "SLURM_", "WORLD_SIZE", "LOCAL_RANK", "NODE_RANK", "MASTER_")


def words(place: Path, signum: int) -> list[str]:
    """A training that gets a signal in its first epoch."""
    accident = ["--trainer.callbacks+=interruptions.SignalToSelf", f"--trainer.callbacks.signum={signum}"]
    return ["fit", "--config", str(TINY_VQGAN), "--runs_dir", str(place), "--run_id", "run", *QUIET, *accident]


def outcome(place: Path) -> str:
    state = json.loads((place / "tiny/run/state.json").read_text())
    assert state["finished"] is None
    return state["attempts"][-1]["outcome"]


def environment(**more: object) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(JOBS)}
    own = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(HELPERS)]), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return kept | own | {name: str(value) for name, value in more.items()}


@pytest.mark.parametrize("signum", SIGNALS)
def test_the_status_tells_the_signal(
    signum: signal.Signals, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    with pytest.raises(SystemExit) as ended:
        tumorgen(*words(tmp_path, signum))
    assert ended.value.code == 128 + signum
    assert outcome(tmp_path) == signum.name
    assert f"tumorgen: ended by {signum.name}" in capsys.readouterr().err
    assert [signal.getsignal(each) for each in SIGNALS] == before


@pytest.mark.parametrize(
    "signum",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGUSR1, marks=pytest.mark.ci),
        pytest.param(signal.SIGINT, marks=pytest.mark.ci),
    ],
)
def test_a_real_process_says_so_too(signum: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tumorgen", *words(tmp_path, signum)]
    ended = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 128 + signum, ended.stderr[-2000:]
    assert outcome(tmp_path) == signum.name


@pytest.mark.ci
def test_ranks_that_were_started_are_told(tmp_path: Path) -> None:
    """The second process waits for the first one in the middle of a step: it must end too, and soon."""
    ranks = ["--trainer.strategy", "ddp", "--trainer.devices", "2", "--data.batch_size", "2"]
    command = [sys.executable, "-m", "tumorgen", *words(tmp_path, signal.SIGTERM), *ranks]
    ended = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode in (128 + signal.SIGTERM, -signal.SIGKILL), ended.stderr[-2000:]
    assert outcome(tmp_path) == "SIGTERM"


@pytest.mark.parametrize(
    ("job", "name", "rank"),
    [({}, "1234", 0), ({"SLURM_ARRAY_JOB_ID": "1200", "SLURM_ARRAY_TASK_ID": "7"}, "1200_7", 0), ({}, "", 1)],
)
def test_slurm_is_asked_to_start_the_job_again(
    job: dict[str, str], name: str, rank: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for key, value in {"SLURM_JOB_ID": "1234", "SLURM_NTASKS": "2", "SLURM_PROCID": str(rank), **job}.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(Killed), EndOnSignal():
        os.kill(os.getpid(), signal.SIGUSR1)
    assert (asked.read_text() if asked.exists() else "") == (f"requeue {name}\n" if name else "")


def test_other_signals_do_not_requeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "1234")
    monkeypatch.setattr("tumorgen.runs.signals.subprocess.run", lambda *_, **__: pytest.fail("asked"))
    with pytest.raises(Killed), EndOnSignal():
        os.kill(os.getpid(), signal.SIGTERM)


def test_without_scontrol_the_job_ends_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "1234")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Killed), EndOnSignal():
        os.kill(os.getpid(), signal.SIGUSR1)
    assert "job 1234 was not requeued" in capsys.readouterr().err


def test_an_exception_that_python_lost_is_raised_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fragile:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    lost: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: lost.append(what.exc_type))
    with EndOnSignal() as signals:
        Fragile()
        assert lost == [Killed]
        with pytest.raises(Killed):
            signals.on_train_batch_start(None, None)


@pytest.mark.ci
@pytest.mark.parametrize("tasks", [1, 2])
def test_a_job_of_slurm_is_requeued_and_goes_on(tasks: int, tmp_path: Path) -> None:
    """Its processes as `srun` starts them, twice; between them, one of them has its power cut."""
    job = {"SLURM_JOB_ID": 1234, "SLURM_NTASKS": tasks, "SLURM_NTASKS_PER_NODE": tasks, "SLURM_NODEID": 0}
    job |= {"SLURM_NODELIST": "localhost", "MASTER_ADDR": "localhost", "MASTER_PORT": 29617}
    common = ["fit", "--config", str(TINY_VQGAN), "--runs_dir", str(tmp_path), *QUIET, "--data.batch_size", "2"]
    common += ["--trainer.strategy", "ddp", "--trainer.devices", str(tasks)] if tasks > 1 else []
    common += ["--trainer.callbacks+=interruptions.OnePowerCut", f"--trainer.callbacks.memory={tmp_path / 'was'}"]

    def srun(restarts: int) -> list[int]:
        started = []
        for rank in range(tasks):
            place = {"SLURM_PROCID": rank, "SLURM_LOCALID": rank}
            settings = environment(**job, **place) | ({"SLURM_RESTART_COUNT": str(restarts)} if restarts else {})
            command = [sys.executable, "-m", "tumorgen", *common]
            started.append(subprocess.Popen(command, env=settings, stderr=subprocess.DEVNULL))
        return [process.wait(timeout=200) for process in started]

    assert all(status != 0 for status in srun(0))
    (run,) = (tmp_path / "tiny").iterdir()
    assert run.name == "slurm-1234"
    assert torch.load(run / "checkpoints/last.ckpt", weights_only=True)["epoch"] == 0
    assert srun(1) == [0] * tasks
    assert list((tmp_path / "tiny").iterdir()) == [run]
    assert torch.load(run / "checkpoints/last.ckpt", weights_only=True)["epoch"] == 1
    first, second = (attempt["outcome"] for attempt in json.loads((run / "state.json").read_text())["attempts"])
    assert first in ("PowerCutError", "RuntimeError"), "the cut, or that the other rank was gone"
    assert second == "finished"
