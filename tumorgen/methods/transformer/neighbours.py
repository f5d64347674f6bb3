"""Which tokens are neighbours in the token grid, as tables of indices into the raster order (depth, row, column)."""

from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from tumorgen.nn.draws import Draws


class Neighbours(NamedTuple):
    """Neighbours of every token.

    Attributes:
        all: Indices of all neighbours, (N, degree); N stands for "none".
        in_slice: The ones that a seed may take along within its slice, existing ones first, (N, choices).
        in_slice_count: How many of these exist, (N,).
        across: The one in the next slice (in the previous one, for the last slice), (N,); N for "none".
    """

    all: Int[Tensor, "length degree"]
    in_slice: Int[Tensor, "length choices"]
    in_slice_count: Int[Tensor, " length"]
    across: Int[Tensor, " length"]

    def draw(self, draws: Draws) -> Int[Tensor, "batch length"]:
        """One neighbour for every token, with even odds in its slice or in another; N for a token that has none."""
        length = self.across.shape[0]
        odds = draws.uniform(2, length)
        choice = (odds[:, 0] * self.in_slice_count).long()
        in_slice = self.in_slice.expand(len(draws), -1, -1).gather(2, choice[..., None])[..., 0]
        # where there is no choice (a grid of one slice, or of one token per slice) the one direction there is
        leaves = ((odds[:, 1] < 0.5) & (self.across < length)) | (self.in_slice_count == 0)
        return self.across.where(leaves, in_slice)


def nearest_in_space(grid: tuple[int, int, int], device: torch.device) -> Neighbours:
    """The up to four neighbours within the slice and the two in depth."""
    depth, rows, columns = grid
    d, h, w = torch.meshgrid(*(torch.arange(size, device=device) for size in grid), indexing="ij")
    steps = [(h > 0, -columns), (h < rows - 1, columns), (w > 0, -1), (w < columns - 1, 1)]
    return _table([(exists.flatten(), step) for exists, step in steps], d.flatten(), depth, rows * columns)


def nearest_in_raster(grid: tuple[int, int, int], device: torch.device) -> Neighbours:
    """The published code's neighbours: the tokens before and after in raster order, and the two in depth.

    A seed takes the next one along, or the previous one at the end of its slice.
    """
    depth, plane = grid[0], grid[1] * grid[2]
    index = torch.arange(depth * plane, device=device)
    last = index % plane == plane - 1
    table = _table([(index < depth * plane - 1, 1), (index > 0, -1)], index // plane, depth, plane)
    taken = torch.where(last, index - 1, index + 1)
    exists = torch.full_like(index, int(plane > 1))
    return table._replace(in_slice=taken[:, None], in_slice_count=exists)


def _table(steps: list[tuple[Tensor, int]], slice_index: Tensor, depth: int, plane: int) -> Neighbours:
    """Table from the steps within a slice: (where the step exists, its offset in raster order)."""
    index = torch.arange(slice_index.shape[0], device=slice_index.device)
    none = torch.full_like(index, index.shape[0])
    in_slice = torch.stack([(index + step).where(exists, none) for exists, step in steps], dim=1)
    below = (index + plane).where(slice_index < depth - 1, none)
    above = (index - plane).where(slice_index > 0, none)
    return Neighbours(
        all=torch.cat([in_slice, below[:, None], above[:, None]], dim=1),
        in_slice=in_slice.sort(dim=1).values,  # N is the largest: what does not exist comes last
        in_slice_count=(in_slice < index.shape[0]).sum(1),
        across=torch.where(slice_index < depth - 1, below, above),
    )
