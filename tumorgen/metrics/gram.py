"""Inner products of whole volumes, read a few at a time: what the linear-kernel MMD is made of."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from data_modules.roi.extract import BACKGROUND

Lazy = Sequence[Float[Tensor, "channel D H W"]]
CHUNK = 16  # volumes that pass by the resident block at once: matrix products instead of matrix-vector ones
SLAB = 1 << 16  # voxels summed in float32 before float64 takes over


class LinearGram(NamedTuple):
    """Inner products, float64, of generated volumes x and real volumes y.

    Attributes:
        xx: (m, m)
        yy: (n, n)
        xy: (m, n)
    """

    xx: Float[Tensor, "m m"]
    yy: Float[Tensor, "n n"]
    xy: Float[Tensor, "m n"]

    def select(self, x: Int[Tensor, " a"], y: Int[Tensor, " b"]) -> "LinearGram":
        """That of some generated and some real volumes, by index: a class, or all but a few."""
        return LinearGram(self.xx[x][:, x], self.yy[y][:, y], self.xy[x][:, y])

    def real_halves(self, a: Int[Tensor, " a"], b: Int[Tensor, " b"]) -> "LinearGram":
        """That of some real volumes, by index, in the place of the generated ones, and others."""
        return LinearGram(self.yy[a][:, a], self.yy[b][:, b], self.yy[a][:, b])


def linear_gram(x: Lazy, y: Lazy, *, block: int = 160) -> LinearGram:
    """Inner products of all volumes with all others, with at most `block` + 16 volumes in memory.

    Volumes are read one at a time, by index. All classes may come at once: `LinearGram.select` takes them apart. With
    N volumes in all, each is read about 1 + N / (2 `block`) times. At the default a block of 128^3 volumes takes 1.3 GB.

    Args:
        x: generated volumes, read lazily.
        y: real volumes.
        block: volumes that stay in memory.

    Raises:
        ValueError: Volumes differ in shape, or there are none.
    """
    total = len(x) + len(y)
    if total == 0:
        raise ValueError("no volumes to compare")

    def read(index: int) -> Float[Tensor, "channel D H W"]:
        return x[index] if index < len(x) else y[index - len(x)]

    shape = read(0).shape
    gram = torch.zeros(total, total, dtype=torch.float64)
    resident = torch.empty(min(block, total), shape.numel())
    passing = torch.empty(min(CHUNK, total), shape.numel())
    sums = torch.zeros(total, dtype=torch.float64)

    def fill(rows: Float[Tensor, "rows voxels"], start: int, stop: int) -> Float[Tensor, "read voxels"]:
        for row, index in enumerate(range(start, stop)):
            volume = read(index)
            if volume.shape != shape:
                raise ValueError(f"volume {index} has shape {tuple(volume.shape)}, the first one {tuple(shape)}")
            # most voxels are background: products are taken of what rises above it, and corrected in float64
            torch.sub(volume.flatten(), BACKGROUND, out=rows[row])
        return rows[: stop - start]

    for first in range(0, total, block):
        end = min(first + block, total)
        ours = fill(resident, first, end)
        sums[first:end] = ours.sum(1)  # its rounding cancels in an MMD
        gram[first:end, first:end] = _products(ours, ours)
        for start in range(end, total, CHUNK):
            stop = min(start + CHUNK, total)
            products = _products(ours, fill(passing, start, stop))
            gram[first:end, start:stop] = products
            gram[start:stop, first:end] = products.T
    gram += BACKGROUND * (sums[:, None] + sums) + BACKGROUND**2 * shape.numel()
    m = len(x)
    return LinearGram(gram[:m, :m], gram[m:, m:], gram[:m, m:])


def _products(a: Float[Tensor, "m voxels"], b: Float[Tensor, "n voxels"]) -> Float[Tensor, "m n"]:
    """All products: a squared distance is a small difference of large ones, which float32 sums alone would lose."""
    sums = torch.zeros(len(a), len(b), dtype=torch.float64)
    for start in range(0, a.shape[1], SLAB):
        sums += a[:, start : start + SLAB] @ b[:, start : start + SLAB].T
    return sums
