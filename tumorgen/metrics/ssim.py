"""Structural similarity (SSIM) scale by scale: local means, variances and covariance under a Gaussian window.

Source: Wang, Simoncelli, Bovik, "Multiscale structural similarity for image quality assessment" (Asilomar 2003), in 3D.

Moments are those of volumes shifted by 1, so that the background of a tumour region is 0: variances then do not suffer from
rounding. What lies further from both tumours than a window reaches is not computed: both volumes are equal there.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tumorgen.types import Scalar

# outputs per matrix product: few enough to skip most zeros of a banded matrix, enough to fill the processor
_BAND = 16
_SLAB = 8  # slices at a time: what belongs to them stays in the processor's cache

Image = Float[Tensor, "channel D H W"]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Recipe:
    """Everything that a multi-scale SSIM depends on.

    Attributes:
        taps: Width of the Gaussian window in voxels, odd.
        sigma: Its standard deviation in voxels.
        weights: Exponent of every scale, finest first; between scales volumes are averaged in blocks of 2x2x2.
        data_range: That of the stabilising constants, C1 = (0.01 range)^2 and C2 = (0.03 range)^2.
        whole_windows: Means are over the voxels whose windows lie inside the volume (a "valid" convolution). Otherwise
            over all voxels, the border reflected as d c b a | a b c d.
    """

    taps: int
    sigma: float
    weights: tuple[float, ...]
    data_range: float
    whole_windows: bool

    @property
    def radius(self) -> int:
        """Voxels on either side of a window's centre."""
        return self.taps // 2

    @property
    def c1(self) -> float:
        """Constant of the luminance term."""
        return (0.01 * self.data_range) ** 2

    @property
    def c2(self) -> float:
        """Constant of the contrast term."""
        return (0.03 * self.data_range) ** 2


class Terms(NamedTuple):
    """What a multi-scale SSIM is made of.

    Attributes:
        contrast: Mean contrast-structure term of every scale but the last.
        ssim: Mean SSIM, contrast-structure times luminance, of the last scale.
    """

    contrast: Float[Tensor, " scales_but_one"]
    ssim: Scalar


def terms(x: Image, y: Image, recipe: Recipe) -> Terms:
    """Mean terms of two volumes in [-1, 1]."""
    with full_precision(x.device):
        x, y = x.float(), y.float()
        box, means = _occupied(x, y), []
        for scale in range(len(recipe.weights)):
            if scale:
                x, y, box = halve(x), halve(y), _halved(box)
            means.append(_mean(x, y, box, recipe, luminance=scale == len(recipe.weights) - 1))
        return _gathered(means)


def weighted_terms(x: Image, y: Image, weights: Image, recipe: Recipe) -> tuple[Terms, Terms]:
    """The mean terms of the whole volumes, and those of a region: weighted by the share of every voxel that is in it.

    Args:
        x: Volume in [-1, 1].
        y: Another one.
        weights: 1 inside of the region, 0 outside; averaged in blocks of 2x2x2 between scales as the volumes are. All its
            voxels count, those near the border with reflected windows.
        recipe: Windows and scales.
    """
    with full_precision(x.device):
        x, y, weights = x.float(), y.float(), weights.float()
        whole, region = [], []
        for scale in range(len(recipe.weights)):
            if scale:
                x, y, weights = (halve(part) for part in (x, y, weights))
            luminance = scale == len(recipe.weights) - 1
            values = torch.cat([slab for _, slab in local_map(x, y, recipe, luminance)], dim=1)
            whole.append(values[(slice(None), *_interior(values, recipe))].mean())
            region.append((values * weights).sum() / weights.sum())
        return _gathered(whole), _gathered(region)


def local_map(x: Image, y: Image, recipe: Recipe, luminance: bool) -> Iterator[tuple[slice, Image]]:
    """Contrast-structure term of every voxel, border reflected, a few slices at a time.

    Args:
        x: Volume in [-1, 1].
        y: Another one.
        recipe: Window and constants.
        luminance: Times the luminance term: the SSIM itself.

    Yields:
        Which slices, and their values.
    """
    room = x.new_empty(4, len(x), min(_SLAB + 2 * recipe.radius, x.shape[1]), *x.shape[2:])
    for slices, reach, matrix in _bands(x.shape[1], _SLAB, recipe.taps, recipe.sigma, x.device):
        raw = room[:, :, : reach.stop - reach.start]
        a, b = torch.add(x[:, reach], 1, out=raw[0]), torch.add(y[:, reach], 1, out=raw[1])
        torch.mul(a, a, out=raw[2]).addcmul_(b, b)
        torch.mul(a, b, out=raw[3])
        moments = torch.matmul(matrix, raw.flatten(3)).unflatten(3, raw.shape[3:])
        mean_a, mean_b, power, product = smooth_slices(moments, recipe.taps, recipe.sigma)
        covariance = product.addcmul_(mean_a, mean_b, value=-1)
        variances = power.addcmul_(mean_a, mean_a, value=-1).addcmul_(mean_b, mean_b, value=-1)
        values = covariance.mul_(2).add_(recipe.c2).div_(variances.add_(recipe.c2))
        if luminance:
            mean_x, mean_y = mean_a.sub_(1), mean_b.sub_(1)
            values *= (2 * mean_x * mean_y + recipe.c1) / (mean_x.square() + mean_y.square() + recipe.c1)
        yield slices, values


