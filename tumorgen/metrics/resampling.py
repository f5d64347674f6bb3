"""How sure a value is, from the cases at hand: intervals, the real-versus-real floor, and a permutation test.

Three intervals. Resampling with replacement draws some cases twice. A mean over cases does not mind: bootstrap. A value
of pairs, neighbours or covariances does: a case and its copy are a pair of distance zero, which makes a sample less
diverse than it is and biases the value. Those take the jackknife, which leaves cases out, or, for kernels,
`tumorgen.metrics.two_sample.mmd2_interval`. Of a share of none or all, the bootstrap knows nothing: Wilson's interval.
Random numbers come from a generator of their own.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float
from scipy import stats
from torch import Tensor

from tumorgen.results.records import Floor, Interval

Statistic = Callable[..., Tensor | float]
SplitStatistic = Callable[[Bool[Tensor, "splits cases"]], Float[Tensor, " splits"]]


def bootstrap_interval(
    statistic: Statistic,
    *samples: Tensor,
    seed: int,
    resamples: int = 1000,
    level: float = 0.95,
    strata: Sequence[Tensor] | None = None,
) -> Interval:
    """Percentile bootstrap over cases (Efron and Tibshirani 1993, section 13.3), for means over cases.

    Args:
        statistic: takes as many tensors as there are samples, gives one value.
        *samples: tensors of shape (cases, ...), drawn independently of each other.
        seed: of the draws.
        resamples: how many times the value is taken again.
        level: nominal coverage.
        strata: for every sample an integer per case; each stratum keeps its size. For example the classes.
    """
    rng = np.random.default_rng(seed)
    labels = [np.zeros(len(sample), int) for sample in samples] if strata is None else [s.numpy() for s in strata]

    def again() -> float:
        drawn = [sample[_with_replacement(label, rng)] for sample, label in zip(samples, labels, strict=True)]
        return float(statistic(*drawn))

    low, high = central_range([again() for _ in range(resamples)], level)
    by = "" if strata is None else " within strata"
    return Interval(low, high, f"percentile bootstrap over cases{by}, {resamples} resamples", level)


def share_interval(k: int, n: int, level: float = 0.95) -> Interval:
    """Wilson interval of a share of cases (Wilson 1927): unlike the bootstrap's it has a width where none or all are counted.

    Args:
        k: cases that are counted.
        n: all cases, at least one.
        level: nominal coverage.
    """
    found = stats.binomtest(k, n).proportion_ci(confidence_level=level, method="wilson")
    return Interval(float(found.low), float(found.high), f"Wilson score interval, {k} of {n}", level)


def jackknife_interval(
    statistic: Statistic,
    *samples: Tensor,
    seed: int,
    groups: int = 20,
    level: float = 0.95,
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> Interval:
    """Delete-a-group jackknife, for values of pairs, neighbours or covariances.

    Each sample is cut into `groups` random parts; the variance is that of the value without each part in turn, summed
    over the samples, which are independent (Kott 2001, J. Official Statistics 17). Student's t with groups - 1 degrees
    of freedom around the value of all cases: a bias of the value in the number of cases stays in the interval.

    Args:
        statistic: takes as many tensors as there are samples, gives one value.
        *samples: tensors of shape (cases, ...). Indices into precomputed distances or features do well.
        seed: of the random parts.
        groups: parts per sample, at most its number of cases.
        level: nominal coverage.
        limits: the least and the largest value there can be; (0, 1) for a share.
    """
    rng = np.random.default_rng(seed)
    value, variance = float(statistic(*samples)), 0.0
    for position, sample in enumerate(samples):
        parts = min(groups, len(sample))
        part_of = torch.from_numpy(rng.permutation(len(sample)) % parts)
        without = [
            float(statistic(*samples[:position], sample[part_of != part], *samples[position + 1 :]))
            for part in range(parts)
        ]
        variance += (parts - 1) * float(np.var(without))
    fewest = min(groups, *(len(sample) for sample in samples))
    reach = float(stats.t.ppf((1 + level) / 2, fewest - 1)) * variance**0.5
    low, high = max(value - reach, limits[0]), min(value + reach, limits[1])
    cut = ", cut to possible values" if limits != (-math.inf, math.inf) else ""
    return Interval(low, high, f"delete-a-group jackknife over cases, {groups} groups{cut}", level)


def half_splits(cases: int, *, seed: int, splits: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Indices of two disjoint random halves, `splits` times; of an odd number one random case stays out.

    Raises:
        ValueError: There are fewer than four cases.
    """
    if cases < 4:
        raise ValueError(f"{cases} real cases cannot be split into halves; at least 4 are needed")
    rng, half = np.random.default_rng(seed), cases // 2
    for _ in range(splits):
        order = torch.from_numpy(rng.permutation(cases))
        yield order[:half], order[half : 2 * half]


def half_split_floor(statistic: Statistic, real: Tensor, *, seed: int, splits: int = 200) -> Floor:
    """The value between random halves of the real cases: no generator can be expected to beat it.

    Args:
        statistic: takes two tensors of shape (half, ...), gives one value.
        real: (cases, ...): features, or indices into something precomputed.
        seed: of the splits.
        splits: how many.

    Raises:
        ValueError: There are fewer than four cases.
    """
    halves = half_splits(len(real), seed=seed, splits=splits)
    return floor_of([float(statistic(real[a], real[b])) for a, b in halves], len(real) // 2)


def floor_of(values: Sequence[float] | Float[Tensor, " splits"], half: int) -> Floor:
    """Mean and central 95 % of values between two halves of `half` real cases each."""
    low, high = central_range(values, 0.95)
    return Floor(float(np.mean(np.asarray(values))), low, high, len(values), half)


def permutation_test(
    statistic: SplitStatistic, in_x: Bool[Tensor, " cases"], *, seed: int, permutations: int = 1000
) -> float:
    """p-value of "both samples come from one distribution": how often a random relabelling scores as high.

    (1 + relabellings that score at least the observed value) / (1 + relabellings), which is never zero and never
    rejects too often (Phipson and Smyth 2010).

    Args:
        statistic: takes a row of booleans per relabelling (which pooled cases are x), gives a value per row. With
            precomputed kernel or distances this costs a matrix product.
        in_x: which of the pooled cases are x.
        seed: of the relabellings.
        permutations: how many.
    """
    rng = np.random.default_rng(seed)
    rows = rng.permuted(np.broadcast_to(in_x.numpy(), (permutations, len(in_x))), axis=1)
    values = statistic(torch.cat([in_x[None], torch.from_numpy(rows)]))
    # the observed labelling itself may come up again, with another rounding
    slack = 1e-9 * values.abs().max()
    return float((1 + (values[1:] >= values[0] - slack).sum()) / (1 + permutations))


def central_range(values: Sequence[float] | Float[Tensor, " n"], level: float) -> tuple[float, float]:
    """Percentiles that leave (1 - level) / 2 of the values on either side."""
    low, high = np.quantile(np.asarray(values), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _with_replacement(labels: npt.NDArray[np.int64], rng: np.random.Generator) -> Tensor:
    """Indices of as many cases of every stratum as there are."""
    strata = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return torch.from_numpy(np.concatenate([rng.choice(stratum, len(stratum)) for stratum in strata]))
