"""The metrics of a tokenizer on held-out cases, gathered over an epoch and all ranks."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torchmetrics import MeanMetric

from tumorgen.metrics.codebook import CodebookUsage
from tumorgen.metrics.importance import ImportanceAUC
from tumorgen.metrics.reconstruction import ReconstructionMetrics
from tumorgen.types import Codes, Labels, ScoreMap, Volume


class TokenizerMetrics(nn.Module):
    """Reconstruction whole and inside the tumour, shape, codebook pooled and per class, importance.

    Args:
        num_codes: Size of the codebook.
        class_names: Classes in the order of their labels.
        importance: Whether importance scores are added, too.
    """

    def __init__(self, num_codes: int, class_names: Sequence[str], importance: bool = True) -> None:
        super().__init__()
        self.reconstruction = ReconstructionMetrics()
        self.codebook = CodebookUsage(num_codes, class_names)
        self.importance_auc = ImportanceAUC()
        self.importance_accuracy = MeanMetric()
        self.importance = importance

    def update(self, x: Volume, x_hat: Volume, codes: Codes, labels: Labels) -> None:
        """Adds a batch: volumes and reconstructions in [-1, 1], their codes and classes."""
        self.reconstruction.update(x, x_hat)
        self.codebook.update(codes, labels)

    def update_importance(
        self, x: Volume, scores: ScoreMap, logits: Float[Tensor, "batch num_classes"], labels: Labels
    ) -> None:
        """Adds a batch: volumes, their importance scores, the class logits and the classes."""
        self.importance_auc.update(scores, x)
        self.importance_accuracy.update((logits.argmax(1) == labels).float())

    def compute(self) -> dict[str, Tensor]:
        """Metric by name; NaN where no volume of a kind was seen."""
        found = {
            **self.reconstruction.compute(),
            **{f"codebook_{name}": value for name, value in self.codebook.compute().items()},
        }
        if self.importance:
            found["importance_auc"] = self.importance_auc.compute()
            found["importance_accuracy"] = self.importance_accuracy.compute()
        return found

    def reset(self) -> None:
        """Forgets all batches."""
        for metric in (self.reconstruction, self.codebook, self.importance_auc, self.importance_accuracy):
            metric.reset()
