"""Random numbers and smooth fields against SciPy, sorting and what they promise."""

import numpy as np
import pytest
from scipy import ndimage

from data_modules.phantoms.fields import RandomStream, double, level_of_largest, ramp


def test_bits_are_those_of_numpys_frozen_stream():
    stream = RandomStream(1, 2, 3)
    reference = np.random.Philox(np.random.SeedSequence((1, 2, 3)))
    numbers = [stream.uniform() for _ in range(5)]
    assert numbers == [(int(reference.random_raw()) >> 11) / 2**53 for _ in range(5)]
    lattice = stream.lattice((3, 5, 7))
    raw = np.frombuffer(reference.random_raw(27).astype("<u8").tobytes(), "<u2")[:105]
    np.testing.assert_array_equal(lattice.ravel(), raw / 2**15 - 1)


def test_streams_of_different_keys_differ_and_are_uniform():
    a, b = (np.array([RandomStream(0, 1, key).uniform() for key in keys]) for keys in (range(500), range(500, 1000)))
    assert len(set(a) | set(b)) == 1000
    assert abs(a.mean() - 0.5) < 0.05
    normals = np.array([RandomStream(7, key).normal() for key in range(2000)])
    assert abs(normals.mean()) < 0.08
    assert abs(normals.std() - 1) < 0.06


@pytest.mark.parametrize(("doublings", "spread"), [(0, 1.0), (1, 1.22), (2, 1.05), (3, 1.0)])
def test_noise_has_the_stated_spread_and_the_asked_size(doublings, spread):
    noise = RandomStream(5, doublings).noise((61, 64, 70), doublings)
    assert noise.shape == (61, 64, 70)
    assert noise.dtype == np.float32
    assert abs(noise.std() - spread) < 0.07
    steps = np.abs(np.diff(noise, axis=0)).mean()
    assert steps < 1.3 / 2 ** max(doublings - 0.5, 0)  # the coarser the lattice, the smoother


def test_double_is_cubic_b_spline_subdivision():
    field = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    padded = np.pad(field, 1, mode="edge")
    stuffed = np.zeros([2 * n for n in padded.shape])
    stuffed[::2, ::2, ::2] = padded
    for axis in range(3):
        stuffed = ndimage.convolve1d(stuffed, np.array([1, 4, 6, 4, 1]) / 8, axis=axis, mode="constant")
    reference = stuffed[tuple(slice(2, 2 + 2 * n) for n in field.shape)]
    np.testing.assert_allclose(double(field), reference, atol=1e-6)


def test_ramp_and_level():
    x = np.linspace(-3, 3, 13, dtype=np.float32)
    np.testing.assert_allclose(ramp(x, -1, 2), np.interp(x, [-1, 2], [0, 1]), atol=1e-6)
    np.testing.assert_allclose(ramp(x, 2, -1), np.interp(x, [-1, 2], [1, 0]), atol=1e-6)
    values = np.random.default_rng(1).normal(size=1000).astype(np.float32)
    for count in (1, 10, 999, 1000):
        assert int((values >= level_of_largest(values, count)).sum()) == count
    assert level_of_largest(values, 5000) == values.min()
    with pytest.raises(ValueError, match="no values"):
        level_of_largest(values[:0], 1)
