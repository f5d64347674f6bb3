"""Frechet distance between features, with shrunk covariances where there are fewer cases than features."""

from functools import cache
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from tumorgen.metrics.metric import Extractor, Group, Measure, Metric, Real, Rows, groups, joined
from tumorgen.metrics.resampling import half_split_floor, jackknife_interval
from tumorgen.results.records import Floor, Record
from tumorgen.types import Scalar


class Gaussian(NamedTuple):
    """Moments of a set of features, float64.

    Attributes:
        mean: (width,)
        covariance: (width, width)
        shrinkage: share of the covariance that was replaced by a multiple of the identity, 0 to 1.
    """

    mean: Float[Tensor, " width"]
    covariance: Float[Tensor, "width width"]
    shrinkage: float


def needs_shrinkage(width: int, *cases: int) -> bool:
    """Whether any of the sets has a singular covariance, because it has no more cases than features.

    A value and its floor must agree in this: ask with the number of generated, of real, and of half the real cases.
    """
    return min(cases) <= width


def moments(features: Rows, *, shrink: bool) -> Gaussian:
    """Mean and covariance (n - 1), or the covariance of Ledoit and Wolf (2004, J. Multivariate Analysis 88).

    The latter mixes the covariance (n) with a multiple of the identity of the same trace, with the share that has the
    least expected squared error.

    Raises:
        ValueError: There are fewer than two cases.
    """
    n, width = features.shape
    if n < 2:
        raise ValueError(f"{n} cases have no covariance; at least two are needed")
    mean = features.double().mean(0)
    centred = features.double() - mean
    products = centred.T @ centred
    if not shrink:
        return Gaussian(mean, products / (n - 1), 0.0)
    covariance = products / n
    scale = covariance.trace() / width
    identity = torch.eye(width, dtype=torch.float64)
    distance = (covariance - scale * identity).square().sum()
    error = (centred.square().sum(1).square().sum() / n - covariance.square().sum()) / n
    share = float((error / distance).clamp(0, 1)) if distance > 0 else 0.0
    return Gaussian(mean, (1 - share) * covariance + share * scale * identity, share)


def frechet_distance(a: Gaussian, b: Gaussian) -> Scalar:
    """|mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)), at least 0 (Dowson and Landau 1982).

    With R R^T = S_a, the trace of the root is the sum of the roots of the eigenvalues of R^T S_b R, which is symmetric:
    unlike a matrix root of S_a S_b it stays real for singular covariances.
    """
    values, vectors = torch.linalg.eigh(a.covariance)
    root = vectors * values.clamp_min(0).sqrt()
    overlap = torch.linalg.eigvalsh(root.T @ b.covariance @ root).clamp_min(0).sqrt().sum()
    distance = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * overlap
    return distance.clamp_min(0)


def fid(generated: Rows, real: Rows, *, shrink: bool | None = None) -> float:
    """Frechet distance (Heusel et al. 2017, arXiv:1706.08500) between Gaussians fitted to features.

    Biased upwards for few cases: compare only values of equal numbers, and give KID beside it.

    Args:
        generated: one row per case.
        real: one row per case.
        shrink: shrink both covariances; by default where `needs_shrinkage` says so for these numbers of cases.

    Raises:
        ValueError: There are fewer than two cases of either.
    """
    if shrink is None:
        shrink = needs_shrinkage(generated.shape[1], len(generated), len(real))
    return float(frechet_distance(moments(generated, shrink=shrink), moments(real, shrink=shrink)))


def definition(*, shrink: bool, width: int) -> dict[str, Any]:
    """What the value means.

    Args:
        shrink: as it was given to `fid`.
        width: number of features.
    """
    why = f"Ledoit-Wolf shrinkage of both covariances, since a set has no more cases than the {width} features"
    return {
        "title": "FID, 3D",
        "recipe": "Frechet distance between Gaussians fitted to features (Heusel et al. 2017)",
        "inputs": "features",
        "width": width,
        "regularisation": why if shrink else "none",
        "bias": "upwards for few cases: compare values of equal numbers only",
        "unit": "squared feature",
        "better": "lower",
    }


class FID(Metric):
    """`fid`: in every feature space."""

    def prepare(self, real: Real) -> Measure:
        """Nothing but the floors."""
        return joined([_measure(real, extractor) for extractor in real.extractors])


def _measure(real: Real, extractor: Extractor) -> Measure:
    how = real.resampling

    @cache
    def floor(classes: tuple[int, ...], shrink: bool) -> Floor:
        splits = max(1, how.splits // 4)
        own = real.of(classes).features(extractor)
        return half_split_floor(lambda a, b: fid(a, b, shrink=shrink), own, seed=how.seed, splits=splits)

    def record(group: Group) -> Record:
        x, y = group.generated.features(extractor), group.real.features(extractor)
        shrink = needs_shrinkage(x.shape[1], len(x), len(y) // 2)

        def statistic(a: Rows, b: Rows) -> float:
            return fid(a, b, shrink=shrink)

        return Record(
            metric="fid",
            value=statistic(x, y),
            definition={**definition(shrink=shrink, width=x.shape[1]), "extractor": extractor.description()},
            group={"class": group.name},
            counts=group.counts,
            interval=group.interval(
                lambda: jackknife_interval(statistic, x, y, seed=how.seed, groups=10, limits=(0, torch.inf))
            ),
            floor=group.floor(lambda: floor(group.classes, shrink)),
        )

    return lambda generated: [record(group) for group in groups(real, generated)]
