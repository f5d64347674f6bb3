"""Codebook figures against NumPy and SciPy, by class, over batches and ranks."""

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from tumorgen.metrics.codebook import CodebookUsage, code_perplexity, count_codes

CLASSES = ("LGG", "HGG")


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    codes = (torch.rand(6, 4, 4, 4, generator=generator) ** 3 * 50).long()
    return codes, torch.tensor([0, 1, 1, 0, 1, 1])


def expected(codes, num_codes):
    counts = np.bincount(codes.flatten().numpy(), minlength=num_codes)
    return {"usage": (counts > 0).mean(), "perplexity": np.exp(entropy(counts))}


def test_equals_numpy_and_scipy_pooled_and_per_class(batch):
    codes, labels = batch
    found = CodebookUsage(64, CLASSES)(codes, labels)
    for suffix, chosen in (("", codes), ("_LGG", codes[labels == 0]), ("_HGG", codes[labels == 1])):
        for name, value in expected(chosen, 64).items():
            assert float(found[name + suffix]) == pytest.approx(value, rel=1e-5)


def test_counts(batch):
    codes, labels = batch
    counts = count_codes(codes, labels, 64, 2)
    for label in range(2):
        assert counts[label].tolist() == np.bincount(codes[labels == label].flatten(), minlength=64).tolist()
    assert torch.equal(counts, count_codes(codes.flatten(1), labels, 64, 2))


def test_an_epoch_on_two_ranks_is_not_the_mean_of_its_batches(batch):
    codes, labels = batch
    whole = CodebookUsage(64, CLASSES)(codes, labels)
    one, two = CodebookUsage(64, CLASSES), CodebookUsage(64, CLASSES)
    one.update(codes[:2], labels[:2])
    one.update(codes[2:3], labels[2:3])
    two.update(codes[3:], labels[3:])
    halves = CodebookUsage(64, CLASSES)(codes[:3], labels[:3]), two.compute()
    one.merge_state(two)
    for name, value in one.compute().items():
        assert float(value) == pytest.approx(float(whole[name]))
    assert sum(float(half["usage"]) for half in halves) / 2 < float(whole["usage"])


def test_extremes():
    assert float(code_perplexity(torch.tensor([7, 0, 0]))) == 1
    assert float(code_perplexity(torch.tensor([5, 5, 5, 5]))) == pytest.approx(4)
    found = CodebookUsage(8, CLASSES)(torch.zeros(1, 2, 2, 2, dtype=torch.int64), torch.tensor([1]))
    assert float(found["usage_LGG"]) == 0
    assert found["perplexity_LGG"].isnan()


@pytest.mark.parametrize(("code", "label"), [(8, 0), (0, 2)])
def test_what_is_out_of_range_is_refused(code, label):
    with pytest.raises(IndexError):
        count_codes(torch.full((1, 4), code), torch.tensor([label]), 8, 2)


def test_reset_forgets(batch):
    metric = CodebookUsage(64, CLASSES)
    metric.update(*batch)
    metric.reset()
    assert int(metric.counts.sum()) == 0
