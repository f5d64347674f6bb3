"""Shapes of tumours against hand-counted bodies."""

import numpy as np
import pytest

from tumorgen.metrics.shape import Shape, plausible_share, shape_of


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
