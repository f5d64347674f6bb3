"""A job that is killed looks killed: SIGTERM, SIGUSR1 and SIGINT end the command with status 128 + signal.

Under SLURM, SIGUSR1 (`sbatch --signal=SIGUSR1@90`) means that the time is up: the job is requeued, and its next attempt goes on
from the last checkpoint. Lightning's own handlers are kept out: one finishes with status 0, the other writes a checkpoint in the
middle of an epoch, from which training would not go on as if nothing had happened. SIGUSR2 is left to submitit.
"""

import signal
import subprocess
import sys
import threading
from types import FrameType
from typing import Any, Self

import lightning as L

from tumorgen.runs.jobs import current_job, slurm_job

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Killed(SystemExit):
    """A signal ended the command."""

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.name = signal.Signals(signum).name


class EndOnSignal(L.Callback):
    """Within the context, the first signal raises `Killed` and a second one kills at once.

    As a callback it takes the signals back from the trainer, whose own handlers take them as it starts to run.
    """

    def __init__(self) -> None:
        self._trainer: L.Trainer | None = None
        self._heard: int | None = None
        self._earlier: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._earlier = {each: signal.getsignal(each) for each in SIGNALS}
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            for each, handler in self._earlier.items():
                signal.signal(each, handler)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """From now on there may be ranks that have to be told."""
        self._trainer = trainer

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The trainer has just set its handlers."""
        self._listen()

    on_validation_start = on_test_start = on_predict_start = on_train_start

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Ends a command whose exception was lost, as Python loses those that are raised within a destructor."""
        if self._heard is not None:
            raise Killed(self._heard)

    on_validation_batch_start = on_test_batch_start = on_predict_batch_start = on_train_batch_start

    def _listen(self) -> None:
        if self._heard is None and threading.current_thread() is threading.main_thread():
            for each in SIGNALS:
                signal.signal(each, self._end)

    def _end(self, signum: int, frame: FrameType | None) -> None:
        self._heard = signum
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        launcher = None if self._trainer is None else self._trainer.strategy.launcher
        if launcher is not None:
            launcher.kill(signum)  # the ranks that this process has started
        if signum == signal.SIGUSR1:
            _requeue()
        raise Killed(signum)


def _requeue() -> None:
    """Asks SLURM to start this job again; it then ends this attempt."""
    job, name = current_job(), slurm_job()
    if job is None or name is None or not job.first:
        return
    try:
        subprocess.run(["scontrol", "requeue", name], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"job {name} was not requeued: {error}", file=sys.stderr)
