"""Unbiased MMD^2 from a precomputed kernel matrix, with interval, permutation test and real-versus-real floor.

Everything is one formula over weights of the pooled cases, so that a thousand relabellings or resamples are two matrix
products. `kernel` is (cases, cases), float64, generated cases first, then real ones, unless said otherwise.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tumorgen.metrics.metric import Group, Measure, Real, Rows, Volumes, groups
from tumorgen.metrics.resampling import central_range, floor_of, half_splits, permutation_test
from tumorgen.results.records import Floor, Interval, Record

Kernel = Float[Tensor, "cases cases"]
Weights = Float[Tensor, "rows cases"]


def mmd2_unbiased(
    kernel_xx: Float[Tensor, "m m"], kernel_yy: Float[Tensor, "n n"], kernel_xy: Float[Tensor, "m n"]
) -> Float[Tensor, ""]:
    """The unbiased estimate of the squared maximum mean discrepancy; m and n may differ; it may be negative.

    Mean over pairs of different x, plus that of different y, minus twice that of x with y (Gretton et al. 2012,
    JMLR 13, equation 3).

    Raises:
        ValueError: There are fewer than two cases of either.
    """
    m, n = kernel_xy.shape
    if min(m, n) < 2:
        raise ValueError(f"{m} and {n} cases: an unbiased MMD needs at least two of either")
    within_x = (kernel_xx.sum() - kernel_xx.trace()) / (m * (m - 1))
    within_y = (kernel_yy.sum() - kernel_yy.trace()) / (n * (n - 1))
    return within_x + within_y - 2 * kernel_xy.mean()


def mmd2_weighted(kernel: Kernel, x: Weights, y: Weights) -> Float[Tensor, " rows"]:
    """MMD^2 per row of weights: means over pairs of DIFFERENT cases, weighted by how often each case was drawn.

    With weights 0 and 1 this is `mmd2_unbiased` of the cases with weight 1. With the counts of a bootstrap draw, a case
    and its copies never form a pair.
    """
    x, y = x.to(kernel), y.to(kernel)
    across = ((x @ kernel) * y).sum(1) / (x.sum(1) * y.sum(1))
    return _mean_within(kernel, x) + _mean_within(kernel, y) - 2 * across


def _mean_within(kernel: Kernel, weights: Weights) -> Float[Tensor, " rows"]:
    squares = weights.square()
    pairs = weights.sum(1).square() - squares.sum(1)
    return (((weights @ kernel) * weights).sum(1) - squares @ kernel.diagonal()) / pairs


def mmd2(kernel: Kernel, num_x: int) -> float:
    """MMD^2 between the first `num_x` of the pooled cases and the rest."""
    return float(mmd2_unbiased(kernel[:num_x, :num_x], kernel[num_x:, num_x:], kernel[:num_x, num_x:]))


def mmd2_interval(kernel: Kernel, num_x: int, *, seed: int, resamples: int = 1000, level: float = 0.95) -> Interval:
    """Percentile bootstrap of MMD^2 over cases of either sample.

    Drawn with replacement, a case pairs with its own copy, k(x, x) = 1 for an RBF kernel, and MMD^2 comes out too large
    by about (1 - mean k) (1/m + 1/n), often more than its value. Here such pairs are left out. Between equal
    distributions the interval is wider than it need be, never narrower: the linear term of the statistic, which
    vanishes there, does not vanish in resamples (Arcones and Gine 1992).
    """
    rng, cases = np.random.default_rng(seed), len(kernel)
    counts = np.zeros((2, resamples, cases))
    counts[0, :, :num_x] = rng.multinomial(num_x, np.full(num_x, 1 / num_x), resamples)
    num_y = cases - num_x
    counts[1, :, num_x:] = rng.multinomial(num_y, np.full(num_y, 1 / num_y), resamples)
    low, high = central_range(mmd2_weighted(kernel, *torch.from_numpy(counts)), level)
    method = f"percentile bootstrap over cases without pairs of equal cases, {resamples} resamples"
    return Interval(low, high, method, level)


def mmd2_p_value(kernel: Kernel, num_x: int, *, seed: int, permutations: int = 1000) -> float:
    """p-value of the permutation test that x and y come from one distribution, with MMD^2 as the statistic."""

    def statistic(rows: Bool[Tensor, "splits cases"]) -> Float[Tensor, " splits"]:
        return mmd2_weighted(kernel, rows, ~rows)

    return permutation_test(statistic, torch.arange(len(kernel)) < num_x, seed=seed, permutations=permutations)


def mmd2_floor(real_kernel: Kernel, *, seed: int, splits: int = 200) -> Floor:
    """MMD^2 between random halves of the real cases, whose kernel matrix this is.

    Raises:
        ValueError: There are fewer than four cases.
    """
    cases = len(real_kernel)
    weights = torch.zeros(2, splits, cases, dtype=real_kernel.dtype)
    for row, halves in enumerate(half_splits(cases, seed=seed, splits=splits)):
        for side, half in enumerate(halves):
            weights[side, row, half] = 1
    return floor_of(mmd2_weighted(real_kernel, *weights), cases // 2)


def kernel_measure(
    real: Real,
    metric: str,
    rows: Callable[[Volumes], Rows],
    kernel: Callable[[Rows, Rows], Kernel],
    definition: Mapping[str, Any],
) -> Measure:
    """MMD^2 of a kernel per group, with interval, floor and permutation test.

    Args:
        real: What generated volumes are compared with.
        metric: Name of the records.
        rows: What the kernel sees of volumes.
        kernel: Of all pairs of rows.
        definition: Of the metric.
    """
    how = real.resampling

    @cache
    def floor(classes: tuple[int, ...]) -> Floor:
        own = rows(real.of(classes))
        return mmd2_floor(kernel(own, own), seed=how.seed, splits=how.splits)

    def record(group: Group) -> Record:
        pooled, m = torch.cat([rows(group.generated), rows(group.real)]), len(group.generated)
        values = kernel(pooled, pooled)
        return Record(
            metric=metric,
            value=mmd2(values, m),
            definition=definition,
            group={"class": group.name},
            counts=group.counts,
            interval=group.interval(lambda: mmd2_interval(values, m, seed=how.seed, resamples=how.resamples)),
            floor=group.floor(lambda: floor(group.classes)),
            p_value=mmd2_p_value(values, m, seed=how.seed, permutations=how.permutations),
            details={"test": f"permutation, {how.permutations} relabellings"},
        )

    return lambda generated: [record(group) for group in groups(real, generated)]
