"""One region of interest as a NIfTI file: written as viewers understand it, read as models see it."""

import re
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from jaxtyping import Float
from nibabel.orientations import aff2axcodes, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

from data_modules.errors import InputError
from data_modules.roi.extract import BACKGROUND, denormalise, extract, foreground
from data_modules.roi.images import Image, read_image

LPS = ("L", "P", "S")
SAME_SPACING = 0.01  # relative; headers round
_TOLERANCE = 1e-3  # share of the range by which interpolation and rounding may leave it
_CLIPPED = 0.25  # share of the range by which clipped values may leave it: what is farther off has another range
_SMALLEST_VOXEL = 1e-9  # mm^3
_NUMBER = r"[-+]?\d+(?:\.\d+)?"


@dataclass(frozen=True)
class Intensities:
    """The stored values that mean black (-1) and white (1).

    Attributes:
        low: Stored value of the background.
        high: Stored value of the brightest possible voxel.
    """

    low: float
    high: float

    @classmethod
    def parse(cls, text: str) -> "Intensities":
        """Reads `[0, 1]`, `0..1000`, `[-1, 1]` or any other pair written in one of these ways.

        Raises:
            InputError: It is no pair of growing numbers.
        """
        found = re.fullmatch(rf"\s*\[?\s*({_NUMBER})\s*(?:\.\.|,)\s*({_NUMBER})\s*\]?\s*", text)
        if found is None or float(found[1]) >= float(found[2]):
            raise InputError(f"intensities: found {text!r}, expected a range such as '[0, 1]', '0..1000' or '[-1, 1]'")
        return cls(float(found[1]), float(found[2]))

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}"


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a stored volume lie.

    Attributes:
        shape: Slices, rows, columns (D, H, W), once the axes are those of a volume.
        spacing: Edge lengths of a voxel in mm, in that order.
        axes: Directions in which the stored axes grow, for example `LPS`.
        stated: Whether the header states a position in space at all.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    axes: str
    stated: bool

    def fits(self, roi_size: int, spacing: float) -> bool:
        """Whether this is a cube of `roi_size` voxels of `spacing` mm."""
        same = np.allclose(self.spacing, spacing, rtol=SAME_SPACING)
        return self.shape == (roi_size,) * 3 and bool(same)

    def __str__(self) -> str:
        return f"{'x'.join(map(str, self.shape))} voxels of {'x'.join(f'{step:.4g}' for step in self.spacing)} mm"


def to_nifti(
    volume: Float[np.ndarray, "D H W"],
    spacing: float,
    dtype: str = "float32",
    description: str = "synthetic tumour region, tumorgen",
) -> nib.Nifti1Image:
    """A volume as an image that viewers understand.

    Args:
        volume: In [-1, 1].
        spacing: Side of a voxel in mm.
        dtype: `float32` for intensities in [0, 1], `int16` for 0..1000.
        description: For the header, at most 79 ASCII characters.

    Returns:
        Voxels (x, y, z) with LPS axes, the volume centred on the world's origin, background (x <= -0.9) exactly 0.
    """
    intensities = np.where(foreground(volume), (np.clip(volume, -1, 1) + 1) / 2, 0).transpose(2, 1, 0)
    voxels = np.rint(1000 * intensities).astype(np.int16) if dtype == "int16" else intensities.astype(np.float32)
    affine = np.diag([-spacing, -spacing, spacing, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(voxels.shape) - 1) / 2)
    image = nib.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = description.encode("ascii")
    return image


def read_grid(path: Path, axes: str | None = None, spacing: float | None = None) -> Grid:
    """Size, spacing and orientation of a stored volume, from its header alone.

    Args:
        path: A NIfTI file.
        axes: Directions in which the stored axes grow; replaces what the header says of orientation and spacing.
        spacing: Edge length of a voxel in mm that goes with `axes`.

    Raises:
        InputError: The file is no NIfTI image of three dimensions, or has no usable position in space.
    """
    try:
        image = nib.load(path)
        stored, affine, header = image.shape, np.asarray(image.affine), image.header
        stated = bool(header["qform_code"] or header["sform_code"])
    except Exception as error:  # nibabel and zlib raise whatever broken bytes make them raise
        raise InputError(f"{path}: cannot be read as NIfTI ({str(error).splitlines()[-1] or error!r})") from error
    if len(stored) < 3 or any(side != 1 for side in stored[3:]) or 0 in stored:
        raise InputError(f"{path}: found an image of shape {stored}, expected one 3D volume")
    if axes is not None:
        affine, stated = _affine_of(axes, spacing or 1.0), True
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < _SMALLEST_VOXEL:
        raise InputError(
            f"{path}: the header gives voxels no size or position in space (affine {affine.tolist()}). Write the volume "
            "again with a header that does"
        )
    change = ornt_transform(io_orientation(affine), axcodes2ornt(("S", "P", "L")))
    order = np.argsort(change[:, 0])
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    depth, height, width = (int(stored[i]) for i in order)
    d, h, w = (float(steps[i]) for i in order)
    return Grid((depth, height, width), (d, h, w), "".join(aff2axcodes(affine)), stated)


