"""From scan and mask to a region of interest, and back into the scan. Pure functions on arrays.

Axes: scans are brought to LPS, voxel axes x, y, z that grow towards left, posterior and superior, and read as (D, H, W)
= (z, y, x): D counts axial slices upwards, H rows towards the back of the head, W columns towards the patient's left.
The affine of a region of interest maps its indices (d, h, w) to the scan's RAS+ millimetres.

Source: the published recipe (binarise the segmentation, multiply, crop or pad around the bounding box, scale to
[-1, 1]), with one 3D bounding box, and intensities under which no tumour voxel equals the background.
"""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np
from jaxtyping import Bool, Float
from nibabel.orientations import (
    aff2axcodes,
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)

from data_modules.errors import InputError
from data_modules.roi.images import Image
from data_modules.roi.resample import resample

OversizePolicy: TypeAlias = Literal["crop", "fit"]
Affine: TypeAlias = Float[np.ndarray, "4 4"]
Comparable = TypeVar("Comparable", bound=Any)

BACKGROUND = -1.0
FOREGROUND_THRESHOLD = -0.9
"""Tumour shape of any volume, real or generated, is {x > -0.9}: generated backgrounds are only close to -1."""

DARKEST = 1 / 1024  # share of the intensity range that keeps the darkest tumour voxel apart from the background
_SAME_SPACING = 1e-3  # relative; headers round
_SAME_GRID = 0.1  # voxels by which the corners of scan and mask may differ


def foreground(volume: Comparable) -> Comparable:
    """Tumour shape of volumes in [-1, 1] (array or tensor of any shape): the voxels above -0.9."""
    return volume > FOREGROUND_THRESHOLD


@dataclass(frozen=True)
class Geometry:
    """Where a region of interest lies.

    Attributes:
        affine: From indices (d, h, w) to RAS+ millimetres.
        spacing: Edge length of its voxels in mm; above the one asked for where a large tumour was scaled to fit.
        scan_shape: Shape of the scan as stored.
        scan_affine: Affine of the scan as stored.
    """

    affine: Affine
    spacing: float
    scan_shape: tuple[int, int, int]
    scan_affine: Affine

    @property
    def orientation(self) -> str:
        """Directions in which the voxel axes of the stored scan grow, for example "LPS"."""
        return "".join(aff2axcodes(self.scan_affine))


@dataclass(frozen=True)
class ROI:
    """A region of interest.

    Attributes:
        volume: float32 in [-1, 1]; background exactly -1, tumour at least -1 + 2/1024.
        geometry: Where it lies in its scan.
        intensity_range: Scan intensities that became -1 and 1.
        tumour_voxels: Tumour voxels of the whole scan.
        cropped_voxels: Those that lie outside the region.
        label_voxels: Voxels of the scan by label of the segmentation.
    """

    volume: Float[np.ndarray, "D H W"]
    geometry: Geometry
    intensity_range: tuple[float, float]
    tumour_voxels: int
    cropped_voxels: int
    label_voxels: dict[int, int]


