"""``cost.json`` of a run: what its training, or its volumes, took of time and memory."""

import resource
import time
from typing import Any

import lightning as L
import torch
from torch import Tensor

from data_modules.files import write_json
from tumorgen.methods.method import Method
from tumorgen.runs.folder import Run


class CostFile(L.Callback):
    """Measures `fit` and `predict` on the first rank; `fit` writes at every checkpoint and at the end, `predict` at the end.

    Both write system, device, how many there were, the precision, parameters of the model and the peak of memory in bytes (of the
    GPU what torch had allocated, without one all of the process). `fit` writes updates, seconds per update (loading of data
    included, validation not) and all its seconds; `predict` volumes and seconds per volume.

    What training costs goes through its checkpoints: a resumed run adds to it. Pauses do not count, nor do updates that were
    lost by an interruption and done again.

    Args:
        run: Whose folder.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._done = 0  # updates or volumes
        self._busy = self._before = 0.0  # seconds for them; all seconds of earlier attempts
        self._peak = 0
        self._start = self._mark = 0.0

    def state_dict(self) -> dict[str, Any]:
        """The cost so far."""
        return {"updates": self._done, "busy": self._busy, "seconds": self._seconds(), "peak": self._peak}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from the cost of earlier attempts."""
        self._done, self._busy = state_dict["updates"], state_dict["busy"]
        self._before, self._peak = state_dict["seconds"], state_dict["peak"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The clock of the whole training."""
        self._start = time.monotonic()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """The clock of updates, or volumes, is put forward past what is none of them."""
        self._mark = time.monotonic()

    on_validation_end = on_predict_batch_start = on_train_epoch_start

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """One more update."""
        self._add(1, pl_module)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """What it cost to get there."""
        self._write(trainer, pl_module, "update", seconds=round(self._seconds(), 3))

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """What it cost in all."""
        self._write(trainer, pl_module, "update", seconds=round(self._seconds(), 3))

    def on_predict_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Tensor, *_: Any) -> None:
        """A batch of volumes more."""
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize(pl_module.device)
        self._add(len(outputs), pl_module)

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """What the volumes cost."""
        self._write(trainer, pl_module, "volume")

    def _seconds(self) -> float:
        return self._before + (time.monotonic() - self._start if self._start else 0.0)

    def _add(self, number: int, module: L.LightningModule) -> None:
        now = time.monotonic()
        self._busy += now - self._mark
        self._mark = now
        self._done += number
        if module.device.type == "cuda":
            self._peak = max(self._peak, torch.cuda.max_memory_allocated(module.device))
        else:
            self._peak = max(self._peak, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

    def _write(self, trainer: L.Trainer, module: L.LightningModule, what: str, **more: float) -> None:
        if not trainer.is_global_zero:
            return
        cuda = module.device.type == "cuda"
        parameters = list(module.parameters())
        cost = {
            "system": module.system.name if isinstance(module, Method) else type(module).__name__,
            "device": torch.cuda.get_device_name(module.device) if cuda else f"CPU, {torch.get_num_threads()} threads",
            "devices": trainer.world_size,
            "precision": str(trainer.precision),
            "parameters": sum(parameter.numel() for parameter in parameters),
            "parameters_trained": sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
            "peak_memory": self._peak,
            f"{what}s": self._done,
            f"seconds_per_{what}": round(self._busy / self._done, 6) if self._done else None,
        }
        write_json(self.run.folder / "cost.json", cost | more)
