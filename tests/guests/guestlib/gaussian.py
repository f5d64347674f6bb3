"""A class-conditional generator of one file: the mean of each class, found by gradient descent, and noise on it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data_modules.base import Batch
from data_modules.condition import Condition
from tumorgen.methods.generator import Generator


class Gaussian(Generator):
    """Every voxel on its own.

    Args:
        class_names: Classes in the order of their labels.
        roi_size: Side of the volumes in voxels.
        spacing: Side of a voxel in mm.
        in_channels: Sequences.
        spread: Standard deviation of the noise.
    """

    monitor = "val/error"
    runtime_options = ("spread",)
    batch_invariant = True

    def __init__(
        self, class_names: Sequence[str], roi_size: int, spacing: float, in_channels: int = 1, spread: float = 0.1
    ) -> None:
        super().__init__(class_names, roi_size, spacing, in_channels)
        self.spread = spread
        self.mean = nn.Parameter(torch.zeros(len(class_names), in_channels, *(roi_size,) * 3))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Squared error of the class mean, on volumes with noise of their own in every epoch."""
        noise = self.draws(batch, "noise").normal(*batch["volume"].shape[1:])
        loss = F.mse_loss(self.mean[batch["label"]], batch["volume"] + self.spread * noise)
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """The same, of held-out cases."""
        self.log("val/error", F.mse_loss(self.mean[batch["label"]], batch["volume"]), batch_size=len(batch["case"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Few steps have to suffice."""
        return torch.optim.Adam(self.parameters(), lr=0.2)

    @torch.no_grad()
    def sample(self, condition: Condition, seeds: Sequence[int]) -> Tensor:
        """Volumes (B, C, D, H, W) in [-1, 1]."""
        draws = [torch.Generator().manual_seed(seed) for seed in seeds]
        noise = torch.stack([torch.randn(self.mean.shape[1:], generator=draw) for draw in draws])
        return (self.mean[condition.label.to(self.device)] + self.spread * noise.to(self.device)).clamp(-1, 1)

    def describe_sampler(self) -> dict[str, Any]:
        """For the manifest."""
        return {"class": "Gaussian", "spread": self.spread}
