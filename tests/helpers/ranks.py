"""What each process of a distributed run holds in the end, written where the test finds it."""

import hashlib
from pathlib import Path
from typing import Any

import lightning as L
from torch import Tensor, nn

from data_modules.files import write_json


def digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of the bytes of all tensors, in the order of their names."""
    content = hashlib.sha256()
    for name in sorted(tensors):
        content.update(tensors[name].detach().cpu().numpy().tobytes())
    return content.hexdigest()


class Fingerprints(L.Callback):
    """Writes rank0.json, rank1.json, ... into `folder`: digests of weights and optimizers, cases seen, validation figures."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cases: list[list[str]] = []

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.cases.append([])

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.cases[-1] += batch["case"]

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        def part(module: nn.Module) -> str:
            return digest(module.state_dict())

        moments = [
            {f"{i}.{key}": value for i, state in enumerate(optimizer.state.values()) for key, value in state.items()}
            for optimizer in trainer.optimizers
        ]
        write_json(
            self.folder / f"rank{trainer.global_rank}.json",
            {
                "strategy": type(trainer.strategy).__name__,
                "world_size": trainer.world_size,
                "parts": {name: part(module) for name, module in pl_module.named_children()},
                "optimizers": [digest(moment) for moment in moments],
                "cases": self.cases,
                "figures": {name: float(v) for name, v in trainer.callback_metrics.items() if name.startswith("val/")},
            },
        )
