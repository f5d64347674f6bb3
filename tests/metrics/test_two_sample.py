"""Unbiased MMD^2 from a kernel matrix: brute force, closed forms on Gaussians, coverage, and the test's level and power."""

import math
import time

import numpy as np
import pytest
import torch

from tumorgen.metrics.mmd import rbf_kernel
from tumorgen.metrics.resampling import half_split_floor, half_splits
from tumorgen.metrics.two_sample import (
    mmd2,
    mmd2_floor,
    mmd2_interval,
    mmd2_p_value,
    mmd2_unbiased,
    mmd2_weighted,
)

WIDTH = 32
BANDWIDTH = math.sqrt(2 * WIDTH)


def gaussians(cases, shift=0.0, seed=0):
    rows = torch.randn(cases, WIDTH, generator=torch.Generator().manual_seed(seed)).double()
    rows[:, 0] += shift
    return rows


def pooled(x, y):
    z = torch.cat([x, y])
    return rbf_kernel(z, z, BANDWIDTH)


def true_mmd2(shift):
    """Of two unit Gaussians under the RBF kernel."""
    variance = BANDWIDTH**2
    same = (variance / (variance + 2)) ** (WIDTH / 2)
    return 2 * same * (1 - math.exp(-(shift**2) / (2 * (variance + 2))))


@pytest.fixture
def kernel():
    return pooled(gaussians(7, 1.0), gaussians(4, seed=1))


def test_by_brute_force(kernel):
    xs, ys = range(7), range(7, 11)
    expected = np.mean([float(kernel[i, j]) for i in xs for j in xs if i != j])
    expected += np.mean([float(kernel[i, j]) for i in ys for j in ys if i != j])
    expected -= 2 * np.mean([float(kernel[i, j]) for i in xs for j in ys])
    assert mmd2(kernel, 7) == pytest.approx(expected, rel=1e-12)


def test_weights_of_zero_and_one_choose_cases(kernel):
    x, y = torch.tensor([0, 2, 9]), torch.tensor([1, 4, 8, 10])
    rows = torch.zeros(2, 11)
    rows[0, x], rows[1, y] = 1, 1
    expected = mmd2_unbiased(kernel[x][:, x], kernel[y][:, y], kernel[x][:, y])
    assert float(mmd2_weighted(kernel, rows[:1], rows[1:])) == pytest.approx(float(expected), rel=1e-12)


def test_copies_of_a_case_form_no_pair(kernel):
    counts = torch.tensor([2, 0, 1, 3, 0, 0, 1, 0, 0, 0, 0])
    drawn = [case for case, times in enumerate(counts) for _ in range(times)]
    pairs = [(i, j) for i in drawn for j in drawn if i != j]
    ys = range(7, 11)
    expected = np.mean([float(kernel[i, j]) for i, j in pairs])
    expected += np.mean([float(kernel[i, j]) for i in ys for j in ys if i != j])
    expected -= 2 * np.mean([float(kernel[i, j]) for i in drawn for j in ys])
    found = mmd2_weighted(kernel, counts[None], (torch.arange(11) >= 7)[None])
    assert float(found) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_is_unbiased_for_unequal_numbers(shift):
    values = [mmd2(pooled(gaussians(60, shift, 2 * s), gaussians(15, 0, 2 * s + 1)), 60) for s in range(150)]
    assert np.mean(values) == pytest.approx(true_mmd2(shift), abs=3.5 * np.std(values) / len(values) ** 0.5)


@pytest.mark.parametrize(("shift", "least"), [(0.0, 0.95), (1.5, 0.9)])
def test_the_interval_covers_the_truth(shift, least):
    covered, copies_covered = [], []
    for s in range(100):
        kernel = pooled(gaussians(60, shift, 2 * s), gaussians(30, 0, 2 * s + 1))
        interval = mmd2_interval(kernel, 60, seed=s, resamples=300)
        covered.append(interval.low <= true_mmd2(shift) <= interval.high)
        if s < 20:
            rng = np.random.default_rng(s)
            draws = [(rng.integers(0, 60, 60), rng.integers(60, 90, 30)) for _ in range(60)]
            values = [
                float(mmd2_unbiased(kernel[np.ix_(x, x)], kernel[np.ix_(y, y)], kernel[np.ix_(x, y)])) for x, y in draws
            ]
            low, high = np.percentile(values, [2.5, 97.5])
            copies_covered.append(low <= true_mmd2(shift) <= high)
    assert np.mean(covered) >= least
    # what the exclusion of equal cases is for
    assert np.mean(copies_covered) < 0.5


def test_the_interval_shrinks_with_the_cases():
    few, many = (
        mmd2_interval(pooled(gaussians(n, 1.5), gaussians(n, seed=1)), n, seed=0, resamples=200) for n in (20, 200)
    )
    assert many.high - many.low < 0.5 * (few.high - few.low)
    assert many.low > 0


def test_floor_is_the_slow_one(kernel):
    found = mmd2_floor(kernel, seed=3, splits=40)

    def slow(a, b):
        return mmd2_unbiased(kernel[a][:, a], kernel[b][:, b], kernel[a][:, b])

    expected = half_split_floor(slow, torch.arange(11), seed=3, splits=40)
    assert (found.size, found.splits) == (5, 40) == (expected.size, expected.splits)
    assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))


def test_real_against_real_is_rejected_as_often_as_stated_and_others_are():
    real = gaussians(76)
    kernel = rbf_kernel(real, real, BANDWIDTH)
    begin = time.process_time()
    p_values = np.array(
        [
            mmd2_p_value(kernel[order][:, order], 38, seed=s, permutations=500)
            for s, order in enumerate(torch.cat(halves) for halves in half_splits(76, seed=0, splits=200))
        ]
    )
    assert 0.01 <= np.mean(p_values <= 0.05) <= 0.10
    assert p_values.mean() == pytest.approx(0.5, abs=0.08)
    assert time.process_time() - begin < 20
    for other in (gaussians(50, 2.0, 1), 1.5 * gaussians(50, 0, 2)):
        assert mmd2_p_value(pooled(other, real), 50, seed=0, permutations=500) < 0.01


def test_a_single_case_is_refused(kernel):
    with pytest.raises(ValueError, match="1 and 10 cases"):
        mmd2(kernel, 1)
