"""Whether importance scores point at the tumour: AUC of tokens that hold tumour against tokens that hold background."""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics import Metric

from tumorgen.metrics.reconstruction import tumour_mask
from tumorgen.types import ScoreMap, Volume


def tumour_tokens(x: Volume, grid: tuple[int, int, int]) -> Bool[Tensor, "batch 1 d h w"]:
    """Tokens whose cell of voxels holds at least one tumour voxel, {x > -0.9} in any channel.

    Raises:
        ValueError: The volume's sides are no multiples of the grid's.
    """
    sides = tuple(x.shape[2:])
    if any(side % cells for side, cells in zip(sides, grid, strict=True)):
        raise ValueError(f"a grid of {grid} tokens does not divide volumes of {sides} voxels")
    cell = tuple(side // cells for side, cells in zip(sides, grid, strict=True))
    return F.max_pool3d(tumour_mask(x).any(1, keepdim=True).float(), cell) > 0


def importance_auc(scores: ScoreMap, x: Volume) -> Float[Tensor, " batch"]:
    """Area under the ROC curve per volume: how often a tumour token scores higher than a background token.

    Ties count half. A volume without tumour tokens, or without background tokens, gives NaN.
    """
    inside = tumour_tokens(x, (scores.shape[2], scores.shape[3], scores.shape[4])).flatten(1)
    rows = scores.float().flatten(1)
    return torch.stack([_auc(row[mask], row[~mask]) for row, mask in zip(rows, inside, strict=True)])


def _auc(positive: Float[Tensor, " p"], negative: Float[Tensor, " n"]) -> Tensor:
    ordered = negative.sort().values.contiguous()
    below = torch.searchsorted(ordered, positive.contiguous()).float()
    not_above = torch.searchsorted(ordered, positive.contiguous(), right=True).float()
    return ((below + not_above) / 2).mean() / len(negative) if len(negative) else below.new_tensor(torch.nan)


class ImportanceAUC(Metric):
    """Mean over volumes of the AUC of tumour tokens against background tokens; 0.5 is chance, NaN without a volume.

    Taken volume by volume, since scores are normalised within a volume. Volumes without tumour tokens, or without
    background tokens, do not enter.
    """

    full_state_update = False
    total: Tensor
    volumes: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("volumes", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, scores: ScoreMap, x: Volume) -> None:
        """Adds score maps and the volumes, in [-1, 1], that they belong to."""
        values = importance_auc(scores, x)
        self.total += values.nansum()
        self.volumes += (~values.isnan()).sum()

    def compute(self) -> Tensor:
        """The mean AUC."""
        return (self.total / self.volumes).float()
