"""Run folders: how they are named, found again, and agreed upon by the processes of one job."""

import json
import multiprocessing
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from data_modules.errors import InputError
from tumorgen.runs.folder import Run, earlier_run, find_run, leave_run, open_run, without_resume

JOBS = ("TUMORGEN_", "TORCHELASTIC_", "SLURM_")
COMMAND = ["fit", "--config", "vqgan.yaml"]


@pytest.fixture(autouse=True)
def _nobody_else(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith(JOBS)]:
        monkeypatch.delenv(name)
    yield
    leave_run()


def in_job(monkeypatch: pytest.MonkeyPatch, **environment: object) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))


def started(
    runs_dir: Path,
    run_id: str | None = None,
    resume: str | None = None,
    command: Sequence[str] = COMMAND,
    checkpoint: bool = False,
) -> Run:
    """The run of a command that was killed, after its first epoch or before."""
    run = open_run(runs_dir, "vqgan", run_id, earlier_run(runs_dir, "vqgan", run_id, resume, command))
    (run.folder / "state.json").write_text(json.dumps({"command": list(command), "finished": None}))
    if checkpoint:
        run.checkpoints.mkdir(exist_ok=True)
        run.last_checkpoint.touch()
    leave_run()
    return run


def test_a_new_run_is_named_after_the_time(tmp_path: Path) -> None:
    run = open_run(tmp_path, "vqgan")
    assert re.fullmatch(r"\d{8}-\d{6}", run.id)
    assert run.folder == tmp_path / "vqgan" / run.id
    assert run.folder.is_dir()
    assert run.last_checkpoint == run.folder / "checkpoints" / "last.ckpt"


def test_looking_for_a_run_makes_nothing(tmp_path: Path) -> None:
    assert earlier_run(tmp_path, "vqgan", None, "auto", COMMAND) is None
    assert list(tmp_path.iterdir()) == []


def _name(start: object, runs_dir: Path, name: str | None, queue: "multiprocessing.Queue[str]") -> None:
    start.wait()  # type: ignore[attr-defined]
    try:
        queue.put(open_run(runs_dir, "vqgan", name, earlier_run(runs_dir, "vqgan", name, None, COMMAND)).id)
    except InputError as error:
        queue.put(f"refused: {error}")
    start.wait()  # type: ignore[attr-defined]


def names_of_two_processes(runs_dir: Path, name: str | None) -> list[str]:
    """What two processes call their runs that start at the same instant."""
    context = multiprocessing.get_context("fork")
    start, queue = context.Barrier(2), context.Queue()
    processes = [context.Process(target=_name, args=(start, runs_dir, name, queue)) for _ in range(2)]
    for process in processes:
        process.start()
    found = [queue.get(timeout=20) for _ in processes]
    for process in processes:
        process.join(timeout=20)
    return found


def test_two_fits_of_one_second_have_two_folders(tmp_path: Path) -> None:
    for _ in range(5):
        first, second = names_of_two_processes(tmp_path, None)
        assert first != second
        assert (tmp_path / "vqgan" / first).is_dir()
        assert (tmp_path / "vqgan" / second).is_dir()


def test_two_fits_do_not_share_a_name_of_ones_own(tmp_path: Path) -> None:
    found = names_of_two_processes(tmp_path, "mine")
    assert "mine" in found
    (refused,) = [name for name in found if name != "mine"]
    assert refused.startswith("refused: "), "whether it comes before the folder or after it"
    assert started(tmp_path, "mine").id == "mine", "the killed run has let go of it"
    found = names_of_two_processes(tmp_path, "mine")
    assert "mine" in found
    assert [name for name in found if "another process is working in this run" in name]


def test_processes_of_one_job_agree(tmp_path: Path) -> None:
    """A started process inherits the environment."""
    first = open_run(tmp_path, "vqgan")
    assert earlier_run(tmp_path, "vqgan", None, None, COMMAND) == first
    leave_run()
    assert open_run(tmp_path, "vqgan") != first


def test_a_name_of_ones_own(tmp_path: Path) -> None:
    run = started(tmp_path, "mine", checkpoint=True)
    assert run.folder == tmp_path / "vqgan" / "mine"
    with pytest.raises(InputError, match=r"'mine' of experiment 'vqgan' exists .* --resume mine"):
        started(tmp_path, "mine")
    assert started(tmp_path, "mine", resume="auto") == run


def test_a_run_without_a_checkpoint_is_started_anew_under_its_name(tmp_path: Path) -> None:
    run = started(tmp_path, "mine")
    assert started(tmp_path, "mine") == run
    assert find_run(tmp_path, "vqgan") == find_run(tmp_path, "vqgan", "mine") == run
    with pytest.raises(InputError, match="exists"):
        started(tmp_path, "mine", command=["test"])
    (run.folder / "state.json").write_text(json.dumps({"command": COMMAND, "finished": "today"}))
    with pytest.raises(InputError, match="exists"):
        started(tmp_path, "mine")


SLURM = {"SLURM_JOB_ID": 1234}
JOB_NAMES = [
    ({"TORCHELASTIC_RUN_ID": "j7", "WORLD_SIZE": 2, "RANK": 0}, "elastic-j7"),
    (SLURM, "slurm-1234"),
    (SLURM | {"SLURM_NTASKS": 1, "SLURM_STEP_ID": 3}, "slurm-1234"),
    (SLURM | {"SLURM_NTASKS": 4, "SLURM_PROCID": 0}, "slurm-1234"),
    (SLURM | {"SLURM_NTASKS": 4, "SLURM_PROCID": 0, "SLURM_STEP_ID": 1}, "slurm-1234.1"),
    (SLURM | {"SLURM_ARRAY_JOB_ID": 1200, "SLURM_ARRAY_TASK_ID": 7}, "slurm-1200_7"),
]


