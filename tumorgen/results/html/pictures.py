"""Pictures inside of the page: strips of slices, and files of results made small enough."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from data_modules.errors import InputError
from tumorgen.results.sheets import PLANES, Array, centre, planes

WIDEST = 1600
LARGEST = 250_000
TILE = 96


def embedded(path: Path) -> str:
    """A picture as a `data:` URL, at most 1600 pixels wide; files above 250 kB are stored as WebP.

    Raises:
        InputError: The file is missing or no picture.
    """
    try:
        content = path.read_bytes()
        picture = Image.open(io.BytesIO(content))
        if len(content) <= LARGEST and picture.width <= WIDEST:
            return data_url(content, f"image/{(picture.format or 'png').lower()}")
        image = picture.convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(f"{path}: is missing or no picture ({error}); run the command that drew it again") from error
    image.thumbnail((WIDEST, 10 * WIDEST), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "webp", quality=85)
    return data_url(stream.getvalue(), "image/webp")


def data_url(content: bytes, kind: str) -> str:
    """Bytes as a URL that needs no file."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def strip(volumes: Sequence[Array]) -> str:
    """Slices through the tumours of (D, H, W) volumes in [-1, 1] as a `data:` URL: a column each, a row per plane.

    Voxels are enlarged by whole numbers and nothing else is done to them; large volumes are shown voxel by pixel.
    """
    columns = [[_tile(image) for image in planes(volume, centre(volume))] for volume in volumes]
    rows = [np.concatenate([column[plane] for column in columns], axis=1) for plane in range(len(PLANES))]
    stream = io.BytesIO()
    Image.fromarray(np.concatenate(rows)).save(stream, "png", optimize=True)
    return data_url(stream.getvalue(), "image/png")


def grey(values: Array) -> npt.NDArray[np.uint8]:
    """[-1, 1] as 0..255."""
    scaled: npt.NDArray[np.uint8] = np.rint((np.clip(values, -1, 1) + 1) * 127.5).astype(np.uint8)
    return scaled


def _tile(image: Array) -> npt.NDArray[np.uint8]:
    times = max(1, TILE // max(image.shape))
    return np.pad(np.kron(grey(image), np.ones((times, times), dtype=np.uint8)), 1, constant_values=40)
