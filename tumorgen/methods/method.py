"""How long a run is going to be, in batches: what schedules, late starts and the time left are measured by."""

import lightning as L

from data_modules.errors import InputError


def planned_batches(trainer: L.Trainer, optimizers: float) -> int:
    """Training batches of the whole run, at least 1.

    Args:
        trainer: Inside `fit`.
        optimizers: Optimizer steps per batch, averaged over the run; under manual optimisation `trainer.max_steps` counts
            those of every optimizer.

    Raises:
        InputError: Neither `max_epochs` nor `max_steps` limits the run.
    """
    # Lightning sets the loaders up when this is read; their length is unknown before
    _ = trainer.estimated_stepping_batches
    limits = []
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        limits.append(int(trainer.num_training_batches) * trainer.max_epochs)
    if trainer.max_steps >= 0:
        limits.append(round(trainer.max_steps / optimizers))
    if not limits:
        raise InputError("trainer.max_epochs: schedules need an end; set trainer.max_epochs or trainer.max_steps.")
    return max(1, min(limits))
