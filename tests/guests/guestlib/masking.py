"""A masking of one file: whole slices become [MASK]."""

import torch
from einops import repeat
from torch import Tensor

from tumorgen.methods.transformer.masking import MaskingStrategy
from tumorgen.nn.draws import Draws


class SliceMasking(MaskingStrategy):
    """Masks slices of the token grid, and replaces nothing.

    Args:
        slices: How many of each volume.
    """

    def __init__(self, slices: int = 2) -> None:
        super().__init__(corrupted_only=True)
        self.slices = slices

    def choose(self, scores: Tensor, grid: tuple[int, int, int], draws: Draws) -> tuple[Tensor, Tensor]:
        """Positions (B, N)."""
        depth, rows, columns = grid
        chosen = draws.uniform(depth).argsort(1).argsort(1) < self.slices
        masked = repeat(chosen, "b d -> b (d r c)", r=rows, c=columns)
        return masked, torch.zeros_like(masked)
