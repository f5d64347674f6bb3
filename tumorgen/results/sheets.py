"""Picture sheets of volumes: three planes through the tumour, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data_modules.files import atomic_path
from data_modules.roi.extract import FOREGROUND_THRESHOLD

Array = npt.NDArray[np.float32]

PLANES = ("axial", "coronal", "sagittal")


@dataclass(frozen=True)
class Reconstructed:
    """One row of a reconstruction sheet.

    Attributes:
        title: What the row shows, for example the class and the case.
        original: (D, H, W) in [-1, 1].
        reconstruction: (D, H, W) in [-1, 1].
        importance: (d, h, w) scores in (0, 1) on the token grid.
    """

    title: str
    original: Array
    reconstruction: Array
    importance: Array


def centre(volume: Array) -> tuple[int, int, int]:
    """Voxel through which to cut: the centre of mass of the foreground, or of the array when there is none."""
    foreground = np.argwhere(volume > FOREGROUND_THRESHOLD)
    middle = foreground.mean(axis=0) if len(foreground) else (np.array(volume.shape) - 1) / 2
    depth, row, column = (round(float(value)) for value in middle)
    return depth, row, column


def planes(volume: Array, at: tuple[int, int, int]) -> list[Array]:
    """Axial, coronal and sagittal slice of a (D, H, W) volume through the voxel `at`; superior up, anterior up.

    Rows of an LPS volume run towards posterior and depth towards superior, so the two cuts along depth are flipped.
    """
    depth, row, column = at
    return [volume[depth], volume[::-1, row], volume[::-1, :, column]]


def enlarge(scores: Array, shape: tuple[int, ...]) -> Array:
    """A score map (d, h, w) repeated to the size of the volume it belongs to."""
    for axis, size in enumerate(shape):
        scores = np.repeat(scores, size // scores.shape[axis], axis=axis)
    return scores


def reconstruction_sheet(rows: Sequence[Reconstructed]) -> Figure:
    """A sheet with one row per case: original, reconstruction and importance overlay, three planes each."""
    columns = 3 * len(PLANES)
    figure, axes = _grid(len(rows), columns)
    for line, row in zip(axes, rows, strict=True):
        at = centre(row.original)
        scores = planes(enlarge(row.importance, row.original.shape), at)
        for index, (original, reconstruction, score) in enumerate(
            zip(planes(row.original, at), planes(row.reconstruction, at), scores, strict=True)
        ):
            _show(line[index], original)
            _show(line[3 + index], reconstruction)
            _show(line[6 + index], original)
            line[6 + index].imshow(score, cmap="inferno", alpha=0.55, vmin=0, vmax=1, interpolation="nearest")
        line[0].set_ylabel(row.title, fontsize=8)
    for index, axis in enumerate(axes[0]):
        part = ("original", "reconstruction", "importance")[index // 3]
        axis.set_title(f"{part}\n{PLANES[index % 3]}", fontsize=8)
    return figure


def gallery(rows: Sequence[tuple[str, Sequence[Array]]], plane: int = 0) -> Figure:
    """A sheet with one row per group of volumes: one slice through each tumour.

    Args:
        rows: Title and (D, H, W) volumes of each row; rows may differ in length.
        plane: Index into `PLANES`.
    """
    figure, axes = _grid(len(rows), max(len(volumes) for _, volumes in rows))
    for line, (title, volumes) in zip(axes, rows, strict=True):
        for axis, volume in zip(line, volumes, strict=False):
            _show(axis, planes(volume, centre(volume))[plane])
        line[0].set_ylabel(title, fontsize=8)
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Writes a figure as PNG, atomically, and returns the path."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    return path


def _grid(rows: int, columns: int) -> tuple[Figure, npt.NDArray[np.object_]]:
    figure = Figure(figsize=(1.25 * columns + 0.4, 1.25 * rows + 0.4), layout="compressed")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        for side in axis.spines.values():
            side.set_visible(False)
    return figure, axes


def _show(axis: Axes, image: Array) -> None:
    axis.imshow(image, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
