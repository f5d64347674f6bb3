"""Metrics between two sets: the pure functions over batches, ranks and resets."""

import subprocess
import sys

import pytest
import torch
import two_sets
from two_sets import METRICS, cases

from tumorgen.metrics.frechet import fid
from tumorgen.metrics.gram import linear_gram
from tumorgen.metrics.kid import KID, kid
from tumorgen.metrics.manifold import distances, manifold
from tumorgen.metrics.mmd import median_bandwidth, mmd_paper_expected, rbf_kernel
from tumorgen.metrics.two_sample import mmd2


@pytest.fixture
def expected():
    generated, real = cases()
    pooled = torch.cat([generated, real])
    return {
        "mmd": mmd2(rbf_kernel(pooled, pooled, median_bandwidth(real)), 25),
        "mmd_fixed": mmd2(rbf_kernel(pooled, pooled, 2.5), 25),
        "paper": mmd_paper_expected(linear_gram(list(generated), list(real)), 4),
        "kid": kid(generated, real),
        "fid": fid(generated, real),
        "prdc": manifold(distances(generated, real), 3)._asdict(),
    }


def close(found, expected):
    if isinstance(expected, dict):
        return {name: float(value) for name, value in found.items()} == pytest.approx(expected, rel=1e-4)
    return float(found) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", METRICS)
def test_batches_merging_and_resets(name, expected):
    generated, real = cases()
    one, two = METRICS[name].clone(), METRICS[name].clone()
    one.update(generated[:10], real=False)
    one.update(real[:3], real=True)
    one.update(generated[10:], real=False)
    two.update(real[3:], real=True)
    one.merge_state(two)
    assert close(one.compute(), expected[name])
    one.reset()
    one.update(real, real=False)
    one.update(generated, real=True)
    swapped = one.compute()
    one.reset()
    one.update(generated.view(25, 1, 1, 2, 3), real=False)
    one.update(real.view(31, 1, 1, 2, 3), real=True)
    assert close(one.compute(), expected[name])
    if name == "prdc":
        assert float(swapped["precision"]) == pytest.approx(expected[name]["recall"])


def test_two_ranks_equal_one(tmp_path, expected):
    """Rank 0 holds no real case at all."""
    command = [sys.executable, two_sets.__file__]
    ranks = [subprocess.Popen([*command, str(rank), str(tmp_path)], stderr=subprocess.PIPE) for rank in range(2)]
    for rank in ranks:
        _, errors = rank.communicate(timeout=120)
        assert rank.returncode == 0, errors.decode()
    for rank in range(2):
        found = torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)
        assert list(found) == list(expected)
        for name, figure in found.items():
            assert close(figure, expected[name]), (rank, name)


def test_another_width_is_refused():
    metric = KID()
    metric.update(torch.zeros(3, 4), real=True)
    with pytest.raises(ValueError, match="cases of 5 values, after cases of 4"):
        metric.update(torch.zeros(3, 5), real=False)
