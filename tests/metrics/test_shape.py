"""Shapes of tumours against hand-counted bodies."""

import math

import numpy as np
import pytest
from scipy import ndimage

from tumorgen.metrics.shape import PROPERTIES, Shape, definition, plausible_share, shape_of


def body(mask: np.ndarray) -> np.ndarray:
    return np.where(mask, 0.3, -1).astype(np.float32)


def cuboid(*sides: int) -> np.ndarray:
    volume = np.full((12, 12, 12), -1, np.float32)
    volume[tuple(slice(0, side) for side in sides)] = 0.3
    return volume


def test_a_cuboid_is_counted_by_hand() -> None:
    # 3 x 4 x 5 voxels, of which 1 x 2 x 3 touch the outside by no face: 60 - 6 of the surface
    found = shape_of(cuboid(3, 4, 5), spacing=2.0)
    assert found.volume == 60 * 8
    assert found.extent == 10
    assert found.components == 1
    assert found.compactness == pytest.approx((36 * np.pi * 60**2) ** (1 / 3) / 54)


def test_a_ball_is_more_compact_than_anything_of_its_volume() -> None:
    axis = np.arange(32) - 15.5
    distance = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    ball, plate = shape_of(body(distance < 10), 1.0), np.full((32, 32, 32), -1, np.float32)
    plate[:5, :29, :29] = 0.3
    assert ball.compactness > 1.3 * shape_of(plate, 1.0).compactness


def test_parts_that_touch_by_an_edge_are_two() -> None:
    mask = np.zeros((4, 4, 4), bool)
    mask[0, 0, 0] = mask[1, 1, 0] = True
    assert shape_of(body(mask), 1.0).components == 2


def test_nothing_has_no_shape() -> None:
    assert shape_of(np.full((4, 4, 4), -0.95, np.float32), 1.0) == Shape(0.0, 0.0, 0.0, 0)


def test_share_inside_the_percentiles() -> None:
    real = [Shape(float(v), float(v), float(v), 1) for v in range(101)]
    assert plausible_share(real, real) == pytest.approx(
        {"volume": 91 / 101, "extent": 91 / 101, "compactness": 91 / 101, "all": 91 / 101}
    )
    half = [Shape(50.0, 50.0, 50.0, 1), Shape(50.0, 200.0, 50.0, 1)]
    assert plausible_share(half, real) == {"volume": 1.0, "extent": 0.5, "compactness": 1.0, "all": 0.5}


# ---------------------------------------------------------------------- texture


def ball(values: np.ndarray, radius: float = 14) -> np.ndarray:
    axis = np.arange(len(values)) - (len(values) - 1) / 2
    distance = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    return np.where(distance < radius, values, -1).astype(np.float32)


def test_an_even_tumour_has_no_texture_whatever_its_outline() -> None:
    assert shape_of(cuboid(3, 4, 5), 1.0).texture == pytest.approx(0, abs=1e-6)
    assert shape_of(ball(np.full((32, 32, 32), 0.3)), 1.0).texture == pytest.approx(0, abs=1e-6)


def test_texture_deep_inside_is_the_plain_figure() -> None:
    """In a tumour that fills its volume the plain, unmasked filter gives the same but for the rim."""
    noise = np.random.default_rng(0).normal(0, 0.1, (48, 48, 48)) + 0.4
    plain = (noise - ndimage.gaussian_filter(noise, 2)).std() / (noise + 1).mean()
    assert shape_of(noise.astype(np.float32), 1.0).texture == pytest.approx(plain, rel=0.01)


def test_texture_is_relative_and_fine() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(32, 32, 32))
    coarse = ndimage.gaussian_filter(noise, 5)
    coarse *= noise.std() / coarse.std()
    fine = shape_of(ball(0.5 + 0.1 * noise), 1.0).texture
    assert fine == pytest.approx(0.1 / 1.5, rel=0.1)
    assert shape_of(ball(0.05 + 0.07 * noise), 1.0).texture == pytest.approx(fine, rel=0.01), "intensities times 0.7"
    assert shape_of(ball(0.5 + 0.1 * coarse), 1.0).texture < 0.2 * fine


def test_texture_by_brute_force() -> None:
    """Every tumour voxel against the weighted mean of the tumour voxels around it."""
    volume = ball(np.random.default_rng(1).uniform(-0.5, 0.9, (10, 10, 10)), 4.2)
    at = np.argwhere(volume > -0.9)
    values = volume[volume > -0.9].astype(np.float64) + 1
    offsets = at[:, None] - at[None]
    weights = np.exp(-(offsets**2).sum(-1) / 8) * (np.abs(offsets) <= 8).all(-1)
    expected = (values - weights @ values / weights.sum(1)).std() / values.mean()
    assert shape_of(volume, 1.0).texture == pytest.approx(expected, rel=1e-5)


# ---------------------------------------------------------------------- many and none


def test_all_properties_are_there_to_be_compared() -> None:
    real = [Shape(float(v), float(v), float(v), v, float(v)) for v in range(101)]
    odd = [Shape(50.0, 50.0, 50.0, 50, 50.0), Shape(50.0, 50.0, 50.0, 50, 99.0), Shape(50.0, 50.0, 50.0, 1, 50.0)]
    found = plausible_share(odd, real, PROPERTIES)
    assert found == pytest.approx(
        {"volume": 1, "extent": 1, "compactness": 1, "components": 2 / 3, "texture": 2 / 3, "all": 1 / 3}
    )
    assert set(PROPERTIES) == set(Shape._fields)
    assert len({definition(name)["property"] for name in found}) == 6


def test_nothing_to_compare() -> None:
    real = [Shape(1.0, 1.0, 1.0, 1)]
    assert all(math.isnan(share) for share in plausible_share([], real).values())
    with pytest.raises(ValueError, match="got none"):
        plausible_share(real, [])
