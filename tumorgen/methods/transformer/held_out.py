"""How well tokens are predicted on held-out cases: corrupted and intact positions apart, pooled and per class."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from tumorgen.types import Labels, Tokens

FIGURES = ("cross_entropy", "accuracy")
KINDS = ("corrupted", "intact")


class TokenMetrics(Metric):
    """`cross_entropy_KIND` (nats per token) and `accuracy_KIND`: means over positions; KIND is `corrupted` or `intact`.

    Pooled, and per class as `cross_entropy_corrupted_NAME`. Sums are gathered over ranks before the means are taken.

    Args:
        class_names: Classes in the order of their labels.
    """

    full_state_update = False
    sums: Tensor
    counts: Tensor

    def __init__(self, class_names: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.class_names = tuple(class_names)
        shape = (len(KINDS), len(self.class_names))
        self.add_state("sums", torch.zeros(len(FIGURES), *shape), dist_reduce_fx="sum")
        self.add_state("counts", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")

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
        for kind, where in enumerate((corrupted, ~corrupted)):
            # weights instead of a selection: no wait for the device
            self.counts[kind].index_add_(0, labels, where.sum(1))
            for figure, values in enumerate((entropy, hits)):
                self.sums[figure, kind].index_add_(0, labels, (values * where).sum(1))

    def compute(self) -> dict[str, Tensor]:
        """Figure by name; groups without a position are left out."""
        found: dict[str, Tensor] = {}
        for figure, kinds in zip(FIGURES, self.sums, strict=True):
            for kind, sums, counts in zip(KINDS, kinds, self.counts, strict=True):
                groups = [("", sums.sum(), counts.sum())]
                groups += [(f"_{name}", *own) for name, *own in zip(self.class_names, sums, counts, strict=True)]
                found |= {f"{figure}_{kind}{name}": total / number for name, total, number in groups if number > 0}
        return found
