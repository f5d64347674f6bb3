"""Precision, recall, density and coverage: do two sets of features lie in each other's neighbourhoods?

Around every case lies a ball that reaches to its k-th nearest neighbour of the same set; the balls of a set are its
manifold. Precision and recall: Kynkaanniemi et al. 2019 (arXiv:1904.06991); density and coverage: Naeem et al. 2020
(arXiv:2002.09797), whose conventions hold here (the case itself is no neighbour, a ball does not hold its surface).
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tumorgen.metrics.feature_metric import FeatureMetric

K = 5

Features = Float[Tensor, "cases width"]


class Manifold(NamedTuple):
    """The four figures; all but the density lie in 0 to 1.

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
    """Euclidean distances, float64, taken once for figures of many subsets.

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


def distances(generated: Features, real: Features) -> Distances:
    """All distances within and between both sets."""

    def between(a: Features, b: Features) -> Float[Tensor, "m n"]:
        return torch.cdist(a.double(), b.double(), compute_mode="donot_use_mm_for_euclid_dist")

    return Distances(between(generated, generated), between(real, real), between(generated, real))


def manifold(distances: Distances, k: int = K) -> Manifold:
    """The four figures of generated against real cases.

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


def definition(k: int = K) -> dict[str, Any]:
    """What the four figures mean."""
    return {
        "name": f"precision, recall, density, coverage, k = {k}",
        "recipe": "balls to the k-th nearest neighbour of the same set (Kynkaanniemi et al. 2019, Naeem et al. 2020); "
        "precision: generated inside any real ball; recall: real inside any generated ball; density: real balls per "
        "generated case, over k; coverage: real balls that hold a generated case",
        "k": k,
        "inputs": "features",
        "distance": "Euclidean, features as they are",
        "unit": "share",
        "better": "higher",
    }


class PRDC(FeatureMetric):
    """`precision`, `recall`, `density` and `coverage` of all generated against all real features.

    Args:
        k: which neighbour a ball reaches to.
    """

    def __init__(self, k: int = K, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.k = k

    def figure(self, generated: Features, real: Features) -> dict[str, float]:
        """Figure by name."""
        return manifold(distances(generated, real), self.k)._asdict()
