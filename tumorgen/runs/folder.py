"""Where a run lives: ``runs/<experiment>/<id>/``, how a new one is named, and how the one to go on with is found again."""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from data_modules.errors import InputError
from tumorgen.runs.jobs import Job, current_job

NEWEST = "newest"
AUTO = "auto"
_RUN_ID = "TUMORGEN_RUN_ID"
_occupied = ExitStack()


@dataclass(frozen=True)
class Run:
    """One run's folder.

    Attributes:
        experiment: Name shared by all runs of one experiment; the group in Weights & Biases.
        id: Name of this run, unique within the experiment.
        folder: Folder of everything that the run leaves behind.
    """

    experiment: str
    id: str
    folder: Path

    @property
    def checkpoints(self) -> Path:
        """Folder of `last.ckpt` and `best.ckpt`."""
        return self.folder / "checkpoints"

    @property
    def last_checkpoint(self) -> Path:
        """The checkpoint that a resumed run continues from; a run that was killed in its first epoch has none."""
        return self.checkpoints / "last.ckpt"

    @property
    def state(self) -> dict[str, Any]:
        """What `state.json` says of the run; empty where it never came to write one.

        Raises:
            InputError: The file is not readable.
        """
        path = self.folder / "state.json"
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(state["command"], list):
                raise TypeError("command is no list")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: is no state of a run ({error!r}); move the folder away.") from error
        return dict(state)

    @property
    def command(self) -> list[str]:
        """The words that started the run, without `--resume`."""
        return list(self.state.get("command", []))


def without_resume(words: Sequence[str]) -> list[str]:
    """A command line without `--resume`: what the run is, not how it is started."""
    kept: list[str] = []
    following = False
    for word in words:
        if following and not word.startswith("-"):
            following = False
            continue
        following = word == "--resume"
        if not following and not word.startswith("--resume="):
            kept.append(word)
    return kept


def earlier_run(
    runs_dir: Path, experiment: str, run_id: str | None, resume: str | None, command: Sequence[str]
) -> Run | None:
    """The run that a command goes on with; None where it starts one.

    A requeued job goes on with its own run without being told. Where neither an id nor a job names the run, `auto` means the
    newest run that the same command started: other settings are another run.

    Args:
        runs_dir: Folder that holds the experiments.
        experiment: Name of the experiment.
        run_id: As typed.
        resume: As typed: None, `auto`, `newest` or the id of a run.
        command: Words of the command line without `--resume`.

    Raises:
        InputError: `resume` names a run that is not there.
    """
    place, job = runs_dir / experiment, current_job()
    if _RUN_ID in os.environ:  # the first process of this job, which started this one, knows it
        return Run(experiment, os.environ[_RUN_ID], place / os.environ[_RUN_ID])
    if resume not in (None, AUTO):
        return find_run(runs_dir, experiment, resume)
    goes_on = resume == AUTO or (job is not None and job.requeued)
    if run_id is not None:
        run = Run(experiment, run_id, place / run_id)
        if not run.folder.is_dir() or run.command[:1] not in ([], [command[0]]):
            return None
        cut_short = command[0] == "fit" and not run.state.get("finished") and not run.last_checkpoint.is_file()
        return run if goes_on or cut_short else None
    if not goes_on:
        return None
    if job is None:
        candidates = [run for run in _runs_by_age(place, experiment) if run.command]
    else:
        candidates = [Run(experiment, name, place / name) for name in _taken(place, _name(job))]
    return next((run for run in candidates if run.command in ([], list(command))), None)


def open_run(runs_dir: Path, experiment: str, run_id: str | None = None, earlier: Run | None = None) -> Run:
    """Makes the folder of a new run, or moves into the one of an earlier run; no other job can have it at the same time.

    The ranks of one job agree on the name without talking: the first process leaves it in the environment, which the
    processes that it starts inherit; ranks started by SLURM or torchrun derive it from their job's name.

    Args:
        runs_dir: Folder that holds the experiments.
        experiment: Name of the experiment.
        run_id: Name of a new run; None names it after the job, or after the time.
        earlier: What `earlier_run` has found.

    Raises:
        InputError: A run of this name exists, or another process is working in the folder.
    """
    job = current_job()
    first = _RUN_ID not in os.environ and (job is None or job.first)
    if earlier is None:
        name = _new_folder(runs_dir / experiment, run_id, job)
        earlier = Run(experiment, name, runs_dir / experiment / name)
    if first:
        _occupy(earlier.folder, job)
        for folder in (earlier.folder, earlier.checkpoints):
            for half in folder.glob(".*.tmp.*"):  # of `atomic_path`, when a process was killed in it
                half.unlink()
    os.environ[_RUN_ID] = earlier.id
    return earlier


