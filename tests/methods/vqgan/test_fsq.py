"""Finite scalar quantisation: a bijection of codes and grid points, its bound, its gradient (contract: test_quantizers)."""

import itertools

import numpy as np
import pytest
import torch

from tumorgen.methods.vqgan.quantizers.fsq import FSQQuantizer


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


LEVELS = [(8, 8, 8), (5, 3), (2, 2, 2, 2), (7, 5, 4)]


def transparent(levels):
    """FSQ whose projections are identities."""
    quantizer = FSQQuantizer(levels, len(levels))
    for projection in (quantizer.project_in, quantizer.project_out):
        projection.weight.data = torch.eye(len(levels))[..., None, None, None]
        projection.bias.data.zero_()
    return quantizer


@pytest.mark.parametrize("levels", LEVELS)
def test_codes_and_vectors_are_a_bijection(levels):
    quantizer = transparent(levels)
    codes = torch.arange(quantizer.num_codes).view(1, 1, 1, -1)
    vectors = quantizer.decode(codes).detach()
    halves = np.array(levels) // 2
    expected = [(np.array(p) - halves) / halves for p in itertools.product(*map(range, levels))]
    found = vectors[0, :, 0, 0].T.numpy()
    assert len(np.unique(found, axis=0)) == quantizer.num_codes
    np.testing.assert_allclose(found[np.lexsort(found.T[::-1])], expected, rtol=1e-6)
    # features placed on a grid point come back as its code
    half = (np.array(levels) - 1) * (1 + 1e-3) / 2
    offset = np.where(np.array(levels) % 2, 0.0, 0.5)
    shape = (1, -1, 1, 1, 1)
    points = vectors.double() * torch.as_tensor(halves).view(shape)
    inverse = torch.atanh((points + torch.as_tensor(offset).view(shape)) / torch.as_tensor(half).view(shape))
    z = inverse - torch.atanh(torch.as_tensor(offset / half)).view(shape)
    assert torch.equal(quantizer(z.float()).codes, codes)


@pytest.mark.parametrize("levels", LEVELS)
def test_extremes_reach_all_levels_and_zero_stays_zero(levels):
    quantizer = transparent(levels)
    width = len(levels)
    for value, digits in ((-50.0, [0] * width), (50.0, [n - 1 for n in levels]), (0.0, [n // 2 for n in levels])):
        places = [int(np.prod(levels[:i])) for i in range(width)]
        code = sum(digit * place for digit, place in zip(digits, places, strict=True))
        latent, codes, _ = quantizer(torch.full((1, width, 1, 1, 1), value))
        assert int(codes) == code
    assert float(latent.detach().abs().max()) == 0


def test_fsq_gradient_is_that_of_the_bound():
    quantizer = transparent((8, 5))
    z = torch.randn(1, 2, 2, 2, 2, requires_grad=True)
    latent, _, commitment = quantizer(z)
    (gradient,) = torch.autograd.grad(latent.sum(), z)
    half = torch.tensor([7 * 1.001 / 2, 4 * 1.001 / 2]).view(1, 2, 1, 1, 1)
    shift = torch.atanh(torch.tensor([0.5, 0.0]).view(1, 2, 1, 1, 1) / half)
    expected = half * (1 - torch.tanh(z + shift) ** 2) / torch.tensor([4.0, 2.0]).view(1, 2, 1, 1, 1)
    torch.testing.assert_close(gradient, expected)
    assert commitment.item() == 0


def test_fsq_projections_learn():
    quantizer = FSQQuantizer((4, 3), 6)
    quantizer(torch.randn(1, 6, 2, 2, 2)).latent.square().sum().backward()
    for parameter in quantizer.parameters():
        assert float(parameter.grad.abs().sum()) > 0


def test_fsq_overflow_gives_valid_codes_and_a_visible_nan():
    latent, codes, _ = transparent((8, 8))(torch.full((1, 2, 1, 1, 1), float("nan")))
    assert 0 <= int(codes) < 64
    assert bool(latent.isnan().any())
