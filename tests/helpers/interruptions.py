"""Accidents for training runs, to be named on the command line."""

from typing import Any

import lightning as L


class PowerCutError(Exception):
    """The machine goes off."""


class PowerCut(L.Callback):
    """Ends the process, as far as a test can, before batch `batch` of epoch `epoch`, both counted from 0."""

    def __init__(self, epoch: int = 1, batch: int = 0) -> None:
        self.epoch, self.batch = epoch, batch

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if (trainer.current_epoch, batch_idx) == (self.epoch, self.batch):
            raise PowerCutError
