"""How far training is and how long it will take, one line at a time: readable in a terminal, a log file and SLURM."""

import sys
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint

from tumorgen.methods.method import planned_batches


class TimeLeft(L.Callback):
    """Prints steps, time left of the whole run and the main metrics every few seconds, and at the end the checkpoints.

    Args:
        every: Seconds between two lines.
    """

    def __init__(self, every: float = 10.0) -> None:
        self.every = every
        self._begin = self._printed = 0.0
        self._done_before = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the clock."""
        self._begin = self._printed = time.monotonic()
        self._done_before = self._done(trainer)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Prints a line when it is time for one."""
        now, done = time.monotonic(), self._done(trainer)
        total = planned_batches(trainer, pl_module)
        if not trainer.is_global_zero or (now - self._printed < self.every and done != total):
            return
        self._printed = now
        elapsed = now - self._begin
        rate = (done - self._done_before) / max(elapsed, 1e-9)
        left = f", {_clock((total - done) / rate)} left" if rate else ""
        metrics = "  ".join(
            f"{name} {float(value):.3g}" for name, value in trainer.progress_bar_metrics.items() if name != "v_num"
        )
        print(
            f"step {done}/{total}  {_clock(elapsed)}{left}  {rate:.2f} steps/s  {metrics}", file=sys.stderr, flush=True
        )

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Says which checkpoints there are: they are what the next command asks for."""
        kept = [c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.best_model_path]
        if not trainer.is_global_zero:
            return
        for callback in kept:
            score = callback.best_model_score  # None where a run goes on from another folder
            why = "" if callback.monitor is None or score is None else f"  ({callback.monitor} {float(score):.4g})"
            print(f"{callback.best_model_path}{why}", file=sys.stderr, flush=True)

    @staticmethod
    def _done(trainer: L.Trainer) -> int:
        """Batches so far; `global_step` counts once per optimizer, so it does not serve."""
        return int(trainer.fit_loop.epoch_loop.total_batch_idx) + 1


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
