"""The figures of a classifier on held-out cases, gathered over an epoch and all ranks."""

import hashlib
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric
from torchmetrics.functional.classification import (
    binary_accuracy,
    binary_auroc,
    binary_f1_score,
    binary_precision,
    binary_recall,
)
from torchmetrics.utilities import dim_zero_cat

from tumorgen.classifier.networks import Logits
from tumorgen.types import Labels, Scalar

LOSS_WEIGHT = 1e-5


def metrics_of(scores: Float[Tensor, " n"], positive: Int[Tensor, " n"]) -> dict[str, Tensor]:
    """AUC, F1, accuracy, precision and recall of the positive class against all others.

    Args:
        scores: Probability of the positive class; above 0.5 a case is taken for positive.
        positive: 1 for cases of the positive class, 0 for others.

    Returns:
        Scalars by name. The AUC of cases that are all positive or all not is NaN; as in scikit-learn, precision is 0 where
        nothing is taken for positive, and recall and F1 are 0 where nothing is.
    """
    both = bool(positive.any()) and not bool(positive.all())
    return {
        "auc": binary_auroc(scores, positive) if both else torch.full((), float("nan"), device=scores.device),
        "f1": binary_f1_score(scores, positive),
        "accuracy": binary_accuracy(scores, positive),
        "precision": binary_precision(scores, positive),
        "recall": binary_recall(scores, positive),
    }


def selection_score(auc: Scalar, loss: Scalar) -> Scalar:
    """What the best checkpoint is chosen by: the AUC, and of equal ones the lower loss.

    In small validation sets many epochs reach the same AUC, the first of them with networks that have hardly begun to learn.
    Where the AUC is not defined, the loss alone counts.

    Args:
        auc: NaN where it is not defined.
        loss: Cross entropy; above 5 all are equal. The weight is too small to outdo one pair of cases in 140 + 140.
    """
    return auc.nan_to_num(0.5) - LOSS_WEIGHT * loss.clamp(max=5)


class GradeMetrics(Metric):
    """`metrics_of` and the loss over all cases of an epoch.

    Several ranks see some cases twice, because samplers fill up the last batch: a case counts once.

    Args:
        positive_label: Index of the positive class.
    """

    full_state_update = False

    scores: list[Tensor]
    positive: list[Tensor]
    losses: list[Tensor]
    keys: list[Tensor]

    def __init__(self, positive_label: int) -> None:
        super().__init__()
        self.positive_label = positive_label
        for name in ("scores", "positive", "losses", "keys"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, logits: Logits, labels: Labels, cases: Sequence[str]) -> None:
        """Adds a batch: logits of all classes, class indices, names of the cases."""
        logits = logits.float()
        self.scores.append(logits.softmax(1)[:, self.positive_label])
        self.positive.append((labels == self.positive_label).long())
        self.losses.append(F.cross_entropy(logits, labels, reduction="none"))
        self.keys.append(torch.tensor([_key(case) for case in cases], dtype=torch.int64, device=labels.device))

    def compute(self) -> dict[str, Tensor]:
        """Figure by name: those of `metrics_of`, and `loss`, the mean cross entropy."""
        scores, positive, losses, keys = map(dim_zero_cat, (self.scores, self.positive, self.losses, self.keys))
        cases, group = torch.unique(keys, return_inverse=True)
        positions = torch.arange(len(keys), device=keys.device)
        first = torch.zeros_like(cases).scatter_reduce(0, group, positions, "amin", include_self=False)
        return {**metrics_of(scores[first], positive[first]), "loss": losses[first].mean()}


def _key(case: str) -> int:
    """63 bits of a case's name: ranks exchange numbers, not texts."""
    return int.from_bytes(hashlib.sha256(case.encode()).digest()[:8], "big") >> 1
