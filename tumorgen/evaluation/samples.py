"""What a generator samples while it trains: a sheet of generated volumes with real ones of the same class above them."""

from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.seed import isolate_rng

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
        generated = [draw(trainer, model, label, self.per_class) for label in range(len(model.class_names))]
        return sheet_rows(trainer, model, generated, self.per_class)


def seeds_of(label: int, classes: int, number: int) -> list[int]:
    """The seeds that the request of `predict` gives to the first volumes of a class."""
    return [index * classes + label for index in range(number)]


def draw(trainer: L.Trainer, model: Generator, label: int, number: int) -> Volume:
    """The first `number` volumes of a class that `predict` would write: (number, C, D, H, W) float32, on the CPU.

    Weights are as they are now, the arithmetic is the trainer's.
    """
    drawn = []
    # tensors made in inference mode could not train the classifier of an evaluation
    with torch.inference_mode(False), torch.no_grad(), trainer.precision_plugin.forward_context():
        seeds = seeds_of(label, len(model.class_names), number)
        for start in range(0, number, SAMPLED_AT_ONCE):
            some = seeds[start : start + SAMPLED_AT_ONCE]
            drawn.append(model.sample_classes([model.class_names[label]] * len(some), some).float().cpu())
    return torch.cat(drawn)


def sheet_rows(
    trainer: L.Trainer, model: Generator, generated: Sequence[Volume], per_class: int
) -> list[tuple[str, list[Array]]]:
    """Rows of a `gallery`: for every class the first validation cases, if there are any, and generated volumes.

    Args:
        trainer: Holds the data.
        model: Names the classes.
        generated: Volumes of every class, by label.
        per_class: Volumes per row.
    """
    rows: list[tuple[str, list[Array]]] = []
    for name, real, made in zip(model.class_names, _first_cases(trainer, model, per_class), generated, strict=True):
        if real:
            rows.append((f"real {name}", real))
        rows.append((f"generated {name}", list(made[:per_class, 0].numpy())))
    return rows


def _first_cases(trainer: L.Trainer, model: Generator, per_class: int) -> list[list[Array]]:
    """The first validation cases of each class."""
    found: list[list[Array]] = [[] for _ in model.class_names]
    dataset = trainer.datamodule.val or []
    for index in range(len(dataset)):
        if min(map(len, found)) == per_class:
            break
        item = dataset[index]
        if len(found[item["label"]]) < per_class:
            found[item["label"]].append(item["volume"][0].float().numpy())
    return found
