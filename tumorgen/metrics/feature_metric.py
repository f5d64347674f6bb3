"""What all metrics between a set of generated and a set of real cases share: both sets, gathered over ranks."""

from abc import abstractmethod
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

Features = Float[Tensor, "cases width"]


class FeatureMetric(Metric):
    """A figure of all generated and all real cases since the last reset, on all ranks together.

    Figures of pairs cannot be averaged over batches or ranks, so the cases themselves are kept, one row each. Rows are
    kept flat, so that a rank without a case can join. The order of the cases must not matter to the figure.
    """

    full_state_update = False
    generated: list[Tensor] | Tensor
    real: list[Tensor] | Tensor
    width: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("generated", [], dist_reduce_fx="cat")
        self.add_state("real", [], dist_reduce_fx="cat")
        self.add_state("width", torch.zeros((), dtype=torch.int64), dist_reduce_fx="max")

    @abstractmethod
    def figure(self, generated: Features, real: Features) -> float | dict[str, float]:
        """The figure, or figures by name."""

    def update(self, cases: Float[Tensor, "cases ..."], real: bool) -> None:
        """Adds features, or volumes, of generated or of real cases.

        Raises:
            ValueError: They are wider or narrower than those before.
        """
        rows = cases.detach().flatten(1).float()
        if self.width not in (0, rows.shape[1]):
            raise ValueError(f"cases of {rows.shape[1]} values, after cases of {int(self.width)}")
        self.width.fill_(rows.shape[1])
        kept = self.real if real else self.generated
        assert isinstance(kept, list), "only a metric that was synchronised over ranks holds a tensor"
        kept.append(rows.flatten())

    def compute(self) -> Tensor | dict[str, Tensor]:
        """The figure of all cases, or figures by name."""
        generated, real = (
            rearrange(dim_zero_cat(kept), "(cases width) -> cases width", width=int(self.width)).cpu()
            for kept in (self.generated, self.real)
        )
        figure = self.figure(generated, real)
        if isinstance(figure, dict):
            return {name: torch.tensor(value) for name, value in figure.items()}
        return torch.tensor(figure)
