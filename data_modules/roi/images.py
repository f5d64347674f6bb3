"""Reading scans and masks from disk: NIfTI in any disguise, and the MetaImage files of BraTS 2015."""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from jaxtyping import Float

from data_modules.errors import InputError

_GZIP_MAGIC = b"\x1f\x8b"
_NIFTI_HEADER_SIZES = (b"\x5c\x01\x00\x00", b"\x00\x00\x01\x5c")  # 348 in either byte order; NIfTI-2 has 540
_WORLD_OF_ITK = np.diag(
    [-1.0, -1.0, 1.0, 1.0]
)  # ITK counts towards left and posterior, NIfTI towards right and anterior


@dataclass(frozen=True)
class Image:
    """A 3D image: voxels as stored (any number type) and the affine from voxel indices to RAS+ millimetres."""

    voxels: np.ndarray
    affine: Float[np.ndarray, "4 4"]


def read_image(path: Path) -> tuple[Image, str]:
    """Reads a 3D image and the SHA-256 of its file.

    Whether a file is compressed is told by its content, not by its name.

    Raises:
        InputError: if the file is missing, cut off, not an image, not 3D or has no usable position in space.
    """
    try:
        content = path.read_bytes()
        image = _read_metaimage(path) if path.suffix.lower() == ".mha" else _read_nifti(content)
    except Exception as error:  # broken bytes make zlib, nibabel and ITK raise whatever comes to them
        raise InputError(
            f"{path}: cannot be read, the file is cut off or not an image ({_last_line(error)}); copy or download it "
            "again"
        ) from error
    voxels = image.voxels
    while voxels.ndim > 3 and voxels.shape[-1] == 1:
        voxels = voxels[..., 0]
    if voxels.ndim != 3 or voxels.size == 0:
        raise InputError(f"{path}: found an image of shape {voxels.shape}, expected one 3D volume")
    if voxels.dtype.kind not in "buif":
        raise InputError(f"{path}: found voxels of type {voxels.dtype}, expected numbers (grey values or labels)")
    if not np.isfinite(image.affine).all() or abs(np.linalg.det(image.affine[:3, :3])) < 1e-9:
        raise InputError(
            f"{path}: the header gives voxels no size or position in space (affine {image.affine.tolist()})"
        )
    return Image(voxels, image.affine), hashlib.sha256(content).hexdigest()


def _read_nifti(content: bytes) -> Image:
    if content.startswith(_GZIP_MAGIC):
        content = gzip.decompress(content)
    reader = nib.Nifti1Image if content.startswith(_NIFTI_HEADER_SIZES) else nib.Nifti2Image
    image = reader.from_bytes(content)
    return Image(np.asanyarray(image.dataobj), np.asarray(image.affine, dtype=np.float64))


def _read_metaimage(path: Path) -> Image:
    # imported here: only BraTS 2015 needs it, and it takes longer to import than a NIfTI pair to read
    import SimpleITK

    image = SimpleITK.ReadImage(str(path))
    if image.GetDimension() != 3:
        raise ValueError(f"{image.GetDimension()} dimensions")
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return Image(SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0), _WORLD_OF_ITK @ affine)


def _last_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[-1] or type(error).__name__
