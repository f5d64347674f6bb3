"""Precision, recall, density and coverage: do two sets of features lie in each other's neighbourhoods?

Around every case lies a ball that reaches to its k-th nearest neighbour of the same set; the balls of a set are its
manifold. Precision and recall: Kynkaanniemi et al. 2019 (arXiv:1904.06991); density and coverage: Naeem et al. 2020
(arXiv:2002.09797), whose conventions hold here (the case itself is no neighbour, a ball does not hold its surface).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tumorgen.metrics.metric import Extractor, Group, Measure, Metric, Real, Rows, at_least_one, groups, joined
from tumorgen.metrics.resampling import half_split_floor, jackknife_interval
from tumorgen.results.records import Record

K = 5


class Manifold(NamedTuple):
    """The four values; all but the density lie in 0 to 1.

    Attributes:
        precision: share of generated cases inside the ball of any real case.
        recall: share of real cases inside the ball of any generated case.
        density: real balls that a generated case lies in, mean, divided by k: 1 is expected, more is possible.
        coverage: share of real cases whose ball holds any generated case.
    """

    precision: float
    recall: float
    density: float
    coverage: float


class Distances(NamedTuple):
    """Euclidean distances, float64, taken once for many subsets.

    Attributes:
        generated: (m, m)
        real: (n, n)
        between: (m, n)
    """

    generated: Float[Tensor, "m m"]
    real: Float[Tensor, "n n"]
    between: Float[Tensor, "m n"]

    def select(self, generated: Int[Tensor, " a"], real: Int[Tensor, " b"]) -> "Distances":
        """Those of some cases, by index: a class, or all but a few."""
        return Distances(
            self.generated[generated][:, generated], self.real[real][:, real], self.between[generated][:, real]
        )

    def real_halves(self, a: Int[Tensor, " a"], b: Int[Tensor, " b"]) -> "Distances":
        """Those of some real cases, by index, in the place of the generated ones, and others."""
        return Distances(self.real[a][:, a], self.real[b][:, b], self.real[a][:, b])


def distances(generated: Rows, real: Rows) -> Distances:
    """All distances within and between both sets."""

    def between(a: Rows, b: Rows) -> Float[Tensor, "m n"]:
        return torch.cdist(a.double(), b.double(), compute_mode="donot_use_mm_for_euclid_dist")

    return Distances(between(generated, generated), between(real, real), between(generated, real))


def manifold(distances: Distances, k: int = K) -> Manifold:
    """The four values of generated against real cases.

    Args:
        distances: of `distances`.
        k: which neighbour a ball reaches to; 5 in Naeem et al.

    Raises:
        ValueError: A set has no k-th neighbour.
    """
    in_real = distances.between < _radii(distances.real, k)
    in_generated = distances.between < _radii(distances.generated, k)[:, None]
    return Manifold(
        precision=float(in_real.any(1).double().mean()),
        recall=float(in_generated.any(0).double().mean()),
        density=float(in_real.sum(1).double().mean() / k),
        coverage=float(in_real.any(0).double().mean()),
    )


def _radii(within: Float[Tensor, "n n"], k: int) -> Float[Tensor, " n"]:
    if len(within) <= k:
        raise ValueError(f"{len(within)} cases have no {k}th neighbour; at least {k + 1} are needed")
    to_others = within.clone().fill_diagonal_(torch.inf)
    return to_others.kthvalue(k, dim=1).values


def definition(title: str, k: int = K) -> dict[str, Any]:
    """What one of the four (`precision`, ...) means."""
    return {
        "title": title,
        "recipe": "balls to the k-th nearest neighbour of the same set (Kynkaanniemi et al. 2019, Naeem et al. 2020); "
        "precision: generated inside any real ball; recall: real inside any generated ball; density: real balls per "
        "generated case, over k; coverage: real balls that hold a generated case",
        "k": k,
        "inputs": "features",
        "distance": "Euclidean, features as they are",
        "unit": "share",
        "better": "higher",
    }


class PRDC(Metric):
    """`precision`, `recall`, `density` and `coverage` in every feature space.

    Args:
        neighbours: k, which neighbour a ball reaches to; fewer, where half of the real volumes have no such neighbour.
    """

    def __init__(self, neighbours: int = K) -> None:
        at_least_one("neighbours", neighbours)
        self.neighbours = neighbours

    def prepare(self, real: Real) -> Measure:
        """Nothing."""
        return joined([self._measure(real, extractor) for extractor in real.extractors])

    def _measure(self, real: Real, extractor: Extractor) -> Measure:
        return lambda generated: [
            record for group in groups(real, generated) for record in self._records(real, extractor, group)
        ]

    def _records(self, real: Real, extractor: Extractor, group: Group) -> list[Record]:
        """None where half of the real volumes have no neighbour at all."""
        how = real.resampling
        apart = distances(group.generated.features(extractor), group.real.features(extractor))
        m, n = apart.between.shape
        k = min(self.neighbours, m - 2, n // 2 - 1)
        if k < 1:
            return []
        indices = (torch.arange(m), torch.arange(n))
        records = []
        for name, value in manifold(apart, k)._asdict().items():
            between, halves = _of(apart.select, name, k), _of(apart.real_halves, name, k)
            limits = (0.0, torch.inf if name == "density" else 1.0)
            records.append(
                Record(
                    metric=name,
                    value=value,
                    definition={**definition(name, k), "extractor": extractor.description()},
                    group={"class": group.name},
                    counts=group.counts,
                    interval=jackknife_interval(between, *indices, seed=how.seed, limits=limits),
                    floor=half_split_floor(halves, indices[1], seed=how.seed, splits=how.splits),
                )
            )
        return records


def _of(chosen: Callable[[Tensor, Tensor], Distances], name: str, k: int) -> Callable[[Tensor, Tensor], float]:
    return lambda a, b: float(getattr(manifold(chosen(a, b), k), name))
