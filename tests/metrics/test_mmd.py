"""The paper's MMD against its formula and its expectation; the RBF kernel against scikit-learn; block means by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.metrics.pairwise import rbf_kernel as sklearn_rbf

from tumorgen.metrics.gram import linear_gram
from tumorgen.metrics.mmd import block_means, definition, median_bandwidth, rbf_kernel
from tumorgen.metrics.mmd_paper import definition as paper_definition
from tumorgen.metrics.mmd_paper import (
    mmd_paper,
    mmd_paper_batch,
    mmd_paper_expected,
    mmd_paper_floor,
    mmd_paper_interval,
)
from tumorgen.metrics.two_sample import mmd2


def normal(n, width, seed=0):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed)).double()


def gram_of(x, y):
    return linear_gram(list(x), list(y))


def test_a_batch_by_brute_force_and_by_hand():
    x, y = normal(5, 11), normal(5, 11, 1)
    expected = sum(float(x[i] @ x[j] + y[i] @ y[j] - 2 * x[i] @ y[j]) for i in range(5) for j in range(5)) / 25
    assert float(mmd_paper_batch(x, y)) == pytest.approx(expected)
    x, y = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    assert float(mmd_paper_batch(x, y)) == pytest.approx((1 + 4 - 0) / 4)


def test_a_batch_of_one_is_the_squared_distance_of_a_pair():
    x, y = normal(1, 50), normal(1, 50, 1)
    assert float(mmd_paper_batch(x, y)) == pytest.approx(float((x - y).square().sum()))


def test_other_ranges_are_other_figures():
    x, y = normal(4, 20), normal(4, 20, 1)
    to_one = [(z + 1) / 2 for z in (x, y)]
    assert float(mmd_paper_batch(*to_one)) == pytest.approx(float(mmd_paper_batch(x, y)) / 4)


def test_one_distribution_scores_the_trace_of_its_covariances_over_b():
    """|mu_x - mu_y|^2 + (tr S_x + tr S_y) / B, on Gaussians whose moments are known."""
    sd = torch.linspace(0.5, 2, 30).double()
    shift = torch.linspace(0, 0.4, 30).double()
    trace = float(sd.square().sum())
    scores = {}
    for size in (1, 4, 8):
        batches = [
            (normal(size, 30, 2 * s) * sd, normal(size, 30, 2 * s + 1) * sd)
            for s in range(1000 * size, 1000 * size + 400)
        ]
        scores[size] = np.mean([float(mmd_paper_batch(x, y)) for x, y in batches])
        assert scores[size] == pytest.approx(2 * trace / size, rel=0.05)
        apart = np.mean([float(mmd_paper_batch(x + shift, y)) for x, y in batches])
        assert apart == pytest.approx(float(shift.square().sum()) + 2 * trace / size, rel=0.05)
    assert scores[1] > scores[4] > scores[8]


@pytest.mark.parametrize("size", [1, 4, 7, 100])
def test_passes_average_to_the_expectation(size):
    """23 real volumes: batches of 4 and of 7 leave a smaller last one, and 100 takes all at once."""
    gram = gram_of(normal(30, 12), normal(23, 12, 1) + 0.3)
    found = mmd_paper(gram, size, passes=300, seed=0)
    assert found.mean == pytest.approx(mmd_paper_expected(gram, size), abs=4 * found.sd / 300**0.5)


def test_interval_and_floor_keep_the_batches_of_the_whole():
    """33 real volumes in batches of 8 leave a last one of 1: its own products weigh more than all else together."""
    sd = torch.linspace(0.5, 2, 30).double()
    truth = 2 * float(sd.square().sum()) * (4 / 8 + 1) / 5
    floors, covered = [], []
    for s in range(40):
        gram = gram_of(normal(40, 30, 2 * s) * sd, normal(33, 30, 2 * s + 1) * sd)
        interval = mmd_paper_interval(gram, 8, seed=s)
        covered.append(interval.low <= truth <= interval.high)
        assert interval.low < mmd_paper_expected(gram, 8) < interval.high < 1.5 * truth
        floors.append(mmd_paper_floor(gram, 8, seed=s, splits=20))
    assert np.mean(covered) >= 0.85
    assert np.mean([floor.value for floor in floors]) == pytest.approx(truth, rel=0.05)
    assert (floors[0].size, floors[0].splits) == (16, 20)


def test_all_real_volumes_meet_all_generated_ones_in_one_batch():
    x, y = normal(6, 9), normal(6, 9, 1)
    found = mmd_paper(gram_of(x, y), 6, passes=3, seed=0)
    assert found.mean == pytest.approx(float(mmd_paper_batch(x, y)), rel=1e-5)
    assert found.sd == pytest.approx(0, abs=1e-9)
    assert mmd_paper_expected(gram_of(x, y), 6) == pytest.approx(found.mean, rel=1e-5)


def test_a_pass_takes_every_real_volume_and_its_last_batch_counts_in_full():
    """One generated volume at 0 and real ones at 0 but the last: the only term that is not zero tells how it weighs."""
    y = torch.zeros(5, 1)
    y[4] = 3
    gram = gram_of(torch.zeros(4, 1), y)
    # 5 = 2 + 2 + 1: the volume is alone in its batch in one of five orders, and shares one otherwise
    scores = {round(mmd_paper(gram, 2, passes=1, seed=seed).mean, 6) for seed in range(40)}
    assert scores == {round(9 / 3, 6), round(9 / 4 / 3, 6)}


def test_seeds_decide_and_nobody_elses_numbers_move():
    gram = gram_of(normal(30, 12), normal(23, 12, 1))
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    one, again, other = (mmd_paper(gram, 4, passes=5, seed=seed) for seed in (0, 0, 1))
    assert one == again != other
    assert torch.rand(1) == expected


def test_too_few_generated_volumes_for_a_batch_are_refused():
    gram = gram_of(normal(3, 5), normal(9, 5, 1))
    with pytest.raises(ValueError, match="batches of 4 out of 3 generated"):
        mmd_paper(gram, 4, seed=0)


def test_kernel_and_bandwidth_are_scikit_learns():
    a, b = normal(9, 6), normal(5, 6, 1)
    expected = sklearn_rbf(a.numpy(), b.numpy(), gamma=1 / (2 * 1.7**2))
    assert rbf_kernel(a, b, 1.7).numpy() == pytest.approx(expected)
    distances = euclidean_distances(a.numpy())[np.triu_indices(9, 1)]
    assert median_bandwidth(a) == pytest.approx(np.median(distances))
    assert rbf_kernel(a, a, 1.7).diagonal().tolist() == [1] * 9


def test_the_bandwidth_scales_with_the_features_so_that_the_figure_does_not():
    real, generated = normal(30, 6), normal(20, 6, 1) + 0.5
    figures = []
    for scale in (1, 1000):
        pooled = scale * torch.cat([generated, real])
        figures.append(mmd2(rbf_kernel(pooled, pooled, median_bandwidth(scale * real)), 20))
    assert figures[0] == pytest.approx(figures[1])


@pytest.mark.parametrize("real", [torch.ones(1, 4), torch.ones(6, 4)])
def test_no_bandwidth_without_distances(real):
    with pytest.raises(ValueError, match="median distance"):
        median_bandwidth(real)


def test_block_means():
    volume = torch.arange(2 * 2 * 16**3).float().view(2, 2, 16, 16, 16)
    found = block_means(volume)
    assert found.shape == (2, 2 * 512)
    expected = [[volume[1, 1, 2 * i : 2 * i + 2, 4:6, 14:16].mean()] for i in range(8)]
    assert found.view(2, 2, 8, 8, 8)[1, 1, :, 2, 7].tolist() == pytest.approx([float(e[0]) for e in expected])
    assert float(block_means(torch.full((1, 1, 20, 9, 8), -1.0)).max()) == -1
    with pytest.raises(ValueError, match="no 8 blocks"):
        block_means(torch.zeros(1, 1, 16, 7, 16))


def test_definitions_say_what_the_figures_depend_on():
    paper = paper_definition(batch_size=4)
    assert "B = 4" in paper["title"]
    assert paper["data_range"] == "[-1, 1]"
    assert (paper["batch_size"], paper["passes"], paper["better"]) == (4, 100, "lower")
    rbf = definition("MMD", math.pi, "means of 8^3 blocks")
    assert rbf["bandwidth"] == math.pi
    assert "means of 8^3 blocks" in rbf["inputs"]
