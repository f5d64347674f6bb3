"""The job that a process belongs to, as SLURM and torchrun tell it in the environment, and what its signals mean."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """What started the processes of one run.

    Attributes:
        name: The same for all processes, and for the job when it is started again; None where torchrun was told none.
        ranks: Processes that were started from outside, each of which runs the same command line.
        first: Whether this process is the first of them.
        requeued: Whether the job was started before, and this is a later attempt.
    """

    name: str | None
    ranks: int
    first: bool
    requeued: bool


def current_job() -> Job | None:
    """The job of this process; None for a process on its own, also in an interactive session of SLURM."""
    requeued = _number("SLURM_RESTART_COUNT", 0) > 0
    name, ranks = os.environ.get("TORCHELASTIC_RUN_ID", "none"), _number("WORLD_SIZE", 1)
    if "TORCHELASTIC_RUN_ID" in os.environ and (name != "none" or ranks > 1):
        restarted = _number("TORCHELASTIC_RESTART_COUNT", 0) > 0
        return Job(None if name == "none" else f"elastic-{name}", ranks, _number("RANK", 0) == 0, requeued or restarted)
    if slurm_job() is not None and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        ranks, step = _number("SLURM_NTASKS", 1), _number("SLURM_STEP_ID", 0)
        # each `srun` of a job is a step; where it starts several processes, its number is what they have in common
        name = f"slurm-{slurm_job()}" + (f".{step}" if ranks > 1 and step else "")
        return Job(name, ranks, _number("SLURM_PROCID", 0) == 0, requeued)
    return None


def slurm_job() -> str | None:
    """The name by which `scontrol` knows the job: `1234`, or `1200_7` for a task of an array; None outside of SLURM."""
    if "SLURM_ARRAY_JOB_ID" in os.environ and "SLURM_ARRAY_TASK_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID")


def _number(variable: str, otherwise: int) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isdigit() else otherwise
