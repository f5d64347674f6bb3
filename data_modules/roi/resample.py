"""Antialiased linear resampling of a masked volume along its axes."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float


def resample(
    values: Float[np.ndarray, "D H W"],
    mask: Bool[np.ndarray, "D H W"],
    coordinates: Sequence[Float[np.ndarray, " n"]],
    scale: Sequence[float] | Float[np.ndarray, "3"],
) -> tuple[Float[np.ndarray, "D2 H2 W2"], Bool[np.ndarray, "D2 H2 W2"]]:
    """Resamples intensities within a mask, and the mask.

    A voxel belongs to the new mask where more than half of the kernel lies on the old one; its intensity is the mean
    over the part of the kernel inside the mask, so that nothing from outside enters.

    Args:
        values: float32 intensities, 0 outside the mask.
        mask: Where the intensities count.
        coordinates: For every axis the positions of the new voxels, in indices of the old ones.
        scale: For every axis the distance of new voxels in old voxels; above 1 the kernel widens with it.

    Returns:
        float32 intensities (0 outside the mask) and the mask, on the new grid.
    """
    weights = [
        _linear_weights(positions, length, max(1.0, float(step)))
        for positions, length, step in zip(coordinates, values.shape, scale, strict=True)
    ]
    share = _apply(mask.astype(np.float32), weights)
    # a plain 0.5 would let rounding decide on voxels that lie half inside
    inside = share > 0.5 + 1e-6
    sums = _apply(values, weights)
    return np.divide(sums, share, out=np.zeros_like(sums), where=inside), inside


def _linear_weights(positions: Float[np.ndarray, " n"], length: int, width: float) -> Float[np.ndarray, "n length"]:
    """Triangle kernel of half-width `width` around every position; what lies off the grid counts as background."""
    reach = np.arange(-np.ceil(width), np.ceil(width) + 2)
    neighbours = np.floor(positions)[:, None] + reach
    total = _triangle(positions[:, None] - neighbours, width).sum(axis=1, keepdims=True)
    weights: Float[np.ndarray, "n length"] = _triangle(positions[:, None] - np.arange(length), width) / total
    return weights.astype(np.float32)


def _triangle(distance: Float[np.ndarray, "*shape"], width: float) -> Float[np.ndarray, "*shape"]:
    return np.maximum(0.0, 1.0 - np.abs(distance) / width)


def _apply(
    volume: Float[np.ndarray, "D H W"], weights: list[Float[np.ndarray, "n length"]]
) -> Float[np.ndarray, "D2 H2 W2"]:
    along_d, along_h, along_w = weights
    partial = np.tensordot(along_d, volume, axes=(1, 0))  # D2 H W
    partial = np.tensordot(partial, along_h, axes=(1, 1))  # D2 W H2
    return np.tensordot(partial, along_w, axes=(1, 1))  # D2 H2 W2
