"""Plausibility of form and texture: do generated tumours have the sizes, outlines and grain of the real cohort?"""

import math
from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor

from data_modules.roi.extract import FOREGROUND_THRESHOLD, foreground
from tumorgen.metrics.metric import Group, Measure, Metric, Real, Volumes, groups
from tumorgen.metrics.resampling import floor_of, half_splits, share_interval
from tumorgen.results.records import Floor, Record
from tumorgen.types import Volume, VoxelArray

PROPERTIES = ("volume", "extent", "compactness", "components", "texture")
PERCENTILES = (5.0, 95.0)
_TEXTURE_SIGMA = 2.0  # voxels


class Shape(NamedTuple):
    """Properties of one tumour, {x > -0.9}.

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
    components: float
    texture: float = 0.0


def shape_of(volume: VoxelArray, spacing: float) -> Shape:
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


def _texture(volume: VoxelArray, mask: Bool[np.ndarray, "D H W"]) -> float:
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
    properties: Iterable[str] = ("volume", "extent", "compactness"),
    percentiles: tuple[float, float] = PERCENTILES,
) -> dict[str, float]:
    """Share of generated tumours inside the real cohort's percentiles, per property, and `all` of them at once.

    A cohort held against itself has a share of about 0.9 per property and less for all. NaN without generated tumours.

    Raises:
        ValueError: No real tumours.
    """
    names = list(properties)
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


def definition(name: str) -> dict[str, Any]:
    """What the share of a property, or of `all` of them at once, means; as JSON types."""
    low, high = PERCENTILES
    described = {**_MEANINGS, "all": "all at once: " + ", ".join(PROPERTIES)}
    return {
        "title": "plausible in all five" if name == "all" else f"plausible {name}",
        "recipe": f"share of generated tumours between the {low:g}th and {high:g}th percentile of the real cohort",
        "property": described[name],
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
    """`shape_NAME_share` for every property, and `shape_all_share`: against all real tumours of a group, whatever their part."""

    def prepare(self, real: Real) -> Measure:
        """Shapes of the real tumours, and the floors."""
        how = real.resampling

        @cache
        def cohort(classes: tuple[int, ...]) -> tuple[list[Shape], dict[str, Floor]]:
            own = [shape for label in classes for shape in _shapes(real.everything.of_class(label), real.spacing)]
            found = [
                plausible_share([own[i] for i in a], [own[i] for i in b], PROPERTIES)
                for a, b in half_splits(len(own), seed=how.seed, splits=how.splits)
            ]
            return own, {name: floor_of([shares[name] for shares in found], len(own) // 2) for name in found[0]}

        def records(group: Group) -> list[Record]:
            theirs, floors = cohort(group.classes)
            shares = plausible_share(_shapes(group.generated, real.spacing), theirs, PROPERTIES)
            n = len(group.generated)
            return [
                Record(
                    metric=f"shape_{name}_share",
                    value=share,
                    definition={"real_volumes": "all", **definition(name)},
                    group={"class": group.name},
                    counts={"real": len(theirs), "generated": n},
                    interval=share_interval(round(share * n), n),
                    floor=floors[name],
                )
                for name, share in shares.items()
            ]

        return lambda generated: [
            record
            for group in groups(real, generated)
            if sum(len(real.everything.of_class(label)) for label in group.classes) > 3
            for record in records(group)
        ]


def _shapes(volumes: Volumes, spacing: float) -> list[Shape]:
    def compute(some: Volume) -> Tensor:
        return torch.tensor([shape_of(volume[0].numpy(), spacing) for volume in some], dtype=torch.float64)

    return [Shape(*row) for row in volumes.rows(("shape", spacing), compute).tolist()] if len(volumes) else []


def _table(shapes: Iterable[Shape], names: list[str]) -> Float[np.ndarray, "shapes properties"]:
    return np.array([[getattr(shape, name) for name in names] for shape in shapes], dtype=np.float64)
