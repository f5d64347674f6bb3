"""Intervals, floors and the permutation test against SciPy and cases with an exact answer."""

import numpy as np
import pytest
import torch
from scipy import stats

from tumorgen.metrics.resampling import (
    bootstrap_interval,
    central_range,
    half_split_floor,
    half_splits,
    jackknife_interval,
    permutation_test,
    share_interval,
)


@pytest.fixture
def cases():
    return torch.randn(40, generator=torch.Generator().manual_seed(1)).double()


def difference(a, b):
    return a.mean() - b.mean()


def test_bootstrap_is_scipys_percentile_bootstrap(cases):
    a, b = cases[:25], cases[25:]
    found = bootstrap_interval(difference, a, b, seed=0, resamples=4000)
    expected = stats.bootstrap(
        (a.numpy(), b.numpy()),
        lambda a, b: a.mean() - b.mean(),
        n_resamples=4000,
        method="percentile",
        vectorized=False,
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert found.low == pytest.approx(expected.low, abs=0.05)
    assert found.high == pytest.approx(expected.high, abs=0.05)
    assert found.level == 0.95
    assert "4000" in found.method


@pytest.mark.parametrize(("k", "n"), [(0, 12), (3, 12), (12, 12), (1, 250)])
def test_interval_of_a_share_is_wilsons(k, n):
    """(p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n), by hand."""
    p, z = k / n, stats.norm.ppf(0.975)
    reach = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    found = share_interval(k, n)
    expected = [(p + z**2 / (2 * n) + sign * reach) / (1 + z**2 / n) for sign in (-1, 1)]
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-12)
    assert found.low < found.high
    assert 0 <= found.low <= p <= found.high <= 1
    assert found.method == f"Wilson score interval, {k} of {n}"


def test_strata_keep_their_sizes(cases):
    strata = torch.tensor([0] * 30 + [5] * 10)
    rows = torch.stack([torch.arange(40.0), strata.float()], 1)
    seen = []

    def statistic(drawn):
        seen.append((int((drawn[:, 1] == 5).sum()), len(drawn[:, 0].unique())))
        return 0.0

    bootstrap_interval(statistic, rows, seed=0, resamples=20, strata=[strata])
    assert {of_five for of_five, _ in seen} == {10}
    assert max(different for _, different in seen) < 40
    bootstrap_interval(statistic, rows, seed=0, resamples=20)
    assert len({of_five for of_five, _ in seen[20:]}) > 1


def test_jackknife_of_a_mean_is_students_interval(cases):
    found = jackknife_interval(torch.mean, cases, seed=0, groups=len(cases))
    low, high = stats.t.interval(0.95, len(cases) - 1, cases.mean(), stats.sem(cases))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_jackknife_adds_the_variances_of_its_samples(cases):
    a, b = cases[:20], 2 * cases[20:]
    found = jackknife_interval(difference, a, b, seed=0)
    reach = stats.t.ppf(0.975, 19) * (a.var() / 20 + b.var() / 20).sqrt()
    assert found.high - found.low == pytest.approx(float(2 * reach))
    assert (found.high + found.low) / 2 == pytest.approx(float(difference(a, b)))


def test_jackknife_stays_within_limits(cases):
    share = (torch.arange(40) > 0).double()
    free, bound = (jackknife_interval(torch.mean, share, seed=0, limits=to) for to in ((-9, 9), (0, 1)))
    assert free.low == bound.low
    assert free.high > bound.high == 1


def test_jackknife_in_groups_covers_the_variance():
    draws = torch.randn(200, 100, generator=torch.Generator().manual_seed(0)).double() + 3
    intervals = [jackknife_interval(torch.var, row, seed=seed) for seed, row in enumerate(draws)]
    covered = np.mean([interval.low <= 1 <= interval.high for interval in intervals])
    assert 0.85 <= covered <= 0.99


