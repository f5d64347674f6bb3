"""Codebook arithmetic against scikit-learn, NumPy and planted clusters."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import pairwise_distances_argmin

from data_modules.errors import InputError
from tumorgen.methods.vqgan.quantizers import codebook as book


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def unit(n, width=6):
    return F.normalize(torch.randn(n, width), dim=1)


@pytest.mark.parametrize("at_once", [1, 7 * 10, 2**24])
def test_nearest_is_the_smallest_cosine_distance_whatever_the_chunk(monkeypatch, at_once):
    monkeypatch.setattr(book, "SIMILARITIES_AT_ONCE", at_once)
    features, codes = unit(53), unit(7)
    expected = pairwise_distances_argmin(features.numpy(), codes.numpy(), metric="cosine")
    assert book.nearest(features, codes).tolist() == expected.tolist()


def test_hits_are_counts_and_sums_without_non_finite_features():
    features = torch.tensor([[1.0, 0.0], [3.0, 4.0], [float("nan"), 1.0], [0.0, 2.0]])
    hits = book.collect_hits(features, torch.tensor([2, 0, 0, 2]), 4)
    assert hits.counts.tolist() == [1, 0, 2, 0]
    assert hits.sums.tolist() == [[3, 4], [0, 0], [1, 2], [0, 0]]


def lloyd(features, start, iterations):
    """Cosine k-means in NumPy; an empty cluster keeps its centre."""
    centres = start.copy()
    for _ in range(iterations):
        assigned = pairwise_distances_argmin(features, centres, metric="cosine")
        for k in set(assigned.tolist()):
            mean = features[assigned == k].mean(0)
            centres[k] = mean / np.linalg.norm(mean)
    return centres


@pytest.mark.parametrize("iterations", [0, 1, 10])
def test_kmeans_equals_lloyd_from_the_same_random_features(iterations):
    features = unit(200).double()
    torch.manual_seed(3)
    start = features[torch.randperm(200)[:12]].numpy()
    torch.manual_seed(3)
    centres = book.kmeans(features, 12, iterations)
    np.testing.assert_allclose(centres.numpy(), lloyd(features.numpy(), start, iterations), atol=1e-12)


def test_empty_clusters_keep_their_centre():
    features = torch.tensor([[1.0, 0.0]]).repeat(5, 1)
    centres = book.kmeans(features, 3, 10)
    assert torch.equal(centres, torch.tensor([[1.0, 0.0]]).repeat(3, 1))


def test_kmeans_finds_planted_directions():
    planted = torch.eye(4)
    features = F.normalize(planted.repeat(50, 1) + 0.05 * torch.randn(200, 4), dim=1)
    similarity = planted @ book.kmeans_over_ranks(features, 16, 10).T
    assert bool((similarity.max(1).values > 0.99).all())


def test_fewer_features_than_codes_are_all_represented():
    features = unit(5)
    centres = book.kmeans(features, 32, 10)
    assert centres.shape == (32, 6)
    torch.testing.assert_close(centres.norm(dim=1), torch.ones(32))
    assert float((features @ centres.T).max(1).values.min()) > 0.999
    assert len(centres.unique(dim=0)) > 16


def test_sample_is_all_features_when_few_and_distinct_ones_when_many():
    features = unit(40)
    assert torch.equal(book.gather_sample(features, 100), features)
    sample = book.gather_sample(features, 10)
    assert len(sample.unique(dim=0)) == 10
    assert all((features == row).all(1).any() for row in sample)


def test_features_that_are_not_finite_stop_the_initialisation_with_a_way_out():
    with pytest.raises(InputError, match="bf16-mixed"):
        book.kmeans_over_ranks(torch.full((4, 2), float("nan")), 2, 10)


def test_draw_prefers_badly_described_features():
    features = unit(100)
    errors = torch.full((100,), 1e-9)
    errors[[3, 50, 97]] = 0.5
    drawn = book.draw_by_error(features, errors, 3)
    torch.testing.assert_close(drawn.sort(0).values, features[[3, 50, 97]].sort(0).values)


def test_draw_odds_are_proportional_to_the_errors():
    features = torch.eye(3)
    errors = torch.tensor([0.6, 0.3, 0.1])
    first = torch.stack([book.draw_by_error(features, errors, 1)[0].argmax() for _ in range(2000)])
    share = torch.bincount(first, minlength=3) / 2000
    torch.testing.assert_close(share, errors, rtol=0, atol=0.04)


def test_draw_of_more_than_there_are_repeats_and_never_returns_nan():
    features = unit(3)
    features[1] = float("nan")
    drawn = book.draw_by_error(features, torch.ones(3), 7)
    assert drawn.shape == (7, 6)
    assert bool(drawn.isfinite().all())
