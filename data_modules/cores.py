"""How many processes are worth starting."""

import os


def available_cores() -> int:
    """Processor cores this process may use: a SLURM job or container often has fewer than the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