@pytest.mark.parametrize(("cases", "half"), [(10, 5), (11, 5)])
def test_halves_are_disjoint_and_equal(cases, half):
    pairs = list(half_splits(cases, seed=0, splits=50))
    assert len(pairs) == 50
    for a, b in pairs:
        assert len(a) == len(b) == half
        assert len(set(a.tolist()) | set(b.tolist())) == 2 * half
    assert {i for a, b in pairs for i in (*a.tolist(), *b.tolist())} == set(range(cases))
    assert len({tuple(sorted(a.tolist())) for a, _ in pairs}) > 25


def test_floor_of_a_difference_of_means(cases):
    floor = half_split_floor(difference, cases, seed=0, splits=500)
    expected = [float(cases[a].mean() - cases[b].mean()) for a, b in half_splits(40, seed=0, splits=500)]
    assert floor.value == pytest.approx(np.mean(expected))
    assert (floor.low, floor.high) == pytest.approx(tuple(np.percentile(expected, [2.5, 97.5])))
    assert (floor.splits, floor.size) == (500, 20)
    # sampling without replacement from 40: exact standard deviation of the difference
    assert np.std(expected) == pytest.approx(float(cases.var() * 4 / 40) ** 0.5, rel=0.1)


def test_too_few_cases_for_halves_are_refused():
    with pytest.raises(ValueError, match="3 real cases"):
        half_split_floor(difference, torch.zeros(3), seed=0)


def of_means(values):
    def statistic(rows):
        x, y = rows.to(values), (~rows).to(values)
        return (x @ values) / x.sum(1) - (y @ values) / y.sum(1)

    return statistic


def test_permutations_are_scipys(cases):
    in_x = torch.arange(40) < 12
    values = cases + (difference(cases[12:], cases[:12]) + 0.4) * in_x  # means apart by 0.4
    found = permutation_test(of_means(values), in_x, seed=0, permutations=5000)
    expected = stats.permutation_test(
        (values[:12].numpy(), values[12:].numpy()),
        lambda a, b: a.mean() - b.mean(),
        n_resamples=5000,
        alternative="greater",
        vectorized=False,
        rng=np.random.default_rng(0),
    ).pvalue
    assert 0.01 < expected < 0.5
    assert found == pytest.approx(expected, abs=0.02)


def test_the_least_and_the_largest_p_value():
    in_x = torch.arange(40) < 20
    separated = 10 * in_x.double() + torch.linspace(0, 1, 40)
    assert permutation_test(of_means(separated), in_x, seed=0, permutations=99) == pytest.approx(1 / 100)
    assert permutation_test(lambda rows: torch.ones(len(rows)), in_x, seed=0, permutations=99) == 1


def test_ties_count_against_rejection():
    """Four of the five cases of x are 0.1, as five of all ten are: a hypergeometric tail, whatever the rounding."""
    values = 0.1 * torch.tensor([1, 1, 1, 1, 0, 1, 0, 0, 0, 0]).double()
    found = permutation_test(of_means(values), torch.arange(10) < 5, seed=0, permutations=5000)
    assert found == pytest.approx(stats.hypergeom.sf(3, 10, 5, 5), abs=0.015)


def test_relabellings_keep_the_sizes():
    seen = []

    def statistic(rows):
        seen.append(rows)
        return rows[:, 0].double()

    permutation_test(statistic, torch.arange(9) < 4, seed=0, permutations=50)
    assert seen[0].shape == (51, 9)
    assert seen[0].sum(1).tolist() == [4] * 51
    assert len({tuple(row) for row in seen[0].tolist()}) > 30


def test_seeds_decide_and_nobody_elses_numbers_move(cases):
    torch.manual_seed(0)
    np.random.seed(0)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(0)
    np.random.seed(0)
    one, again, other = (bootstrap_interval(torch.mean, cases, seed=seed, resamples=50) for seed in (0, 0, 1))
    assert one == again != other
    assert jackknife_interval(torch.var, cases, seed=3) == jackknife_interval(torch.var, cases, seed=3)
    assert half_split_floor(difference, cases, seed=2) == half_split_floor(difference, cases, seed=2)
    assert (torch.rand(1), np.random.rand()) == expected


def test_central_range():
    assert central_range(torch.arange(101.0), 0.9) == pytest.approx((5, 95))
