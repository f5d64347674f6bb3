"""Where a run lives: ``runs/<experiment>/<id>/``, how a new one is named, and how an old one is found again."""

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from data_modules.errors import InputError

NEWEST = "newest"
_RUN_ID = "TUMORGEN_RUN_ID"


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
        """The checkpoint that a resumed run continues from."""
        return self.checkpoints / "last.ckpt"


def new_run(runs_dir: Path, experiment: str, run_id: str | None = None) -> Run:
    """Names a new run.

    The ranks of one job agree on the name without talking: the first process leaves it in the environment, which the
    processes that it starts inherit; ranks started by SLURM or torchrun derive it from their job's name.

    Raises:
        InputError: `run_id` was given and already exists.
    """
    if run_id is not None:
        if (runs_dir / experiment / run_id / "config.yaml").exists() and os.environ.get(_RUN_ID) != run_id:
            raise InputError(
                f"--run_id: run '{run_id}' of experiment '{experiment}' exists in {runs_dir / experiment}; "
                f"choose another name, or continue it with --resume {run_id}."
            )
    elif _RUN_ID in os.environ:
        run_id = os.environ[_RUN_ID]
    elif os.environ.get("TORCHELASTIC_RUN_ID", "none") != "none":
        run_id = f"elastic-{os.environ['TORCHELASTIC_RUN_ID']}"
    elif "SLURM_JOB_ID" in os.environ and int(os.environ.get("SLURM_NTASKS", "1")) > 1:
        run_id = f"slurm-{os.environ['SLURM_JOB_ID']}"
    else:
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        run_id, count = stamp, 1
        while (runs_dir / experiment / run_id).exists():
            count += 1
            run_id = f"{stamp}-{count}"
    os.environ[_RUN_ID] = run_id
    return Run(experiment, run_id, runs_dir / experiment / run_id)


def forget_run() -> None:
    """Lets the next `new_run` of this process choose a new name (for programs that call the command line twice)."""
    os.environ.pop(_RUN_ID, None)


def find_run(runs_dir: Path, experiment: str, which: str = NEWEST) -> Run:
    """Finds a run that can be continued.

    Args:
        runs_dir: Folder that holds the experiments.
        experiment: Name of the experiment.
        which: `newest`, or the id of a run.

    Raises:
        InputError: There is no such run, or it holds no checkpoint to continue from.
    """
    parent = runs_dir / experiment
    runs = [Run(experiment, folder.name, folder) for folder in parent.iterdir()] if parent.is_dir() else []
    resumable = sorted(
        (run for run in runs if run.last_checkpoint.is_file()), key=lambda run: run.last_checkpoint.stat().st_mtime
    )
    if which == NEWEST:
        if not resumable:
            raise InputError(
                f"--resume: no run with a checkpoint in {parent}; start one without --resume, or name the right "
                "folder with --runs_dir and the right experiment with --experiment."
            )
        return resumable[-1]
    for run in resumable:
        if run.id == which:
            return run
    found = ", ".join(run.id for run in resumable) or "none"
    raise InputError(f"--resume: no run '{which}' with a checkpoint in {parent}; found: {found}.")
