"""The downstream grade classifier as a LightningModule: what synthetic tumours are judged by (poster, downstream task)."""

from collections.abc import Sequence
from typing import Any, ClassVar

import lightning as L
import torch
from jaxtyping import Float
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional as F
from torch.optim import AdamW

from data_modules.base import Batch, origin_of
from data_modules.errors import InputError
from data_modules.origin import Origin
from tumorgen import __version__
from tumorgen.classifier.figures import GradeFigures, selection_score
from tumorgen.classifier.networks import Logits, NetworkFactory, SmallCNN
from tumorgen.methods.method import planned_batches
from tumorgen.nn.optimizers import CosineSchedule, OptimizerFactory, ScheduleFactory
from tumorgen.types import Volume


class GradeClassifier(L.LightningModule):
    """Tells the classes of tumour regions apart; logs AUC, F1, accuracy, precision and recall of the positive class.

    The best checkpoint is that of the highest validation AUC, see `selection_score`.

    Args:
        class_names: Classes in the order of their labels (from the data module).
        roi_size: Side of the cubic ROI in voxels (from the data module).
        spacing: Side of a voxel in mm (from the data module).
        in_channels: MRI sequences per volume (from the data module).
        network: Builds the network from the number of classes and of channels.
        positive_class: Class that counts as positive, against all others; null is the last one (HGG).
        balanced_loss: Weigh classes in the loss by the inverse of their frequency among the training volumes.
        optimizer: Builds the optimizer.
        schedule: Builds a schedule from the optimizer and the number of its steps in the whole run.

    Raises:
        InputError: `positive_class` is none of the classes, or there are fewer than two.
    """

    monitor: ClassVar[str] = "val/auc"
    selection: ClassVar[str] = "val/selection"
    monitor_mode: ClassVar[str] = "max"
    runtime_options: ClassVar[tuple[str, ...]] = ()

    class_weights: Tensor

    def __init__(
        self,
        class_names: Sequence[str] = ("LGG", "HGG"),
        roi_size: int = 128,
        spacing: float = 1.0,
        in_channels: int = 1,
        network: NetworkFactory = SmallCNN,
        positive_class: str | None = None,
        balanced_loss: bool = False,
        optimizer: OptimizerFactory = AdamW,
        schedule: ScheduleFactory = CosineSchedule,
    ) -> None:
        super().__init__()
        self.class_names = tuple(class_names)
        if len(self.class_names) < 2:
            raise InputError(
                f"--data: the only class is {', '.join(self.class_names)}; a classifier needs two or more."
            )
        if positive_class is not None and positive_class not in self.class_names:
            raise InputError(
                f"model.positive_class is {positive_class}; expected one of the data's classes: "
                f"{', '.join(self.class_names)}."
            )
        self.save_hyperparameters()
        self.roi_size, self.spacing, self.in_channels = roi_size, spacing, in_channels
        self.positive_class = positive_class or self.class_names[-1]
        self.network = network(len(self.class_names), in_channels)
        self.balanced_loss = balanced_loss
        self.optimizer, self.schedule = optimizer, schedule
        self.register_buffer("class_weights", torch.ones(len(self.class_names)))
        self.origin = Origin()
        self.held_out = GradeFigures(self.class_names.index(self.positive_class))

    def forward(self, volume: Volume) -> Logits:
        """Logits of volumes in [-1, 1]."""
        return self.network(volume)

    @torch.no_grad()
    def probabilities(self, volume: Volume) -> Float[Tensor, "batch num_classes"]:
        """Probabilities of the classes, float32; the module has to be in evaluation mode."""
        return self.network(volume).float().softmax(1)

    def setup(self, stage: str) -> None:
        """Notes the training patients, its own and those behind generated volumes, and how frequent the classes are."""
        if stage != "fit":
            return
        data = self.trainer.datamodule
        self.origin = origin_of(data).joined(self.origin)
        if self.balanced_loss:
            counts = torch.bincount(torch.as_tensor(data.train.labels), minlength=len(self.class_names))
            self.class_weights.copy_(counts.sum() / (len(counts) * counts.clamp_min(1)))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Cross entropy of a batch of volumes."""
        logits, labels = self.network(batch["volume"]), batch["label"]
        loss = F.cross_entropy(logits, labels, self.class_weights)
        self.log("train/loss", loss.detach(), prog_bar=True)
        self.log("train/accuracy", (logits.detach().argmax(1) == labels).float().mean())
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds a batch to the held-out figures."""
        self._held_out_step(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds a batch to the held-out figures."""
        self._held_out_step(batch)

    def on_validation_epoch_end(self) -> None:
        """Logs the figures of the validation cases."""
        self._log_held_out("val")

    def on_test_epoch_end(self) -> None:
        """Logs the figures of the test fold."""
        self._log_held_out("test")

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One optimizer, its learning rate changing step by step."""
        optimizer = self.optimizer(self.network.parameters())
        planned_batches(self.trainer, optimizers=1)  # refuses a run without an end
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self.schedule(optimizer, steps), "interval": "step", "name": "learning_rate"},
        }

    def _held_out_step(self, batch: Batch) -> None:
        self.held_out.update(self.network(batch["volume"]), batch["label"], batch["case"])

    def _log_held_out(self, part: str) -> None:
        figures = self.held_out.compute()
        self.held_out.reset()
        self.log_dict({f"{part}/{name}": value for name, value in figures.items()})
        if part == "val":
            self.log(self.selection, selection_score(figures["auc"], figures["loss"]))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what cannot be read off the weights: version and origin."""
        checkpoint["tumorgen"] = {"version": __version__, "origin": self.origin.to_json()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the origin over; a run that goes on may have added patients."""
        self.origin = self.origin.joined(Origin.of_checkpoint(checkpoint))
