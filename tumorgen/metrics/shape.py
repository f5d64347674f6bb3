"""Shape plausibility: do generated tumours have the sizes and outlines of the real cohort?"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from data_modules.roi import foreground

Array = npt.NDArray[np.float32]


class Shape(NamedTuple):
    """Figures of one tumour, {x > -0.9}.

    Attributes:
        volume: In mm^3.
        extent: Longest side of the bounding box in mm.
        compactness: (36 pi V^2)^(1/3) / surface, V in voxels and the surface in voxels that touch the outside by a face:
            larger is rounder.
        components: Number of connected parts (by faces).
    """

    volume: float
    extent: float
    compactness: float
    components: int


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
    )


def plausible_share(
    generated: Iterable[Shape],
    real: Iterable[Shape],
    figures: Iterable[str] = ("volume", "extent", "compactness"),
    percentiles: tuple[float, float] = (5.0, 95.0),
) -> dict[str, float]:
    """Share of generated tumours inside the real cohort's percentiles, per figure, and `all` of them at once.

    A cohort held against itself has a share of about 0.9 per figure and less for all.
    """
    names = list(figures)
    ours, theirs = (
        np.array([[getattr(shape, name) for name in names] for shape in part]) for part in (generated, real)
    )
    low, high = np.percentile(theirs, percentiles, axis=0)
    inside = (ours >= low) & (ours <= high)
    return {
        **{name: float(inside[:, i].mean()) for i, name in enumerate(names)},
        "all": float(inside.all(axis=1).mean()),
    }
