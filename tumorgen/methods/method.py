"""What every trained system has: facts of its data, origin, a counter of updates, held-out metrics, checkpoint hooks.

The only copy of each; a method's `module.py` adds its networks and its training step.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Literal, Protocol

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from data_modules.base import Batch, ROIDataModule, origin_of
from data_modules.draws import keyed_seed, run_seed
from data_modules.errors import InputError
from data_modules.origin import Origin
from tumorgen import __version__
from tumorgen.methods.system import System
from tumorgen.nn.draws import Draws
from tumorgen.nn.optimizers import OptimizerFactory, ScheduleFactory


class HeldOutMetrics(Protocol):
    """Metrics of validation and test cases, gathered over an epoch and all ranks; an `nn.Module` with metrics in it."""

    def compute(self) -> Mapping[str, Tensor]:
        """Metrics by name."""

    def reset(self) -> None:
        """Forgets all batches."""


class Method(L.LightningModule):
    """A trained system.

    Subclasses set `held_out` and write `held_out_step`, or leave both out where they have no metrics of held-out cases.

    Args:
        class_names: Classes in the order of their labels.
        roi_size: Side of the cubic volumes in voxels.
        spacing: Side of a voxel in mm.
        in_channels: MRI sequences per volume.

    Attributes:
        monitor: Logged metric that `best.ckpt` is chosen by; None: there is only `last.ckpt`.
        monitor_mode: Whether a good value of it is low or high.
        selection: Logged metric that stands in for `monitor` when checkpoints are chosen, such as one with ties broken.
        ddp_strategy: Lightning's strategy for several devices.
        runtime_options: Constructor arguments that other commands than `fit` may replace: how to use, not what was trained.
        self_contained: Constructor arguments that name a checkpoint whose content this method's own checkpoint carries.
        updates: Training batches so far, also those of the runs that this one continues.
        origin: The patients behind everything that was trained for this method.
        system: What it is called where systems are compared; from `system` of its experiment.
        seed: Of all that is drawn in training; from `seed_everything`.
    """

    monitor: ClassVar[str | None] = None
    monitor_mode: ClassVar[Literal["min", "max"]] = "min"
    selection: ClassVar[str | None] = None
    ddp_strategy: ClassVar[str] = "ddp"
    runtime_options: ClassVar[tuple[str, ...]] = ()
    self_contained: ClassVar[tuple[str, ...]] = ()

    held_out: HeldOutMetrics | None

    def __init__(self, class_names: Sequence[str], roi_size: int, spacing: float, in_channels: int) -> None:
        super().__init__()
        self.save_hyperparameters()  # the arguments of the class that is built, found by Lightning
        self.class_names = tuple(class_names)
        self.roi_size, self.spacing, self.in_channels = roi_size, spacing, in_channels
        self.held_out = None
        self.updates = 0
        self.seed = 0
        self.origin = Origin()
        self.system = System(type(self).__name__)
        self._random_state = torch.get_rng_state()

    # ------------------------------------------------------------------ training

    def setup(self, stage: str) -> None:
        """Notes the seed and whom the run trains on.

        Raises:
            InputError: Patients that are held out now were in the training of what it is built on.
        """
        if stage != "fit":
            return
        self.seed = run_seed()
        data, before = self.trainer.datamodule, self.origin.joined(*self.parents())
        if isinstance(data, ROIDataModule):
            data.check(f"what this {type(self).__name__} is built on", before)
        self.origin = origin_of(data).joined(before)

    def parents(self) -> Sequence[Origin]:
        """Origins of trained parts that this method is built on, such as a tokenizer: here none."""
        return ()

    def on_train_epoch_start(self) -> None:
        """Tells the data module which epoch its augmentation is drawn for."""
        if isinstance(self.trainer.datamodule, ROIDataModule):
            self.trainer.datamodule.set_epoch(self.current_epoch)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Whatever a step draws without `draws` (dropout) depends on seed, epoch and the cases of the batch alone."""
        self._random_state = torch.get_rng_state()
        torch.manual_seed(keyed_seed(self.seed, self.current_epoch, "\n".join(batch["case"]), "step"))

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Counts the update; what is drawn outside of steps, such as the order of cases, goes on as if there were none."""
        torch.set_rng_state(self._random_state)
        self.updates += 1

    def draws(self, batch: Batch, purpose: str) -> Draws:
        """Random numbers for a training batch, keyed by (seed, epoch, case): the same whatever rank or batch a case is in."""
        return Draws.keyed(self.seed, self.current_epoch, batch["case"], purpose, self.device)

    @property
    def steps_per_batch(self) -> float:
        """Optimizer steps of a batch, averaged over the run: what `trainer.max_steps` counts."""
        return 1 / int(self.trainer.accumulate_grad_batches)

    def planned_batches(self) -> int:
        """Training batches of the whole run, see the function of this name."""
        return planned_batches(self.trainer, self)

    def scheduled(
        self, optimizer: OptimizerFactory, parameters: Iterable[Any], schedule: ScheduleFactory
    ) -> OptimizerLRScheduler:
        """One optimizer, its learning rate changing step by step over the whole run; for `configure_optimizers`."""
        built = optimizer(parameters)
        self.planned_batches()  # refuses a run without an end
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        return {
            "optimizer": built,
            "lr_scheduler": {"scheduler": schedule(built, steps), "interval": "step", "name": "learning_rate"},
        }

    # ------------------------------------------------------------------ held-out cases

    def held_out_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds a batch to the held-out metrics: here nothing."""

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds a batch to the held-out metrics."""
        self.held_out_step(batch, batch_idx)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds a batch to the held-out metrics."""
        self.held_out_step(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        """Logs the metrics of the validation cases."""
        self.log_held_out("val")

    def on_test_epoch_end(self) -> None:
        """Logs the metrics of the test fold."""
        self.log_held_out("test")

    def log_held_out(self, part: str) -> Mapping[str, Tensor]:
        """Logs the held-out metrics as `<part>/<name>`, forgets the batches, and returns them."""
        if self.held_out is None:
            return {}
        found = self.held_out.compute()
        self.held_out.reset()
        self.log_dict({f"{part}/{name}": value for name, value in found.items()})
        return found

    # ------------------------------------------------------------------ checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what cannot be read off the weights: version, updates, origin and system."""
        checkpoint["tumorgen"] = {
            "version": __version__,
            "updates": self.updates,
            "origin": self.origin.to_json(),
            "system": asdict(self.system),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes updates, origin and system over; a run that goes on may have added patients."""
        stored = checkpoint.get("tumorgen", {})
        self.updates = int(stored.get("updates", 0))
        self.system = System(**stored["system"]) if "system" in stored else self.system
        self.origin = self.origin.joined(Origin.of_checkpoint(checkpoint))


def planned_batches(trainer: L.Trainer, model: L.LightningModule) -> int:
    """Training batches of the whole run, at least 1: what schedules, late starts and the time left are measured by.

    Args:
        trainer: Inside `fit`.
        model: The module that trains; of one that is no `Method`, an optimizer step per (accumulated) batch is assumed.

    Raises:
        InputError: Neither `max_epochs` nor `max_steps` limits the run.
    """
    # Lightning sets the loaders up when this is read; their length is unknown before
    _ = trainer.estimated_stepping_batches
    limits = []
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        limits.append(int(trainer.num_training_batches) * trainer.max_epochs)
    if trainer.max_steps >= 0:
        # under manual optimisation `max_steps` counts the steps of every optimizer
        steps_per_batch = (
            model.steps_per_batch if isinstance(model, Method) else 1 / int(trainer.accumulate_grad_batches)
        )
        limits.append(round(trainer.max_steps / steps_per_batch))
    if not limits:
        raise InputError("trainer.max_epochs: schedules need an end; set trainer.max_epochs or trainer.max_steps.")
    return max(1, min(limits))
