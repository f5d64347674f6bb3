"""Plausibility of form and texture: do generated tumours have the sizes, outlines and grain of the real cohort?"""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from data_modules.roi.extract import FOREGROUND_THRESHOLD, foreground
from tumorgen.types import Volume

Array = Float[np.ndarray, "D H W"]

FIGURES = ("volume", "extent", "compactness", "components", "texture")
PERCENTILES = (5.0, 95.0)
_TEXTURE_SIGMA = 2.0  # voxels


class Shape(NamedTuple):
    """Figures of one tumour, {x > -0.9}.

    Attributes:
        volume: In mm^3.
        extent: Longest side of the bounding box in mm.
        compactness: (36 pi V^2)^(1/3) / surface, V in voxels and the surface in voxels that touch the outside by a face:
            larger is rounder.
        components: Number of connected parts (by faces).
        texture: Standard deviation of what a Gaussian of 2 voxels smooths away, over the mean intensity.
    """

    volume: float
    extent: float
    compactness: float
    components: int
    texture: float = 0.0


def shape_of(volume: Array, spacing: float) -> Shape:
    """Shape of a tumour (D, H, W) in [-1, 1] with voxels of `spacing` mm; all zero when there is none."""
    mask = foreground(volume)
    voxels = int(mask.sum())
    if voxels == 0:
        return Shape(0.0, 0.0, 0.0, 0)
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    inside = np.pad(mask[box], 1)
    surface = int((inside & ~ndimage.binary_erosion(inside)).sum())
    return Shape(
        volume=voxels * spacing**3,
        extent=max(part.stop - part.start for part in box) * spacing,
        compactness=(36 * math.pi * voxels**2) ** (1 / 3) / surface,
        components=int(ndimage.label(inside)[1]),
        texture=_texture(volume[box], mask[box]),
    )


def _texture(volume: Array, mask: Bool[np.ndarray, "D H W"]) -> float:
    """Fine variation inside the tumour, relative to its mean intensity above the black end of the range.

    The Gaussian averages tumour voxels only: the black around a region of interest is not part of its texture.
    """
    intensity = np.where(mask, volume + 1.0, 0.0)
    weights = ndimage.gaussian_filter(mask.astype(np.float64), _TEXTURE_SIGMA, mode="constant")
    smooth = ndimage.gaussian_filter(intensity, _TEXTURE_SIGMA, mode="constant")
    inside = intensity[mask]
    return float((inside - smooth[mask] / weights[mask]).std() / inside.mean())


def plausible_share(
    generated: Iterable[Shape],
    real: Iterable[Shape],
    figures: Iterable[str] = ("volume", "extent", "compactness"),
    percentiles: tuple[float, float] = PERCENTILES,
) -> dict[str, float]:
    """Share of generated tumours inside the real cohort's percentiles, per figure, and `all` of them at once.

    A cohort held against itself has a share of about 0.9 per figure and less for all. NaN without generated tumours.

    Raises:
        ValueError: No real tumours.
    """
    names = list(figures)
    ours, theirs = (_table(part, names) for part in (generated, real))
    if not len(theirs):
        raise ValueError("plausibility needs real tumours to compare with; got none")
    if not len(ours):
        return dict.fromkeys([*names, "all"], math.nan)
    low, high = np.percentile(theirs, percentiles, axis=0)
    inside = (ours >= low) & (ours <= high)
    return {
        **{name: float(inside[:, i].mean()) for i, name in enumerate(names)},
        "all": float(inside.all(axis=1).mean()),
    }


def definition(
    figure: str, figures: Iterable[str] = FIGURES, percentiles: tuple[float, float] = PERCENTILES
) -> dict[str, Any]:
    """What the share of a figure, or of `all` of `figures` at once, means; as JSON types."""
    low, high = percentiles
    described = {**_MEANINGS, "all": "all at once: " + ", ".join(figures)}
    return {
        "recipe": f"share of generated tumours between the {low:g}th and {high:g}th percentile of the real cohort",
        "figure": described[figure],
        "interval": "of the share given these percentiles",
        "tumour": f"voxels above {FOREGROUND_THRESHOLD}, range [-1, 1]",
        "unit": "share",
        "better": "real",
    }


_MEANINGS = {
    "volume": "volume in mm^3",
    "extent": "longest side of the bounding box in mm",
    "compactness": "(36 pi V^2)^(1/3) / surface, in voxels",
    "components": "connected parts, by faces",
    "texture": "SD of (x - Gaussian of 2 voxels within the tumour) / mean, x + 1 as intensity",
}


class ShapePlausibility(Metric):
    """`plausible_share` of all generated tumours since the last reset.

    Args:
        real: Shapes of the real cohort.
        spacing: Edge length of voxels in mm.
        figures: Fields of `Shape` to hold against the real ones.
    """

    full_state_update = False
    shapes: list[Tensor]

    def __init__(self, real: Iterable[Shape], spacing: float, figures: Iterable[str] = FIGURES, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.real, self.spacing, self.figures = tuple(real), spacing, tuple(figures)
        self.add_state("shapes", [], dist_reduce_fx="cat")
        self.set_dtype(torch.float64)  # the figures are compared with those of real tumours, which may be equal

    def update(self, generated: Volume) -> None:
        """Adds volumes in [-1, 1]; of several channels the first shows the tumour."""
        found = [shape_of(volume[0].float().cpu().numpy(), self.spacing) for volume in generated]
        # flat, so that a rank without a volume can join
        self.shapes.append(torch.tensor(found, dtype=torch.float64, device=generated.device).flatten())

    def compute(self) -> dict[str, Tensor]:
        """Share by figure, and `all`."""
        rows = dim_zero_cat(self.shapes).view(-1, len(Shape._fields)).tolist() if len(self.shapes) else []
        generated = [Shape(v, e, c, int(n), t) for v, e, c, n, t in rows]
        return {
            name: torch.tensor(share) for name, share in plausible_share(generated, self.real, self.figures).items()
        }


def _table(shapes: Iterable[Shape], names: list[str]) -> Float[np.ndarray, "shapes figures"]:
    return np.array([[getattr(shape, name) for name in names] for shape in shapes], dtype=np.float64)
