"""Distances between volumes, in voxels and in features, and who is nearest to whom."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from tumorgen.metrics.metric import Rows
from tumorgen.types import Volume

Distances = Float[Tensor, "n m"]
Values = Float[np.ndarray, " n"]

FINEST_SIDE = 64
_BLOCK = 32  # volumes that are unfolded at a time


class Nearest(NamedTuple):
    """The nearest training volume of every volume.

    Attributes:
        distances: To it.
        indices: Which one it is.
    """

    distances: Values
    indices: Int[np.ndarray, " n"]


def reduced(volumes: Iterable[Float[Tensor, "channel D H W"]], side: int = FINEST_SIDE) -> Volume:
    """Volumes at the resolution of the voxel distance: block means, so that no side has more than `side` voxels.

    One volume is read at a time; a reduced one takes at most 1 MB per channel. Noise averages out, so that noisy copies stay
    as close as they were; block means of a flipped volume are the flipped block means.
    """
    kept = []
    for volume in volumes:
        depth, height, width = (min(n, side) for n in volume.shape[1:])
        kept.append(F.adaptive_avg_pool3d(volume.float(), (depth, height, width)))
    return torch.stack(kept)


def voxel_distances(x: Volume, y: Volume) -> Distances:
    """Root mean square difference over voxels between all volumes of `x` and of `y`, the least over the 8 axis flips.

    Inner products of all eight flips cost what one costs: along an axis, (a, b) of opposite halves becomes (a + b, a - b),
    and a flip changes but the sign of the latter.
    """
    rows = []
    signs = _flip_signs().to(x.device)
    for block in x.split(_BLOCK):
        own, energy = _unfold(block), block.double().flatten(1).square().sum(1)
        row = []
        for other in y.split(_BLOCK):
            parts = torch.stack([a @ b.T for a, b in zip(own, _unfold(other), strict=True)])
            best = torch.einsum("fp,pnm->fnm", signs, parts).amax(0)
            row.append(energy[:, None] + other.double().flatten(1).square().sum(1) - 2 * best)
        rows.append(torch.cat(row, 1))
    return (torch.cat(rows).clamp_min(0) / x[0].numel()).sqrt()


def feature_distances(x: Rows, y: Rows) -> Distances:
    """Euclidean distances between all rows of `x` and of `y`."""
    return torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist")


def nearest(distances: Distances) -> Nearest:
    """The nearest column of every row."""
    found = distances.min(1)
    return Nearest(found.values.cpu().numpy(), found.indices.cpu().numpy())


def nearest_other(distances: Float[Tensor, "n n"], patients: Sequence[str] | None = None) -> Nearest:
    """Leave-one-out: the nearest other volume of every volume of a set, from the set's distances to itself.

    Args:
        distances: All distances within the set.
        patients: Whose volumes they are; volumes of the same patient are no others. None: each is a patient of its own.

    Raises:
        ValueError: There is but one patient.
    """
    names = np.arange(len(distances)) if patients is None else np.asarray(patients)
    same = torch.from_numpy(names[:, None] == names[None]).to(distances.device)
    if bool(same.all(1).any()):
        raise ValueError("leave-one-out distances need at least two patients")
    return nearest(distances.masked_fill(same, torch.inf))


def _unfold(x: Volume) -> list[Float[Tensor, "batch part"]]:
    """Eight parts of volumes whose inner products add up to that of the volumes: even or odd under a flip of each axis."""
    parts = [x.double()]
    for axis in (2, 3, 4):
        parts = [half for part in parts for half in _even_and_odd(part, axis)]
    return [part.flatten(1) for part in parts]


def _even_and_odd(x: Volume, axis: int) -> tuple[Tensor, Tensor]:
    n = x.shape[axis]
    low, middle, high = x.split([n // 2, n % 2, n // 2], axis)
    high = high.flip(axis)
    return torch.cat([(low + high) / 2**0.5, middle], axis), (low - high) / 2**0.5


def _flip_signs() -> Float[Tensor, "flips parts"]:
    """Sign that each of the eight parts takes under each of the eight flips, both in binary order of the axes."""
    one = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    return torch.kron(torch.kron(one, one), one)
