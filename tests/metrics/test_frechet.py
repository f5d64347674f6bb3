"""The Frechet distance against SciPy's matrix root, torchmetrics, MONAI and closed forms; shrinkage against scikit-learn."""

import numpy as np
import pytest
import torch
from monai.metrics import FIDMetric
from scipy.linalg import sqrtm
from sklearn.covariance import ledoit_wolf

from tumorgen.metrics.frechet import definition, fid, frechet_distance, moments, needs_shrinkage
from tumorgen.metrics.resampling import jackknife_interval


def features(n, width, seed=0):
    """Correlated, with different scales and means."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=torch.Generator().manual_seed(99)) / width**0.5
    return torch.randn(n, width, generator=generator) @ mixing + 0.1 * seed


def by_scipy(a, b):
    a, b = a.double().numpy(), b.double().numpy()
    covariances = [np.cov(z, rowvar=False) for z in (a, b)]
    root = sqrtm(covariances[0] @ covariances[1]).real
    return ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(covariances[0] + covariances[1] - 2 * root)


def test_equals_scipy_and_monai():
    a, b = features(120, 16), features(90, 16, 3)
    assert fid(a, b) == pytest.approx(by_scipy(a, b), rel=1e-8)
    assert fid(a, b) == pytest.approx(float(FIDMetric()(a.double(), b.double())), rel=1e-5)
    assert fid(a, b) == pytest.approx(fid(b, a))


def test_closed_form_of_independent_features():
    generator = torch.Generator().manual_seed(0)
    a = torch.linalg.qr(torch.randn(50, 4, generator=generator).double() - 0)[0]
    a = torch.linalg.qr(a - a.mean(0))[0] * 49**0.5  # mean zero, covariance the identity
    scale, shift = torch.tensor([1.0, 2.0, 3.0, 0.5]), torch.tensor([0.0, 1.0, -2.0, 0.0])
    expected = float(shift.square().sum() + (scale - 1).square().sum())
    assert fid(a * scale + shift, a) == pytest.approx(expected, rel=1e-6)
    assert fid(a, a) == pytest.approx(0, abs=1e-9)


def test_a_feature_that_never_fires_changes_nothing():
    a, b = features(120, 16), features(90, 16, 3)
    dead = [torch.cat([z, torch.zeros(len(z), 2)], 1) for z in (a, b)]
    assert fid(*dead) == pytest.approx(fid(a, b), rel=1e-6)


@pytest.mark.parametrize(("n", "width"), [(10, 30), (40, 30), (400, 8)])
def test_shrunk_covariance_is_scikit_learns(n, width):
    rows = features(n, width)
    found = moments(rows, shrink=True)
    covariance, share = ledoit_wolf(rows.double().numpy())
    assert found.covariance.numpy() == pytest.approx(covariance, rel=1e-8)
    assert found.shrinkage == pytest.approx(share)
    assert moments(rows, shrink=False).covariance.numpy() == pytest.approx(np.cov(rows.double().numpy(), rowvar=False))


def test_constant_features_can_be_shrunk():
    assert fid(torch.zeros(3, 4), torch.ones(3, 4)) == pytest.approx(4)


def test_shrinks_where_a_set_is_smaller_than_its_features_and_only_there():
    assert needs_shrinkage(32, 100, 32)
    assert not needs_shrinkage(32, 100, 33)
    small, large = (features(32, 32), features(100, 32, 1)), (features(33, 32), features(100, 32, 1))
    assert fid(*small) == fid(*small, shrink=True) != fid(*small, shrink=False)
    assert fid(*large) == fid(*large, shrink=False) != fid(*large, shrink=True)


def test_shrinkage_takes_most_of_the_bias_of_few_cases():
    a, b = (torch.randn(40, 64, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    assert fid(a, b) < 0.25 * fid(a, b, shrink=False)


def test_singular_covariances_stay_real_and_not_negative():
    a, b = features(5, 40), features(6, 40, 2)
    found = frechet_distance(moments(a, shrink=False), moments(b, shrink=False))
    assert float(found) == pytest.approx(by_scipy(a, b), rel=1e-3)
    assert float(frechet_distance(moments(a, shrink=False), moments(a, shrink=False))) == pytest.approx(0, abs=1e-5)


def test_jackknife_covers_the_expectation_at_these_numbers():
    pairs = [(features(60, 6, 2 * s) - 0.2 * s, 1.5 * features(40, 6, 2 * s + 1) - 0.3 * s) for s in range(60)]
    values = [fid(*pair) for pair in pairs]
    intervals = [jackknife_interval(fid, *pair, seed=s, groups=10) for s, pair in enumerate(pairs)]
    assert np.mean([interval.low <= np.mean(values) <= interval.high for interval in intervals]) >= 0.88
    reach = np.mean([(interval.high - interval.low) / 2 for interval in intervals])
    assert 0.9 <= reach / (1.96 * np.std(values)) <= 2


def test_a_single_case_is_refused():
    with pytest.raises(ValueError, match="1 cases have no covariance"):
        fid(features(1, 3), features(9, 3))


def test_definition_says_whether_it_shrinks():
    assert "240 features" in definition(shrink=True, width=240)["regularisation"]
    assert definition(shrink=False, width=8)["regularisation"] == "none"
