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


class Setback(L.Callback):
    """Spoils the reconstructions of a VQGAN from epoch `epoch` on, counted from 0."""

    def __init__(self, epoch: int = 1) -> None:
        self.epoch = epoch

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch >= self.epoch:
            pl_module.decoder.last_layer.data.fill_(10.0)