def extract(
    scan: Image, mask: Image, roi_size: int = 128, spacing: float = 1.0, oversize: OversizePolicy = "crop"
) -> ROI:
    """Cuts the tumour out of a scan, on black, in a cube centred on its bounding box.

    Voxels are copied where the scan already has the spacing asked for; otherwise intensities and mask are resampled with
    the same antialiased linear kernel and divided by each other, so that the black around the tumour does not leak into
    its rim.

    Args:
        scan: Grey values, any orientation, spacing and number type.
        mask: Segmentation on the same grid; labels above 0, after rounding, are tumour.
        roi_size: Edge length of the cube in voxels.
        spacing: Edge length of its voxels in mm.
        oversize: Tumours larger than the cube: "crop" loses the outer voxels, "fit" enlarges the spacing.

    Raises:
        InputError: if scan and mask differ in shape or position, the mask is empty or the intensities are unusable.
    """
    image, affine = _to_dhw(scan.voxels, scan.affine)
    labels, mask_affine = _to_dhw(mask.voxels, mask.affine)
    _check_same_grid(image.shape, affine, labels.shape, mask_affine)
    tumour = _binarise(labels)
    box = bounding_box(tumour)
    inside = tumour[box]
    values = np.where(inside, image[box], 0).astype(np.float32)
    if not np.isfinite(values).all():
        raise InputError("the scan holds NaN or infinite intensities inside the tumour; export it again")

    step = np.linalg.norm(affine[:3, :3], axis=0)
    first = np.array([axis.start for axis in box])
    if oversize == "fit":
        spacing = max(spacing, float((np.array(inside.shape) * step).max()) / roi_size)
    if np.allclose(step, spacing, rtol=_SAME_SPACING):
        scale, offset = np.ones(3), (first - (roi_size - np.array(inside.shape)) // 2).astype(np.float64)
        volume, region = _paste(values, first - offset, roi_size), _paste(inside, first - offset, roi_size)
    else:
        scale = spacing / step
        offset = first + (np.array(inside.shape) - 1) / 2 - (roi_size - 1) / 2 * scale
        coordinates = [offset[a] - first[a] + scale[a] * np.arange(roi_size) for a in range(3)]
        volume, region = resample(values, inside, coordinates, scale)
    if not region.any():
        raise InputError(
            f"the tumour ({int(inside.sum())} voxels) vanishes at a spacing of {spacing:g} mm; use a smaller one"
        )

    normalised, intensity_range = _normalise(volume, region)
    from_roi = np.diag([*scale, 1.0])
    from_roi[:3, 3] = offset
    counts = _label_counts(labels[box], inside)
    total = sum(counts.values())
    return ROI(
        volume=normalised,
        geometry=Geometry(affine @ from_roi, spacing, _shape3(scan.voxels), scan.affine),
        intensity_range=intensity_range,
        tumour_voxels=total,
        cropped_voxels=total - int(inside[_covered(inside.shape, first, offset, scale, roi_size)].sum()),
        label_voxels=counts,
    )


def place(
    volume: np.ndarray, geometry: Geometry, *, fill: float = BACKGROUND, mask: Bool[np.ndarray, "D H W"] | None = None
) -> np.ndarray:
    """Puts a volume of a region of interest back into its scan: shape, orientation and spacing of the stored file.

    The inverse of `extract`: voxels are copied where the spacings agree, otherwise resampled within the mask alone.

    Args:
        volume: Array (D, H, W) of any number type, for example an original, a reconstruction or a mask.
        geometry: That of the region of interest.
        fill: Value outside the mask.
        mask: Voxels to put back; None takes those that differ from `fill`. For reconstructions, `foreground(volume)`.
    """
    placed = np.full(geometry.scan_shape, fill, dtype=volume.dtype)
    target, affine = _to_dhw(placed, geometry.scan_affine)  # a view: writing to it fills `placed`
    if mask is None:
        mask = volume != fill
    from_roi = np.linalg.solve(affine, geometry.affine)
    scale, offset = np.diag(from_roi)[:3], from_roi[:3, 3]
    if np.allclose(scale, 1, rtol=1e-6) and np.allclose(offset, np.rint(offset), atol=1e-3):
        there, here = _overlap(target.shape, np.rint(offset).astype(int), mask.shape)
        target[there] = np.where(mask[here], volume[here], fill)
        return placed
    coordinates = [(np.arange(target.shape[a]) - offset[a]) / scale[a] for a in range(3)]
    resampled, inside = resample(np.where(mask, volume, 0).astype(np.float32), mask, coordinates, 1 / scale)
    target[inside] = resampled[inside]
    return placed


def denormalise(
    volume: Float[np.ndarray, "*shape"], intensity_range: tuple[float, float]
) -> Float[np.ndarray, "*shape"]:
    """Turns values in [-1, 1] back into the intensities of the scan, in float32."""
    low, high = intensity_range
    return (low + (volume.astype(np.float64) + 1) / 2 * (high - low)).astype(np.float32)


def _normalise(
    values: Float[np.ndarray, "D H W"], tumour: Bool[np.ndarray, "D H W"]
) -> tuple[Float[np.ndarray, "D H W"], tuple[float, float]]:
    """Scales tumour intensities to [-1 + 2/1024, 1]; zero, or the lowest if negative, stays at the black end."""
    inside = values[tumour].astype(np.float64)
    low, high = min(0.0, float(inside.min())), float(inside.max())
    if high <= low:
        raise InputError(
            f"all intensities inside the tumour are {high:g}; the scan does not belong to this mask, or is empty"
        )
    volume = np.full(values.shape, BACKGROUND, dtype=np.float32)
    volume[tumour] = -1 + 2 * np.maximum((inside - low) / (high - low), DARKEST)
    return volume, (low, high)


def _to_dhw(voxels: np.ndarray, affine: Affine) -> tuple[np.ndarray, Affine]:
    """A view (D, H, W) of the voxels, axes growing towards superior, posterior and left, and its affine."""
    change = ornt_transform(io_orientation(affine), axcodes2ornt(("S", "P", "L")))
    return apply_orientation(voxels, change), affine @ inv_ornt_aff(change, voxels.shape)


def _check_same_grid(shape: tuple[int, ...], affine: Affine, mask_shape: tuple[int, ...], mask_affine: Affine) -> None:
    if shape != mask_shape:
        raise InputError(
            f"scan and mask differ in shape: {shape} and {mask_shape} slices, rows, columns; they are not of one case"
        )
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape], [1], indexing="ij")).reshape(4, -1)
    distance = np.linalg.norm(((affine - mask_affine) @ corners)[:3], axis=0).max()
    if distance > _SAME_GRID * np.linalg.norm(affine[:3, :3], axis=0).min():
        raise InputError(
            f"scan and mask lie up to {distance:.3g} mm apart in space; expected one grid. Register them first"
        )


