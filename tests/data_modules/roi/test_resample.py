"""Resampling against SciPy and torch where the mask plays no part, and against plain reasoning where it does."""

import numpy as np
import torch
from scipy.ndimage import map_coordinates

from data_modules.roi.resample import resample


def field(shape, seed=0):
    return np.random.default_rng(seed).normal(10, 3, shape).astype(np.float32)


def test_finer_voxels_are_linear_interpolation():
    values = field((9, 7, 8))
    coordinates = [np.linspace(0.2, n - 1.3, 2 * n) for n in values.shape]
    result, inside = resample(values, np.ones(values.shape, bool), coordinates, (0.5, 0.5, 0.5))
    expected = map_coordinates(values, np.meshgrid(*coordinates, indexing="ij"), order=1)
    assert inside.all()
    np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_coarser_voxels_are_antialiased_like_torch():
    values = field((24, 18, 1))
    coordinates = [(np.arange(6) + 0.5) * 4 - 0.5, (np.arange(6) + 0.5) * 3 - 0.5, np.zeros(1)]
    result, _ = resample(values, np.ones(values.shape, bool), coordinates, (4, 3, 1))
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(values)[None, None, ..., 0], size=(6, 6), mode="bilinear", antialias=True, align_corners=False
    )
    # torch renormalises at the rim, here what lies outside the grid is background: the ratio makes them equal
    np.testing.assert_allclose(result[..., 0], expected[0, 0].numpy(), rtol=1e-5)


def test_nothing_outside_the_mask_enters():
    values = np.full((20, 20, 20), 7.0, np.float32)
    grid = np.linalg.norm(np.indices(values.shape) - 9.5, axis=0)
    mask = grid < 7
    for scale in (0.6, 1.7, 3.0):
        coordinates = [np.arange(-2, 22, scale)] * 3
        result, inside = resample(np.where(mask, values, 0), mask, coordinates, (scale,) * 3)
        assert inside.any()
        assert not inside.all()
        np.testing.assert_allclose(result[inside], 7, rtol=1e-5)
        np.testing.assert_array_equal(result[~inside], 0)


def test_volume_is_kept_and_half_covered_voxels_stay_out():
    mask = np.linalg.norm(np.indices((40, 40, 40)) - 19.5, axis=0) < 12
    coordinates = [(np.arange(20) + 0.5) * 2 - 0.5] * 3
    _, inside = resample(mask.astype(np.float32), mask, coordinates, (2, 2, 2))
    assert abs(inside.sum() * 8 / mask.sum() - 1) < 0.03
    edge = np.zeros((8, 1, 1), bool)
    edge[4:] = True
    _, inside = resample(
        edge.astype(np.float32), edge, [np.array([2.5, 3.5, 4.5]), np.zeros(1), np.zeros(1)], (1, 1, 1)
    )
    assert inside[:, 0, 0].tolist() == [False, False, True]


def test_identity():
    values = field((5, 6, 7))
    mask = values > 10
    masked = np.where(mask, values, 0)
    result, inside = resample(masked, mask, [np.arange(n) for n in values.shape], (1, 1, 1))
    np.testing.assert_array_equal(inside, mask)
    np.testing.assert_allclose(result, masked, rtol=1e-6)
