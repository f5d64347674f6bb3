"""Are generated volumes copies of training patients? Distances to the nearest training patient, against honest ones.

Honest distances are those of held-out patients to their nearest training patient, or, where nobody was held out, of every
training patient to the nearest other one. A generated volume below the 5th percentile of these is called memorised; one in
twenty is so by chance.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from tumorgen.types import Volume

Space: TypeAlias = Literal["voxels", "features"]
Reference: TypeAlias = Literal["held-out", "leave-one-out"]
Features = Float[Tensor, "n width"]
Distances = Float[Tensor, "n m"]
Values = Float[np.ndarray, " n"]

FINEST_SIDE = 64
PERCENTILE = 5.0
_BLOCK = 32  # volumes that are unfolded at a time


class Nearest(NamedTuple):
    """The nearest training volume of every volume.

    Attributes:
        distances: To it.
        indices: Which one it is.
    """

    distances: Values
    indices: Int[np.ndarray, " n"]


class Pair(NamedTuple):
    """A generated volume and its nearest training volume.

    Attributes:
        generated: Index of the one.
        training: Index of the other.
        distance: Between them.
    """

    generated: int
    training: int
    distance: float


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


def feature_distances(x: Features, y: Features) -> Distances:
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


def threshold(reference: Values, percentile: float = PERCENTILE) -> float:
    """The distance up to which a generated volume counts as memorised: a percentile of the honest distances.

    Raises:
        ValueError: No honest distances.
    """
    if len(reference) == 0:
        raise ValueError("memorisation needs distances of held-out patients, or leave-one-out distances; got none")
    return float(np.percentile(reference, percentile))


def memorisation_share(distances: Values, reference: Values, percentile: float = PERCENTILE) -> float:
    """Share of generated volumes that lie at most as far from their nearest training patient as the percentile says.

    Args:
        distances: Of generated volumes to their nearest training patients; NaN without any.
        reference: Honest distances. With fewer than 20 the percentile lies between the two smallest, and the share for honest
            volumes varies about 5 % a lot.
        percentile: Of the honest distances.

    Raises:
        ValueError: No honest distances.
    """
    limit = threshold(reference, percentile)
    return float(np.mean(np.asarray(distances) <= limit)) if len(distances) else float("nan")


def closest_pairs(distances: Values, indices: Int[np.ndarray, " n"], n: int) -> list[Pair]:
    """The `n` generated volumes that are closest to a training volume, closest first."""
    order = np.argsort(distances, kind="stable")[:n]
    return [Pair(int(i), int(indices[i]), float(distances[i])) for i in order]


def definition(
    space: Space, reference: Reference, percentile: float = PERCENTILE, size: int | None = None
) -> dict[str, Any]:
    """What the share means, as JSON types; the caller adds the extractor of features.

    Args:
        space: Where distances are taken.
        reference: What they are held against.
        percentile: Of the honest distances.
        size: Voxels per side of the volumes, for distances of voxels.
    """
    honest = {
        "held-out": "distances of held-out patients to their nearest training patient",
        "leave-one-out": "distances of training patients to the nearest other one: none was held out",
    }
    described: dict[str, Any] = {
        "recipe": f"share of generated volumes whose nearest training patient is as near as the {percentile:g}th percentile "
        f"of {honest[reference]}, or nearer",
        "reference": reference,
        "percentile": percentile,
        "expected_for_honest_volumes": percentile / 100,
        "interval": "of the share given the limit, which depends on the honest distances, too; how much, the floor says",
        "unit": "share",
        "better": "lower",
    }
    if space == "features":
        return {**described, "distance": "Euclidean, between features"}
    side = FINEST_SIDE if size is None else min(size, FINEST_SIDE)
    return {
        **described,
        "distance": "root mean square over voxels, range [-1, 1], least over the 8 axis flips",
        "resolution": f"block means, {side} voxels per side",
    }


class MemorisationShare(Metric):
    """Share of the generated volumes seen since the last reset that are as near to a training patient as no honest one is.

    Args:
        training: `reduced` training volumes, or features of them.
        reference: Honest distances, in the same space.
        percentile: Of the honest distances.
    """

    full_state_update = False
    known: Tensor
    distances: list[Tensor]

    def __init__(
        self, training: Volume | Features, reference: Values, percentile: float = PERCENTILE, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.register_buffer("known", training, persistent=False)
        self.reference, self.percentile = reference, percentile
        self.add_state("distances", [], dist_reduce_fx="cat")

    def update(self, generated: Volume | Features) -> None:
        """Adds generated volumes in [-1, 1], or features of them, as the training ones are given."""
        if generated.ndim > 2:
            found = voxel_distances(reduced(generated, max(self.known.shape[2:])), self.known)
        else:
            found = feature_distances(generated, self.known)
        self.distances.append(found.amin(1).float())

    def compute(self) -> Tensor:
        """The share; NaN without a volume."""
        distances = dim_zero_cat(self.distances).cpu().numpy() if len(self.distances) else np.empty(0)
        return torch.tensor(memorisation_share(distances, self.reference, self.percentile))


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
