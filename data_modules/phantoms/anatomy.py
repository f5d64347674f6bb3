"""A brain as FLAIR shows it, without skull: cortex with sulci, white matter, deep nuclei, ventricles, cerebellum.

Everything is a formula in millimetres about the brain's centre (x to the left, y to the back, z up), evaluated on a
2 mm grid; the case is brought to 1 mm afterwards, which also gives tissue borders their partial volume.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from data_modules.phantoms.fields import Field, RandomStream, ramp

GRID = (72, 92, 72)  # voxels of 2 mm; holds every brain with a margin
ORIGIN = (-71.0, -92.0, -74.0)  # mm, where voxel (0, 0, 0) lies

# FLAIR of the tissues relative to each other.
WHITE, GREY, FLUID = 0.93, 1.1, 0.22


class Coordinates(NamedTuple):
    """Millimetres about the brain's centre; arrays that broadcast to `GRID`."""

    x: Field
    y: Field
    z: Field


@dataclass(frozen=True)
class Brain:
    """One brain on the 2 mm grid.

    Attributes:
        flair: FLAIR without tumour, white matter near 0.93; outside the brain meaningless.
        depth: mm below the brain's surface, negative outside.
        grey: share of grey matter, 0 to 1.
        tissue: mm-like distance to the nearest fluid or surface, positive in tissue.
        apart: 1 where the hemispheres are separate, 0 where the corpus callosum and the deep structures join them.
    """

    flair: Field
    depth: Field
    grey: Field
    tissue: Field
    apart: Field


def grid_coordinates() -> Coordinates:
    """The coordinates of `GRID`, one axis each."""
    axes = [
        np.float32(start) + np.float32(2.0) * np.arange(n, dtype=np.float32)
        for start, n in zip(ORIGIN, GRID, strict=True)
    ]
    return Coordinates(axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :])


