"""KID against scikit-learn's kernel, torchmetrics where that is right, and itself at unequal numbers."""

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import polynomial_kernel as sklearn_polynomial
from torchmetrics.image.kid import poly_mmd

from tumorgen.metrics.kid import definition, kid, polynomial_kernel


def features(n, seed, shift=0.0):
    return torch.randn(n, 24, generator=torch.Generator().manual_seed(seed)) + shift


def test_the_kernel_is_scikit_learns():
    a, b = features(9, 0), features(5, 1)
    expected = sklearn_polynomial(a.double().numpy(), b.double().numpy(), degree=3, gamma=1 / 24, coef0=1)
    assert polynomial_kernel(a, b).numpy() == pytest.approx(expected)


def test_equals_torchmetrics_at_equal_numbers():
    a, b = features(50, 0, 0.3), features(50, 1)
    expected = poly_mmd(a.double(), b.double(), degree=3)
    assert kid(a, b) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("numbers", [(200, 20), (20, 200), (37, 101)])
def test_one_distribution_scores_about_zero_at_unequal_numbers(numbers):
    values = [kid(features(numbers[0], 2 * s), features(numbers[1], 2 * s + 1)) for s in range(60)]
    assert np.mean(values) == pytest.approx(0, abs=4 * np.std(values) / 60**0.5)
    assert np.std(values) < 0.1


def test_means_apart_by_the_closed_form():
    """One feature, constant within a set: k(1, 1) + k(0, 0) - 2 k(1, 0) = 8 + 1 - 2."""
    assert kid(torch.ones(4, 1), torch.zeros(7, 1)) == pytest.approx(7)


def test_definition():
    assert "no subsets" in definition()["recipe"]
    assert "^3" in definition()["kernel"]