def leave_run() -> None:
    """Lets go of the folder; the next command of this process names its run anew."""
    os.environ.pop(_RUN_ID, None)
    _occupied.close()


def find_run(runs_dir: Path, experiment: str, which: str | None = NEWEST) -> Run:
    """Finds a training that can be continued.

    Args:
        runs_dir: Folder that holds the experiments.
        experiment: Name of the experiment.
        which: `newest`, or the id of a run.

    Raises:
        InputError: There is no such run.
    """
    parent = runs_dir / experiment
    runs = _runs_by_age(parent, experiment)
    if which == NEWEST and runs:
        return runs[0]
    for run in runs:
        if run.id == which:
            return run
    if which == NEWEST:
        raise InputError(
            f"--resume: no run of `fit` in {parent}; start one without --resume, or name the right folder with --runs_dir and "
            "the right experiment with --experiment."
        )
    found = ", ".join(run.id for run in runs) or "none"
    raise InputError(f"--resume: no run '{which}' of `fit` in {parent}; found: {found}.")


def _runs_by_age(parent: Path, experiment: str) -> list[Run]:
    """All trainings of an experiment, those first that were worked on last."""
    runs = [Run(experiment, folder.name, folder) for folder in parent.iterdir()] if parent.is_dir() else []
    ages: list[tuple[float, Run]] = []
    for run in runs:
        if run.last_checkpoint.is_file():
            ages.append((run.last_checkpoint.stat().st_mtime, run))
        elif run.command[:1] == ["fit"]:
            ages.append(((run.folder / "state.json").stat().st_mtime, run))
    return [run for _, run in sorted(ages, key=lambda found: found[0], reverse=True)]


def _new_folder(parent: Path, run_id: str | None, job: Job | None) -> str:
    """The name of the folder that was made for a run, or, on later ranks of a job, is made by its first one."""
    if run_id is not None:
        names = iter([run_id])
    elif job is not None and job.ranks > 1:
        names = iter([_name(job)])  # which all ranks derive alike
    else:
        names = _numbered(_name(job) if job is not None else datetime.now().strftime("%Y%m%d-%H%M%S"))
    if job is not None and not job.first:
        return next(names)
    parent.mkdir(parents=True, exist_ok=True)
    for name in names:
        try:
            (parent / name).mkdir()
        except FileExistsError:
            continue
        return name
    raise InputError(
        f"--run_id: run '{name}' of experiment '{parent.name}' exists in {parent}; choose another name, or continue it with "
        f"--resume {name}."
    )


def _name(job: Job) -> str:
    if job.name is None:
        raise InputError(
            "torchrun: its processes need a name for their run; give one by `torchrun --rdzv-id` or --run_id."
        )
    return job.name


def _numbered(name: str) -> Iterator[str]:
    """`name`, `name-2`, `name-3`, ..."""
    yield name
    for number in count(2):
        yield f"{name}-{number}"


def _taken(parent: Path, name: str) -> Iterator[str]:
    """The names of `_numbered` up to the first that has no folder."""
    for numbered in _numbered(name):
        if not (parent / numbered).is_dir():
            return
        yield numbered


def _occupy(folder: Path, job: Job | None) -> None:
    """Keeps other processes out of a folder until `leave_run` or the end of this process, however it ends."""
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
    _occupied.callback(os.close, lock)
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        # a job is requeued when its earlier processes are gone; file servers can be slow to notice
        if job is None or not job.requeued:
            _occupied.close()
            raise InputError(
                f"{folder}: another process is working in this run; wait for it, or start a run of your own with another "
                "--run_id."
            ) from error
    except OSError:
        pass  # a file system without locks
