"""Random numbers by volume: each stream is its own, and the distributions are those that the names say."""

import pytest
import torch
from scipy import stats

from tumorgen.nn.draws import Draws

CASES = [f"case{i}" for i in range(6)]


def test_a_volume_s_numbers_do_not_depend_on_its_batch() -> None:
    together = Draws.keyed(0, 3, CASES, "mask", "cpu").uniform(5)
    alone = Draws.keyed(0, 3, CASES[2:3], "mask", "cpu").uniform(5)
    assert torch.equal(together[2:3], alone)
    assert len(together.unique()) == 30


@pytest.mark.parametrize("key", [(1, 3, "mask"), (0, 4, "mask"), (0, 3, "time")])
def test_seed_epoch_and_purpose_change_them(key: tuple[int, int, str]) -> None:
    seed, epoch, purpose = key
    first = Draws.keyed(0, 3, CASES, "mask", "cpu").uniform(5)
    assert not torch.isin(Draws.keyed(seed, epoch, CASES, purpose, "cpu").uniform(5), first).any()


def test_distributions() -> None:
    draws = Draws(range(4))
    samples = {
        stats.uniform.cdf: draws.uniform(2000),
        stats.norm.cdf: draws.normal(2000),
        stats.expon.cdf: draws.exponential(2000),
    }
    for distribution, numbers in samples.items():
        assert stats.kstest(numbers.flatten().numpy(), distribution).pvalue > 0.001
    counts = draws.integers(10, 2000).flatten().bincount()
    assert stats.chisquare(counts.numpy()).pvalue > 0.001
