"""Metrics of reconstructions over batches and ranks."""

import subprocess
import sys

import pytest
import reconstruction_ranks
import torch


@pytest.fixture(scope="module")
def expected():
    return reconstruction_ranks.values([list(range(7))])


def test_batches_do_not_matter(expected):
    assert reconstruction_ranks.values([[3, 1], [0], [6, 2, 4], [5]]) == pytest.approx(expected, rel=1e-5)
    assert 0 < expected["l1_tumour"] < 1, "a value that batches could change"


@pytest.mark.ci
def test_two_ranks_equal_one(tmp_path, expected):
    """Volumes dealt to both ranks, and all of them on rank 0."""
    command = [sys.executable, reconstruction_ranks.__file__]
    ranks = [subprocess.Popen([*command, str(rank), str(tmp_path)], stderr=subprocess.PIPE) for rank in range(2)]
    for rank in ranks:
        _, errors = rank.communicate(timeout=250)
        assert rank.returncode == 0, errors.decode()
    for rank in range(2):
        for values in torch.load(tmp_path / f"rank{rank}.pt", weights_only=True).values():
            assert values == pytest.approx(expected, rel=1e-5)


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_nothing_seen_is_no_figure():
    assert all(value != value for value in reconstruction_ranks.values([]).values())
