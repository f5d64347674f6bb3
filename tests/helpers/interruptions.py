"""Accidents for training runs, to be named on the command line."""

import io
import os
import signal
from pathlib import Path
from typing import Any

import lightning as L
import torch


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


class SignalToSelf(L.Callback):
    """Sends this process, and no other, a signal before the second batch of the first rank."""

    def __init__(self, signum: int) -> None:
        self.signum = signum

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 1 and trainer.is_global_zero:
            os.kill(os.getpid(), self.signum)


def killed_while_saving(checkpoint: Any, path: Any) -> None:
    """In place of `torch.save`: the process is killed when half of the file is written."""
    content = io.BytesIO()
    torch.serialization.save(checkpoint, content)
    Path(path).write_bytes(content.getvalue()[: content.tell() // 2])
    os.kill(os.getpid(), signal.SIGKILL)


class KillWhileSaving(L.Callback):
    """Kills the process in the middle of a checkpoint of epoch `epoch`, counted from 0."""

    def __init__(self, epoch: int = 1) -> None:
        self.epoch = epoch

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch == self.epoch:
            torch.save = killed_while_saving


class OnePowerCut(PowerCut):
    """Ends the first attempt only, for attempts with the same command line; `memory` is a file that remembers it."""

    def __init__(self, memory: str, epoch: int = 1, batch: int = 0) -> None:
        super().__init__(epoch, batch)
        self.memory = Path(memory)

    def on_train_batch_start(self, *args: Any) -> None:
        if self.memory.exists():
            return
        try:
            super().on_train_batch_start(*args)
        except PowerCutError:
            self.memory.touch()
            raise


class Setback(L.Callback):
    """Spoils the reconstructions of a VQGAN from epoch `epoch` on, counted from 0."""

    def __init__(self, epoch: int = 1) -> None:
        self.epoch = epoch

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch >= self.epoch:
            pl_module.model.decoder.last_layer.data.fill_(10.0)