def _ellipsoid(at: Coordinates, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Field:
    """About the depth in mm below an ellipsoid's surface, negative outside."""
    square = sum(((a - np.float32(c)) * np.float32(1.0 / r)) ** 2 for a, c, r in zip(at, centre, radii, strict=True))
    return np.asarray((np.float32(1.0) - np.sqrt(square)) * np.float32(min(radii)))


def cerebrum_depth(at: Coordinates, size: float = 1.0) -> Field:
    """Depth below the surface of the two hemispheres, mm: narrower in front, flat below, with temporal lobes."""
    x, y, z = (a * np.float32(1.0 / size) for a in at)
    taper = np.float32(1.0) + ramp(y, 10.0, -90.0) * np.float32(0.22)
    height = np.where(z > 8, np.float32(1 / 56.0), np.float32(1 / 42.0))
    square = (
        (x * taper * np.float32(1 / 66.0)) ** 2
        + (y * np.float32(1 / 84.0)) ** 2
        + ((z - np.float32(8.0)) * height) ** 2
    )
    depth = (np.float32(1.0) - np.sqrt(square)) * np.float32(58.0)
    side = Coordinates(np.abs(x), y, z)
    return np.maximum(depth, _ellipsoid(side, (38.0, -6.0, -30.0), (21.0, 44.0, 22.0))) * np.float32(size)


def _hindbrain_depth(at: Coordinates) -> Field:
    """Depth below the surface of cerebellum and brainstem, mm."""
    side = Coordinates(np.abs(at.x), at.y, at.z)
    cerebellum = _ellipsoid(side, (20.0, 46.0, -44.0), (31.0, 32.0, 25.0))
    return np.maximum(cerebellum, _ellipsoid(at, (0.0, 16.0, -50.0), (13.0, 14.0, 30.0)))


def _ventricles(at: Coordinates, width: float) -> Field:
    """Positive inside the lateral and third ventricles, about mm; `width` scales them (1 is a young adult)."""
    side = np.abs(at.x)
    back = ramp(at.y, 0.0, 42.0)
    front = ramp(at.y, -10.0, -36.0)
    axis_x = np.float32(9.0) + np.float32(18.0) * back * back + np.float32(5.0) * front
    axis_z = np.float32(17.0) - np.float32(17.0) * back * back - np.float32(7.0) * front
    along = np.maximum(np.float32(1.0) - ((at.y - np.float32(2.0)) * np.float32(1 / 43.0)) ** 2, np.float32(0.0))
    radius = np.float32(8.0 * width) * np.sqrt(along)
    lateral = radius - np.sqrt(((side - axis_x) * np.float32(1.35)) ** 2 + ((at.z - axis_z) * np.float32(0.8)) ** 2)
    third = _ellipsoid(at, (0.0, 3.0, -4.0), (1.5 + 1.2 * width, 14.0, 11.0))
    return np.maximum(np.where(along > 0, lateral, np.float32(-20.0)), third)


def _apart(at: Coordinates) -> Field:
    """1 where a cleft divides the hemispheres, 0 from the corpus callosum down to the brainstem."""
    y = (at.y - np.float32(2.0)) * np.float32(1 / 48.0)
    z = (at.z - np.float32(2.0)) * np.float32(1 / 30.0)
    return ramp(y * y + z * z, 1.0, 1.25) * ramp(at.z, -45.0, -35.0)


def _pushed(
    at: Coordinates, depth: Field, centre: tuple[float, float, float], radius: float, push: float
) -> Coordinates:
    """Where the tissue that now lies at `at` was before a mass at `centre` pushed it away by up to `push` mm."""
    offsets = [a - np.float32(c) for a, c in zip(at, centre, strict=True)]
    square = (offsets[0] ** 2 + offsets[1] ** 2 + offsets[2] ** 2) * np.float32(1.0 / radius**2)
    # The skull holds the surface where it is, so the push fades towards it.
    share = ramp(depth, 0.0, 20.0) / (np.float32(1.0) + square) ** 2 * np.float32(4.0 * push / radius)
    return Coordinates(*(a - share * offset for a, offset in zip(at, offsets, strict=True)))


def make_brain(stream: RandomStream, centre: tuple[float, float, float], radius: float, push: float) -> Brain:
    """Draws a brain, displaced by a mass.

    Args:
        stream: the case's random numbers.
        centre: where the mass lies, mm.
        radius: its radius, mm.
        push: displacement at its surface, mm.
    """
    size, age = stream.uniform(0.95, 1.03), stream.uniform(0.0, 1.0)
    folds = stream.noise(GRID, 2)
    bumps = stream.noise(GRID, 3)
    at = grid_coordinates()
    cerebrum = cerebrum_depth(at, size) + bumps * np.float32(1.2)
    hindbrain = _hindbrain_depth(at) + bumps * np.float32(0.5)
    depth = np.maximum(cerebrum, hindbrain)
    moved = _pushed(at, depth, centre, radius, push)

    ridge = np.abs(folds)
    # Sulci: thin sheets where the folding noise crosses zero, closing with depth; wider with age.
    opening = ramp(depth, 20.0, 1.0) * np.float32(0.5 + 0.12 * age) - np.float32(0.36)
    sulcus = (opening - ridge - ramp(hindbrain - cerebrum, -2.0, 2.0) * np.float32(0.1)) * np.float32(6.0)
    ventricle = _ventricles(moved, 0.55 + 0.6 * age)
    apart = _apart(moved)
    cleft = apart * np.float32(1.6 + 1.0 * age) - np.abs(moved.x)
    fluid = np.maximum(np.maximum(ventricle, cleft), sulcus)

    ribbon = ramp(ridge, 0.75, 0.45) * ramp(cerebrum, 19.0, 13.0)
    cortex = np.maximum(
        np.maximum(ramp(cerebrum, 5.0, 3.0), ribbon), ramp(np.abs(moved.x), 5.5, 3.5) * ramp(cleft, -8.0, -4.0)
    )
    nuclei = np.maximum(
        _ellipsoid(Coordinates(np.abs(moved.x), moved.y, moved.z), (11.0, 8.0, 4.0), (9.0, 14.0, 9.0)),
        _ellipsoid(Coordinates(np.abs(moved.x), moved.y, moved.z), (25.0, -6.0, 3.0), (7.0, 17.0, 11.0)),
    )
    folia = ramp(np.abs(folds), 0.7, 0.3) * ramp(hindbrain, 13.0, 9.0)
    grey = np.where(hindbrain > cerebrum, folia, np.maximum(cortex, ramp(nuclei, 0.0, 2.0) * np.float32(0.7)))

    flair = np.float32(WHITE) + grey * np.float32(GREY - WHITE)
    # Bright caps beside the ventricles.
    flair += ramp(ventricle, -4.0, -1.0) * np.float32(0.06 + 0.2 * age * age)
    # The skull-stripped rim is mostly fluid.
    wet = np.maximum(ramp(fluid, -0.8, 0.8), ramp(depth, 1.5, -0.5) * np.float32(0.8))
    flair += (np.float32(FLUID) - flair) * wet
    tissue = np.minimum(depth - np.float32(0.5), -fluid)
    return Brain(flair, depth, grey, tissue, apart)
