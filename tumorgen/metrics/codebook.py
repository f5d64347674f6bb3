"""How much of a codebook is in use over an epoch: share of codes hit, and perplexity; pooled and per class."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric

from tumorgen.types import Codes, Labels, Tokens

Counts = Int[Tensor, "*classes codes"]


def count_codes(
    codes: Codes | Tokens, labels: Labels, num_codes: int, num_classes: int
) -> Int[Tensor, "classes codes"]:
    """How often each code occurs in the volumes of each class, without waiting for the device.

    Raises:
        IndexError: A code or a label lies outside of its range (on a GPU: a device-side assertion).
    """
    counts = torch.zeros(num_classes, num_codes, dtype=torch.int64, device=codes.device)
    flat = codes.flatten(1)
    return counts.index_put_((labels[:, None].expand_as(flat), flat), flat.new_ones(()), accumulate=True)


def code_usage(counts: Counts) -> Float[Tensor, "*classes"]:
    """Share of the codes with at least one hit, 0 to 1."""
    return (counts > 0).float().mean(-1)


def code_perplexity(counts: Counts) -> Float[Tensor, "*classes"]:
    """exp(entropy) of the codes' frequencies: 1 (one code only) to their number (all equal); NaN without a hit."""
    frequencies = counts.float() / counts.sum(-1, keepdim=True)
    return torch.exp(-torch.xlogy(frequencies, frequencies).sum(-1))


class CodebookUsage(Metric):
    """`usage` and `perplexity` of all volumes since the last reset, and `usage_NAME`, `perplexity_NAME` of each class.

    Counts are summed over ranks before the values are taken, so a code that only one rank hits is in use.

    Args:
        num_codes: size of the codebook.
        class_names: names in the order of the labels.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, num_codes: int, class_names: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_codes = num_codes
        self.class_names = tuple(class_names)
        zeros = torch.zeros(len(self.class_names), num_codes, dtype=torch.int64)
        self.add_state("counts", zeros, dist_reduce_fx="sum")

    def update(self, codes: Codes | Tokens, labels: Labels) -> None:
        """Adds the codes of a batch."""
        self.counts += count_codes(codes, labels, self.num_codes, len(self.class_names))

    def compute(self) -> dict[str, Tensor]:
        """Value by name."""
        pooled = self.counts.sum(0)
        values = {"usage": code_usage(pooled), "perplexity": code_perplexity(pooled)}
        for name, counts in zip(self.class_names, self.counts, strict=True):
            values[f"usage_{name}"] = code_usage(counts)
            values[f"perplexity_{name}"] = code_perplexity(counts)
        return values