def _binarise(labels: np.ndarray) -> Bool[np.ndarray, "D H W"]:
    """Labels that round to 1 or more: masks hold values such as 0.99999997."""
    if labels.dtype.kind != "f":
        return labels > 0
    if not np.isfinite(labels).all():
        raise InputError("the mask holds NaN or infinite values; export it again")
    return labels > 0.5


def bounding_box(tumour: Bool[np.ndarray, "D H W"]) -> tuple[slice, slice, slice]:
    """The smallest box around everything that is true.

    Raises:
        InputError: Nothing is.
    """
    box = [slice(None)] * 3
    # slices first, the slowest axis of a file: the other two axes then look at a few slices only
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        hits = np.flatnonzero(tumour[tuple(box)].any(axis=others))
        if hits.size == 0:
            raise InputError("the mask is empty: no voxel has a label above 0, so there is no tumour to cut out")
        box[axis] = slice(int(hits[0]), int(hits[-1]) + 1)
    return box[0], box[1], box[2]


def _label_counts(labels: np.ndarray, inside: Bool[np.ndarray, "D H W"]) -> dict[int, int]:
    values, counts = np.unique(np.rint(labels[inside]), return_counts=True)
    return {int(value): int(count) for value, count in zip(values, counts, strict=True)}


def _overlap(
    outer: tuple[int, ...], start: np.ndarray, inner: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Slices of an outer and an inner block where they overlap; the inner one begins at `start` of the outer."""
    there, here = [], []
    for size, begin, length in zip(outer, map(int, start), inner, strict=True):
        low, high = max(begin, 0), max(begin, 0, min(begin + length, size))
        there.append(slice(low, high))
        here.append(slice(low - begin, high - begin))
    return tuple(there), tuple(here)


def _paste(block: np.ndarray, start: np.ndarray, roi_size: int) -> np.ndarray:
    """A cube of zeros with `block` in it; what sticks out is cut off."""
    cube = np.zeros((roi_size,) * 3, dtype=block.dtype)
    there, here = _overlap(cube.shape, start, block.shape)
    cube[there] = block[here]
    return cube


def _covered(
    shape: tuple[int, ...], first: np.ndarray, offset: np.ndarray, scale: np.ndarray, roi_size: int
) -> tuple[slice, ...]:
    """The part of the bounding box whose voxel centres lie in the region of interest."""
    low = np.ceil(np.round(offset - scale / 2 - first, 6))
    high = np.floor(np.round(offset + (roi_size - 0.5) * scale - first, 6)) + 1
    return tuple(slice(int(max(lo, 0)), int(min(max(hi, 0), n))) for lo, hi, n in zip(low, high, shape, strict=True))


def _shape3(voxels: np.ndarray) -> tuple[int, int, int]:
    first, second, third = voxels.shape
    return first, second, third