@pytest.mark.parametrize(("environment", "name"), JOB_NAMES)
def test_jobs_name_their_run(
    environment: dict[str, object], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_job(monkeypatch, **environment)
    assert open_run(tmp_path, "vqgan").id == name


@pytest.mark.parametrize(("environment", "name"), JOB_NAMES)
@pytest.mark.parametrize("resume", [None, "auto"])
def test_a_requeued_job_finds_its_run(
    resume: str | None, environment: dict[str, object], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SLURM counts restarts; `auto` needs no count, and none of both is told which run."""
    in_job(monkeypatch, **environment)
    first = started(tmp_path, resume=resume, checkpoint=True)
    if resume is None:
        in_job(monkeypatch, SLURM_RESTART_COUNT=1)
    assert started(tmp_path, resume=resume) == first
    assert [folder.name for folder in (tmp_path / "vqgan").iterdir()] == [name]


def test_later_ranks_follow_the_first_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_job(monkeypatch, SLURM_JOB_ID=1, SLURM_NTASKS=2, SLURM_PROCID=1)
    run = open_run(tmp_path, "vqgan")
    assert not run.folder.exists(), "the first rank makes it"
    leave_run()
    in_job(monkeypatch, SLURM_PROCID=0)
    assert started(tmp_path, checkpoint=True) == run
    for rank in (1, 0):
        in_job(monkeypatch, SLURM_PROCID=rank, SLURM_RESTART_COUNT=1)
        assert earlier_run(tmp_path, "vqgan", None, None, COMMAND) == run


def test_several_fits_of_one_job_are_told_by_their_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_job(monkeypatch, **SLURM)
    commands = [[*COMMAND, f"--seed_everything={seed}"] for seed in (0, 1)]
    runs = [started(tmp_path, command=command, checkpoint=True) for command in commands]
    assert [run.id for run in runs] == ["slurm-1234", "slurm-1234-2"]
    in_job(monkeypatch, SLURM_RESTART_COUNT=1)
    assert [started(tmp_path, command=command) for command in reversed(commands)] == runs[::-1]
    assert started(tmp_path, command=[*COMMAND, "--seed_everything=2"]).id == "slurm-1234-3"


@pytest.mark.parametrize("name", ["bash", "interactive"])
def test_an_interactive_session_names_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_job(monkeypatch, SLURM_JOB_ID=1, SLURM_NTASKS=1, SLURM_JOB_NAME=name)
    assert re.fullmatch(r"\d{8}-\d{6}", open_run(tmp_path, "vqgan").id)


def test_torchrun_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_job(monkeypatch, TORCHELASTIC_RUN_ID="none", WORLD_SIZE=1)
    assert re.fullmatch(r"\d{8}-\d{6}", open_run(tmp_path, "vqgan").id)
    leave_run()
    in_job(monkeypatch, WORLD_SIZE=2, RANK=1)
    with pytest.raises(InputError, match="torchrun --rdzv-id"):
        open_run(tmp_path, "vqgan")
    assert open_run(tmp_path, "vqgan", "mine").id == "mine"


def test_auto_starts_or_goes_on_with_the_run_of_the_same_command(tmp_path: Path) -> None:
    first = started(tmp_path, resume="auto")
    assert started(tmp_path, resume="auto") == first, "killed before its first checkpoint"
    other = started(tmp_path, resume="auto", command=[*COMMAND, "--seed_everything=1"], checkpoint=True)
    assert other != first
    assert started(tmp_path, resume="auto", checkpoint=True) == first


@pytest.mark.parametrize(
    "words", [["--resume", "auto"], ["--resume=auto"], ["--resume"], ["--resume", "--seed_everything", "3"]]
)
def test_the_command_of_a_run_does_not_say_how_it_was_started(words: list[str]) -> None:
    rest = [word for word in words[1:] if word != "auto"]
    assert without_resume([*COMMAND, *words]) == [*COMMAND, *rest]
    assert without_resume([COMMAND[0], *words, *COMMAND[1:]]) == [COMMAND[0], *rest, *COMMAND[1:]]


def test_newest_is_by_the_time_of_the_checkpoint_and_not_by_name(tmp_path: Path) -> None:
    old, new = started(tmp_path, "z", checkpoint=True), started(tmp_path, "a", checkpoint=True)
    for run, time in ((old, 1000), (new, 2000)):
        os.utime(run.last_checkpoint, (time, time))
    (tmp_path / "vqgan" / "zz-without-anything").mkdir()
    assert find_run(tmp_path, "vqgan") == new
    assert find_run(tmp_path, "vqgan", "z") == old


def test_nothing_to_continue(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no run of `fit` in .*vqgan; start one without --resume"):
        find_run(tmp_path, "vqgan")
    (tmp_path / "vqgan" / "empty").mkdir(parents=True)
    with pytest.raises(InputError, match="no run of `fit`"):
        find_run(tmp_path, "vqgan")
    for name, time in (("b", 1), ("a", 2)):
        os.utime(started(tmp_path, name, checkpoint=True).last_checkpoint, (time, time))
    with pytest.raises(InputError, match=r"no run 'empty' of `fit` in .*; found: a, b\."):
        find_run(tmp_path, "vqgan", "empty")


def test_a_damaged_state_is_named(tmp_path: Path) -> None:
    run = started(tmp_path, "mine")
    (run.folder / "state.json").write_text("{")
    with pytest.raises(InputError, match=r"mine/state\.json: is no state of a run"):
        _ = run.state
