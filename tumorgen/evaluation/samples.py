"""What a generator samples while it trains: a sheet of generated volumes with real ones of the same class above them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.seed import isolate_rng

from data_modules.base import ROIDataModule
from tumorgen.callbacks.pictures import log_picture
from tumorgen.methods.generator import Generator
from tumorgen.results.sheets import Array, gallery
from tumorgen.types import Volume

SAMPLED_AT_ONCE = 8
"""More volumes at a time would be a little faster and need more memory than training does."""


class SampleSheets(L.Callback):
    """Draws, for each class, a row of validation cases and a row of samples, after every few validations and the last.

    The seeds are the same in every sheet, so sheets show how the same volumes develop. Sampling has random numbers of its
    own: training goes on as if there had been no sheet. `GeneratorEvaluation` draws the same sheet of the volumes that it
    measures: list one of the two.

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

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
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
        with untouched(pl_module):
            rows = sheet_rows(trainer, draw(trainer, pl_module, self.per_class), self.per_class)
        log_picture(trainer, "samples", gallery(rows))


@contextmanager
def untouched(model: L.LightningModule) -> Iterator[None]:
    """Inside, the model only samples. Afterwards random generators and the modes of all modules are as they were before.

    Tensors that are made inside may be trained on, although validation runs in inference mode.
    """
    modes = [(module, module.training) for module in model.modules()]
    with isolate_rng(), torch.inference_mode(False), torch.no_grad():
        try:
            model.eval()
            yield
        finally:
            for module, training in modes:
                module.training = training


def seeds_of(class_names: Sequence[str], name: str, number: int) -> list[int]:
    """The seeds that the request of `predict` gives to the first volumes of a class."""
    return [index * len(class_names) + class_names.index(name) for index in range(number)]


def draw(trainer: L.Trainer, model: Generator, number: int) -> dict[str, Volume]:
    """The first `number` volumes of every class that `predict` would write, on the CPU: (number, C, D, H, W) float32.

    The weights are those that a checkpoint written now would sample with, the arithmetic is the trainer's.
    """
    drawn = {}
    with model.sampling_weights(trainer), trainer.precision_plugin.forward_context():
        for name in model.class_names:
            seeds = seeds_of(model.class_names, name, number)
            parts = [seeds[start : start + SAMPLED_AT_ONCE] for start in range(0, number, SAMPLED_AT_ONCE)]
            drawn[name] = torch.cat([model.sample_classes([name] * len(part), part).float().cpu() for part in parts])
    return drawn


def sheet_rows(trainer: L.Trainer, generated: Mapping[str, Volume], per_class: int) -> list[tuple[str, list[Array]]]:
    """Rows of a `gallery`: for every class the first validation volumes, if there are any, and generated ones.

    Args:
        trainer: Holds the data.
        generated: Volumes by class.
        per_class: Volumes per row.
    """
    data: ROIDataModule = trainer.datamodule
    rows: list[tuple[str, list[Array]]] = []
    for name, made in generated.items():
        own = np.flatnonzero(data.val.labels == data.class_names.index(name))[:per_class] if data.val else ()
        if len(own):
            assert data.val is not None
            rows.append((f"real {name}", [data.val[int(index)]["volume"][0].float().numpy() for index in own]))
        rows.append((f"generated {name}", list(made[:per_class, 0].numpy())))
    return rows
