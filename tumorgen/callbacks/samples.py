"""What a generator samples while it trains: a sheet of generated volumes with real ones of the same class above them."""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.seed import isolate_rng

from tumorgen.callbacks.pictures import log_picture
from tumorgen.generator import Generator
from tumorgen.reports.sheets import Array, gallery


class SampleSheets(L.Callback):
    """Draws, for each class, a row of validation cases and a row of samples, after every few validations and the last.

    The seeds are the same in every sheet, so sheets show how the same volumes develop. Sampling has random numbers of its
    own: training goes on as if there had been no sheet.

    Args:
        per_class: Volumes per class.
        every_n_validations: Validations between two sheets. Sampling token by token is slow: think of one sheet as 512
            forward passes at the published size.
    """

    def __init__(self, per_class: int = 4, every_n_validations: int = 1) -> None:
        self.per_class, self.every_n_validations = per_class, every_n_validations
        self._validations = 0

    def state_dict(self) -> dict[str, Any]:
        """Validations so far: a resumed run draws its sheets when the uninterrupted one would have drawn them."""
        return {"validations": self._validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Counts on."""
        self._validations = state_dict["validations"]

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draws a sheet when it is time for one."""
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        self._validations += 1
        ahead = trainer.current_epoch + (trainer.check_val_every_n_epoch or 1)
        last = trainer.max_epochs is not None and 0 <= trainer.max_epochs <= ahead
        if not trainer.is_global_zero or not (self._validations % self.every_n_validations == 0 or last):
            return
        if not isinstance(pl_module, Generator):
            raise TypeError(f"SampleSheets shows a generator, not a {type(pl_module).__name__}")
        with isolate_rng():
            rows = self._rows(trainer, pl_module)
        log_picture(trainer, "samples", gallery(rows))

    def _rows(self, trainer: L.Trainer, model: Generator) -> list[tuple[str, list[Array]]]:
        real = self._real(trainer, model)
        classes = len(model.class_names)
        rows = []
        for label, name in enumerate(model.class_names):
            # the seeds that the request of `predict` gives to the first volumes
            seeds = [index * classes + label for index in range(self.per_class)]
            with torch.no_grad(), trainer.precision_plugin.forward_context():
                volumes = model.sample(torch.full((self.per_class,), label, device=model.device), seeds)
            if real[label]:
                rows.append((f"real {name}", real[label]))
            rows.append((f"generated {name}", list(volumes[:, 0].float().cpu().numpy())))
        return rows

    def _real(self, trainer: L.Trainer, model: Generator) -> list[list[Array]]:
        """The first validation cases of each class."""
        found: list[list[Array]] = [[] for _ in model.class_names]
        dataset = getattr(trainer.datamodule, "val_dataset", None) or []
        for index in range(len(dataset)):
            if min(map(len, found)) == self.per_class:
                break
            item = dataset[index]
            if len(found[item["label"]]) < self.per_class:
                found[item["label"]].append(item["volume"][0].float().numpy())
        return found
