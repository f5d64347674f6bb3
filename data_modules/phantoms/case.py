"""One phantom patient: FLAIR and expert segmentation as BraTS stores them."""

from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from data_modules.phantoms.anatomy import GRID, make_brain
from data_modules.phantoms.fields import Field, RandomStream, double
from data_modules.phantoms.parameters import GRADES, PhantomParameters
from data_modules.phantoms.tumour import Tumour, TumourPlan, grow_tumour, plan_tumour

SHAPE = (240, 240, 155)
_OFFSET = (48, 28, 4)  # voxel of the scan where the grid begins
_LOOSE_SHARE = 0.01  # of the tumour may lie in islands beside its largest component

Mask: TypeAlias = npt.NDArray[np.uint8]
_Voxel = TypeVar("_Voxel", np.int16, np.uint8)


@dataclass(frozen=True)
class PhantomCase:
    """One patient at 240x240x155 voxels of 1 mm, axes to the left, to the back and up.

    Attributes:
        grade: "LGG" or "HGG".
        plan: what was drawn.
        flair: int16, 0 outside the brain.
        segmentation: labels 0, 1 (necrotic or non-enhancing core), 2 (oedema, infiltration), 4 (enhancing).
    """

    grade: str
    plan: TumourPlan
    flair: npt.NDArray[np.int16]
    segmentation: Mask


def make_case(seed: int, grade: str, index: int, parameters: PhantomParameters | None = None) -> PhantomCase:
    """Draws the `index`-th phantom of a grade; the same arguments give the same bits anywhere.

    Args:
        seed: the cohort's seed, at least 0.
        grade: "LGG" or "HGG".
        index: number of the case within its grade, from 1.
        parameters: distribution of the tumours; the frozen one by default.
    """
    stream = RandomStream(seed, GRADES.index(grade), index)
    plan = plan_tumour(stream, GRADES.index(grade), parameters or PhantomParameters())
    brain = make_brain(stream, plan.centre, plan.radius, push=0.12 * plan.radius)
    tumour = grow_tumour(stream, plan, brain)
    scene = brain.flair.copy()
    scene[tumour.box] = tumour.flair
    segmentation = np.zeros([2 * n for n in GRID], np.uint8)
    segmentation[tuple(slice(2 * part.start, 2 * part.stop) for part in tumour.box)] = _labels(tumour)
    flair = _scan(stream, scene, brain.depth)
    segmentation[flair == 0] = 0
    return PhantomCase(grade, plan, _framed(flair), _framed(segmentation))


def _labels(tumour: Tumour) -> Mask:
    level, core, necrosis = double(tumour.level), double(tumour.core), double(tumour.necrosis)
    labels = np.where(core > 0, np.where(necrosis > 0, np.uint8(1), np.uint8(4)), np.uint8(2))
    return np.where(_without_debris(level > 0), labels, np.uint8(0))


def _without_debris(inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The largest component and, largest first, islands up to `_LOOSE_SHARE` of it."""
    components, _ = ndimage.label(inside)
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    order = np.argsort(-sizes, kind="stable")
    loose = np.cumsum(sizes[order]) - sizes[order[0]]
    kept = np.zeros(len(sizes), bool)
    kept[order[(loose <= _LOOSE_SHARE * sizes[order[0]]) & (sizes[order] > 0)]] = True
    return kept[components]


def _scan(stream: RandomStream, scene: Field, depth: Field) -> npt.NDArray[np.int16]:
    """What a scanner makes of the scene: coil shading, noise, an arbitrary intensity scale; 0 outside the brain."""
    shading = np.float32(1.0) + stream.noise(scene.shape, 5) * np.float32(0.02)
    image = double(scene * shading)
    image += stream.noise(image.shape, 0) * np.float32(0.028)
    image *= np.float32(round(400.0 * 2.0 ** stream.uniform(0.0, 2.0)))
    # The scanner's black end is not 0, and no brain voxel may be.
    counts = np.maximum(np.rint(image), np.float32(1.0)).astype(np.int16)
    counts[double(depth) <= 0] = 0
    return counts


def _framed(grid: npt.NDArray[_Voxel]) -> npt.NDArray[_Voxel]:
    scan = np.zeros(SHAPE, grid.dtype)
    scan[tuple(slice(o, o + n) for o, n in zip(_OFFSET, grid.shape, strict=True))] = grid
    return scan
