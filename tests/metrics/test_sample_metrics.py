"""Metrics of generated volumes over batches and ranks."""

import subprocess
import sys

import pytest
import sample_metrics
import torch


@pytest.fixture(scope="module")
def expected():
    return sample_metrics.figures([list(range(7))])


def test_batches_do_not_matter(expected):
    assert sample_metrics.figures([[3, 1], [0], [6, 2, 4], [5]]) == pytest.approx(expected, rel=1e-5)
    assert 0 < expected["share"] < 1, "a figure that batches could change"


def test_two_ranks_equal_one(tmp_path, expected):
    """Volumes dealt to both ranks, and all of them on rank 0."""
    command = [sys.executable, sample_metrics.__file__]
    ranks = [subprocess.Popen([*command, str(rank), str(tmp_path)], stderr=subprocess.PIPE) for rank in range(2)]
    for rank in ranks:
        _, errors = rank.communicate(timeout=250)
        assert rank.returncode == 0, errors.decode()
    for rank in range(2):
        for figures in torch.load(tmp_path / f"rank{rank}.pt", weights_only=True).values():
            assert figures == pytest.approx(expected, rel=1e-5)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_nothing_seen_is_no_figure():
    assert all(value != value for value in sample_metrics.figures([]).values())
