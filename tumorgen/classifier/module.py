"""The downstream grade classifier as a LightningModule: what synthetic tumours are judged by (poster, downstream task)."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional as F
from torch.optim import AdamW

from data_modules.base import Batch
from data_modules.errors import InputError
from tumorgen.classifier.metrics import GradeMetrics, selection_score
from tumorgen.classifier.networks import Logits, NetworkFactory, SmallCNN
from tumorgen.methods.method import Method
from tumorgen.nn.optimizers import CosineSchedule, OptimizerFactory, ScheduleFactory
from tumorgen.types import Volume


class GradeClassifier(Method):
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

    monitor: ClassVar[str | None] = "val/auc"
    selection: ClassVar[str | None] = "val/selection"
    monitor_mode: ClassVar[Literal["min", "max"]] = "max"

    held_out: GradeMetrics

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
        super().__init__(class_names, roi_size, spacing, in_channels)
        if len(self.class_names) < 2:
            raise InputError(
                f"--data: the only class is {', '.join(self.class_names)}; a classifier needs two or more."
            )
        if positive_class is not None and positive_class not in self.class_names:
            raise InputError(
                f"model.positive_class is {positive_class}; expected one of the data's classes: "
                f"{', '.join(self.class_names)}."
            )
        self.positive_class = positive_class or self.class_names[-1]
        self.network = network(len(self.class_names), in_channels)
        self.balanced_loss = balanced_loss
        self.optimizer, self.schedule = optimizer, schedule
        self.register_buffer("class_weights", torch.ones(len(self.class_names)))
        self.held_out = GradeMetrics(self.class_names.index(self.positive_class))

    def forward(self, volume: Volume) -> Logits:
        """Logits of volumes in [-1, 1]."""
        return self.network(volume)

    @torch.no_grad()
    def probabilities(self, volume: Volume) -> Float[Tensor, "batch num_classes"]:
        """Probabilities of the classes, float32; the module has to be in evaluation mode."""
        return self.network(volume).float().softmax(1)

    def setup(self, stage: str) -> None:
        """Counts how frequent the classes are."""
        super().setup(stage)
        if stage == "fit" and self.balanced_loss:
            labels = self.trainer.datamodule.train.labels
            counts = torch.bincount(torch.as_tensor(labels), minlength=len(self.class_names))
            self.class_weights.copy_(counts.sum() / (len(counts) * counts.clamp_min(1)))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Cross entropy of a batch of volumes."""
        logits, labels = self.network(batch["volume"]), batch["label"]
        loss = F.cross_entropy(logits, labels, self.class_weights)
        self.log("train/loss", loss.detach(), prog_bar=True)
        self.log("train/accuracy", (logits.detach().argmax(1) == labels).float().mean())
        return loss

    def held_out_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds a batch to the held-out metrics."""
        self.held_out.update(self.network(batch["volume"]), batch["label"], batch["case"])

    def log_held_out(self, part: str) -> Mapping[str, Tensor]:
        """Logs the metrics, and what the best epoch is chosen by."""
        found = super().log_held_out(part)
        if part == "val":
            self.log(str(self.selection), selection_score(found["auc"], found["loss"]))
        return found

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One optimizer, its learning rate changing step by step."""
        return self.scheduled(self.optimizer, self.network.parameters(), self.schedule)
