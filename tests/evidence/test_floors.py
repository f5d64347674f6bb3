"""Does the two-sample test mean what it says? Real against real is let through, noise and the other class are not."""

import pytest
import torch
from phantom_regions import regions

from tumorgen.metrics.mmd import block_means, median_bandwidth, rbf_kernel
from tumorgen.metrics.resampling import half_splits
from tumorgen.metrics.two_sample import mmd2_p_value

SPLITS = 200


def p_value(x, y, bandwidth):
    """Permutation test of two sets of features."""
    pooled = torch.cat([x, y])
    return mmd2_p_value(rbf_kernel(pooled, pooled, bandwidth), len(x), seed=0)


def rejected_share(features, bandwidth):
    """Share of random half splits of one set that the test at 0.05 takes for different."""
    kernel = rbf_kernel(features, features, bandwidth)
    rejected = 0
    for number, (first, second) in enumerate(half_splits(len(features), seed=0, splits=SPLITS)):
        order = torch.cat([first, second])
        rejected += mmd2_p_value(kernel[order][:, order], len(first), seed=number, permutations=400) <= 0.05
    return rejected / SPLITS


def noise_like(volumes):
    """Uniform noise inside the outlines of real tumours."""
    values = 2 * torch.rand(volumes.shape, generator=torch.Generator().manual_seed(0)) - 1
    return torch.where(volumes > -0.9, values, -1.0)


def hold(number):
    volumes = regions(seed=0, number=number)
    lgg, hgg = block_means(volumes).chunk(2)
    bandwidth = median_bandwidth(torch.cat([lgg, hgg]))
    for features in (lgg, hgg):
        assert 0.01 <= rejected_share(features, bandwidth) <= 0.10
    assert p_value(block_means(noise_like(volumes)), torch.cat([lgg, hgg]), bandwidth) < 0.01
    assert p_value(lgg, hgg, bandwidth) < 0.01


def test_floors_on_a_few_phantoms():
    hold(number=16)


@pytest.mark.slow
def test_floors():
    hold(number=100)