def smooth_slices(x: Float[Tensor, "*any H W"], taps: int, sigma: float) -> Float[Tensor, "*any H W"]:
    """Gaussian filter with reflected border along rows and columns, as products with banded matrices."""
    rows, columns = torch.empty_like(x), torch.empty_like(x)
    lines, out = x.view(-1, x.shape[-1]), rows.view(-1, x.shape[-1])
    for outputs, inputs, matrix in _bands(x.shape[-1], _BAND, taps, sigma, x.device):
        torch.mm(lines[:, inputs], matrix.T, out=out[:, outputs])
    for outputs, inputs, matrix in _bands(x.shape[-2], _BAND, taps, sigma, x.device):
        columns[..., outputs, :] = matrix @ rows[..., inputs, :]
    return columns


def halve(x: Image) -> Image:
    """Means of blocks of 2x2x2 voxels; of an odd side the last voxel is left out."""
    depth, height, width = (n // 2 * 2 for n in x.shape[1:])
    x = x[:, 0:depth:2] + x[:, 1:depth:2]
    x = x[:, :, 0:height:2] + x[:, :, 1:height:2]
    return (x[..., 0:width:2] + x[..., 1:width:2]) / 8


@lru_cache(maxsize=1024)
def _bands(n: int, width: int, taps: int, sigma: float, device: torch.device) -> list[tuple[slice, slice, Tensor]]:
    """`width` outputs, the inputs that reach them, and the matrix in between: blocks of rows of the (n, n) filter matrix."""
    matrix = reflecting_matrix(n, taps, sigma).to(device)
    bands = []
    for start in range(0, n, width):
        stop = min(start + width, n)
        inputs = slice(max(start - taps // 2, 0), min(stop + taps // 2, n))
        bands.append((slice(start, stop), inputs, matrix[start:stop, inputs].contiguous()))
    return bands


def reflecting_matrix(n: int, taps: int, sigma: float) -> Float[Tensor, "n n"]:
    """A Gaussian filter of a line of `n` voxels as a matrix; the border is reflected, d c b a | a b c d, again and again."""
    offsets = torch.arange(taps) - taps // 2
    window = torch.exp(-0.5 * (offsets.double() / sigma) ** 2)
    sources = (torch.arange(n)[:, None] + offsets) % (2 * n)
    sources = torch.where(sources < n, sources, 2 * n - 1 - sources)
    matrix = torch.zeros(n, n, dtype=torch.float64)
    matrix.scatter_add_(1, sources, (window / window.sum()).expand(n, -1))
    return matrix.float()


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Matrix products in float32 proper, whatever autocast and the trainer's matmul precision say.

    Variances are differences of nearly equal numbers: bfloat16 or TF32 would decide on them.
    """
    before = torch.get_float32_matmul_precision()
    with ExitStack() as stack:
        stack.callback(torch.set_float32_matmul_precision, before)
        stack.enter_context(torch.autocast(device.type, enabled=False))
        stack.enter_context(torch.no_grad())
        torch.set_float32_matmul_precision("highest")
        yield


def _gathered(means: list[Scalar]) -> Terms:
    *contrast, ssim = means
    return Terms(torch.stack(contrast), ssim)


def _mean(x: Image, y: Image, box: Box | None, recipe: Recipe, luminance: bool) -> Scalar:
    """Mean of a local map; outside of the box, and further from it than a window reaches, it is 1."""
    excess = x.new_zeros(())
    if box is None:
        return excess + 1
    interior = _interior(x, recipe)
    reached = [_dilated(part, recipe.radius, n) for part, n in zip(box, x.shape[1:], strict=True)]
    depth, *others = (_within(inner, crop) for inner, crop in zip(interior, reached, strict=True))
    crop = (slice(None), *reached)
    for slices, values in local_map(x[crop], y[crop], recipe, luminance):
        inside = _within(depth, slices)
        excess += (values[(slice(None), inside, *others)] - 1).sum()
    return 1 + excess / (len(x) * torch.Size(part.stop - part.start for part in interior).numel())


def _occupied(x: Image, y: Image) -> Box | None:
    """Bounding box of what is not -1 in either volume; None where both are empty.

    On a GPU it is everything: to ask what is empty would wait for the device.
    """
    if x.device.type != "cpu":
        return slice(0, x.shape[1]), slice(0, x.shape[2]), slice(0, x.shape[3])
    from_side, from_above = (
        torch.stack([part for v in (x, y) for part in (v.amin(dims), v.amax(dims))]).ne(-1).any(0)
        for dims in ((0, 3), (0, 1))
    )
    sides = [torch.nonzero(line) for line in (from_side.any(1), from_side.any(0), from_above.any(0))]
    if not len(sides[0]):
        return None
    depth, height, width = (slice(int(side[0]), int(side[-1]) + 1) for side in sides)
    return depth, height, width


def _halved(box: Box | None) -> Box | None:
    if box is None:
        return None
    depth, height, width = (slice(part.start // 2, (part.stop + 1) // 2) for part in box)
    return depth, height, width


def _dilated(part: slice, radius: int, n: int) -> slice:
    return slice(max(part.start - radius, 0), min(part.stop + radius, n))


def _interior(image: Image, recipe: Recipe) -> Box:
    margin = recipe.radius if recipe.whole_windows else 0
    depth, height, width = (slice(margin, n - margin) for n in image.shape[1:])
    return depth, height, width


def _within(inner: slice, crop: slice) -> slice:
    """The part of `inner` that lies in `crop`, counted from the start of `crop`."""
    start = max(inner.start, crop.start)
    return slice(start - crop.start, max(min(inner.stop, crop.stop), start) - crop.start)
