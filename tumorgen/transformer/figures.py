"""How well tokens are predicted on held-out cases: corrupted and intact positions apart, pooled and per class."""

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric

from tumorgen.types import Labels, Tokens

KINDS = ("corrupted", "intact")


class TokenFigures(nn.Module):
    """Cross entropy (nats per token) and accuracy, means over positions, gathered over an epoch and all ranks.

    Args:
        class_names: Classes in the order of their labels.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        super().__init__()
        self.class_names = tuple(class_names)
        groups = ("", *(f"_{name}" for name in self.class_names))
        self.means = nn.ModuleDict(
            {
                f"{figure}_{kind}{group}": MeanMetric(nan_strategy="ignore")
                for figure in ("cross_entropy", "accuracy")
                for kind in KINDS
                for group in groups
            }
        )

    def update(
        self,
        logits: Float[Tensor, "batch length vocabulary"],
        tokens: Tokens,
        corrupted: Bool[Tensor, "batch length"],
        labels: Labels,
    ) -> None:
        """Adds a batch: logits of all N tokens, the original tokens, which of them were corrupted, and the classes."""
        entropy = F.cross_entropy(logits.float().transpose(1, 2), tokens, reduction="none")
        hits = (logits.argmax(-1) == tokens).float()
        for figure, values in (("cross_entropy", entropy), ("accuracy", hits)):
            for kind, where in (("corrupted", corrupted), ("intact", ~corrupted)):
                self._add(f"{figure}_{kind}", values, where)
                for label, name in enumerate(self.class_names):
                    self._add(f"{figure}_{kind}_{name}", values, where & (labels == label)[:, None])

    def _add(self, name: str, values: Tensor, where: Tensor) -> None:
        # weights instead of a selection: no wait for the device, and an empty group adds nothing
        cast(MeanMetric, self.means[name]).update(values, weight=where.float())

    def compute(self) -> dict[str, Tensor]:
        """Figure by name; groups without a position are left out."""
        means = {name: cast(MeanMetric, mean) for name, mean in self.means.items()}
        return {name: mean.compute() for name, mean in means.items() if bool(torch.as_tensor(mean.weight) > 0)}

    def reset(self) -> None:
        """Forgets all batches."""
        for mean in self.means.values():
            cast(MeanMetric, mean).reset()