def load_volume(
    path: Path, intensities: Intensities, axes: str | None = None, clip: bool = False, spacing: float = 1.0
) -> tuple[Float[np.ndarray, "D H W"], Image]:
    """Reads a volume as models see it: float32 in [-1, 1], axes growing towards superior, posterior and left.

    Args:
        path: A NIfTI file.
        intensities: Which stored values mean -1 and 1.
        axes: Directions in which the stored axes grow, for example `SPL`; None believes the header.
        clip: Take values outside of the range, by up to a quarter of its span, as its ends instead of refusing them.
        spacing: Edge length of a voxel in mm that goes with `axes`.

    Returns:
        The volume, and the same with the position of its indices (d, h, w) in RAS+ millimetres.

    Raises:
        InputError: The file cannot be read, or holds values outside of the range.
    """
    image, _ = read_image(path)
    affine = image.affine if axes is None else _affine_of(axes, spacing)
    change = ornt_transform(io_orientation(affine), axcodes2ornt(("S", "P", "L")))
    voxels = nib.orientations.apply_orientation(image.voxels, change).astype(np.float32)
    low, high = float(voxels.min()), float(voxels.max())
    if not np.isfinite(low + high):
        raise InputError(f"{path}: holds NaN or infinite values; write the volume again")
    slack = (_CLIPPED if clip else _TOLERANCE) * (intensities.high - intensities.low)
    if low < intensities.low - slack or high > intensities.high + slack:
        advice = (
            "; conversion clips values that are off by a quarter of the range at most"
            if clip
            else ", or allow conversion, which takes values a little outside as the ends of the range"
        )
        raise InputError(
            f"{path}: holds values from {low:g} to {high:g}, expected {intensities}. State the range that the folder's "
            f"values really have{advice}"
        )
    unit = np.clip((voxels - intensities.low) / (intensities.high - intensities.low), 0, 1)
    volume = np.ascontiguousarray(2 * unit - 1, dtype=np.float32)
    return volume, Image(volume, affine @ inv_ornt_aff(change, image.voxels.shape))


def converted(image: Image, roi_size: int, spacing: float) -> Float[np.ndarray, "D H W"]:
    """A volume in [-1, 1] on the grid of regions of interest: resampled, then cropped or padded around the tumour's box.

    What is not above -0.9 becomes background; inside, intensities are kept (no rescaling to the brightest voxel).
    """
    mask = foreground(image.voxels)
    if not mask.any():
        return np.full((roi_size,) * 3, BACKGROUND, dtype=np.float32)
    unit = np.where(mask, (image.voxels + 1) / 2, 0)
    roi = extract(Image(unit, image.affine), Image(mask.astype(np.uint8), image.affine), roi_size, spacing)
    inside = roi.volume > BACKGROUND
    values = 2 * denormalise(roi.volume, roi.intensity_range) - 1
    return np.where(inside, values, BACKGROUND).astype(np.float32)


def _affine_of(axes: str, spacing: float) -> Float[np.ndarray, "4 4"]:
    pairs = ("LR", "PA", "IS")
    if sorted(next((i for i, pair in enumerate(pairs) if code in pair), -1) for code in axes) != [0, 1, 2]:
        raise InputError(
            f"axes: found {axes!r}, expected three letters, one of L/R, one of A/P, one of I/S, for example SPL"
        )
    affine = np.zeros((4, 4))
    for column, code in enumerate(axes):
        row = next(i for i, pair in enumerate(pairs) if code in pair)
        affine[row, column] = spacing if code in "RAS" else -spacing
    affine[3, 3] = 1.0
    return affine
