"""Augmentation: where it may reach, what it must leave alone, and that it repeats itself."""

import numpy as np
import pytest
import torch
from scipy.ndimage import center_of_mass

from data_modules.errors import InputError
from data_modules.roi.extract import extract
from data_modules.roi.images import Image
from data_modules.transforms import TumourAugmentation

STILL = {"flip_axes": (), "degrees": 0.0, "scale": 0.0, "translation": 0.0, "log_gamma": 0.0}


@pytest.fixture(scope="module")
def volume(scan_maker):
    scan, mask = scan_maker(seed=1)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    return torch.from_numpy(extract(Image(scan, affine), Image(mask, affine), 32).volume)[None]


def test_background_stays_and_tumour_stays_above_it(volume):
    torch.manual_seed(0)
    augment = TumourAugmentation()
    before = volume.clone()
    for _ in range(20):
        changed = augment(volume)
        assert changed.shape == volume.shape
        assert changed.dtype == torch.float32
        inside = changed > -1
        assert changed.max() <= 1
        assert changed[inside].min() >= -1 + 2 / 1024
        assert 0.6 < inside.sum() / (volume > -1).sum() < 1.5
        assert not torch.equal(changed, volume)
    assert torch.equal(volume, before)


def test_no_dark_rim(volume):
    """A tumour of one intensity keeps it to the last voxel when it is turned."""
    flat = torch.where(volume > -1, 0.4, -1.0)
    torch.manual_seed(0)
    changed = TumourAugmentation(log_gamma=0)(flat)
    np.testing.assert_allclose(changed[changed > -1].numpy(), 0.4, atol=1e-5)
    assert not torch.equal(changed, flat)


def test_repeats_itself_with_torchs_seed(volume):
    augment = TumourAugmentation()
    torch.manual_seed(7)
    first, second = augment(volume), augment(volume)
    torch.manual_seed(7)
    assert torch.equal(augment(volume), first)
    assert torch.equal(augment(volume), second)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_flips_along_the_named_axis(volume, axis):
    augment = TumourAugmentation(**STILL | {"flip_axes": (axis,), "flip_probability": 1.0})
    torch.testing.assert_close(augment(volume), volume.flip(axis + 1), rtol=0, atol=1e-6)


def test_nothing_to_do_changes_nothing(volume):
    torch.testing.assert_close(TumourAugmentation(**STILL)(volume), volume, rtol=0, atol=1e-6)


def test_size_and_place_change_as_told(volume):
    torch.manual_seed(0)
    sizes, shifts = [], []
    for _ in range(12):
        grown = TumourAugmentation(**STILL | {"scale": 0.2})(volume)
        sizes.append(float((grown > -1).sum() / (volume > -1).sum()))
        moved = TumourAugmentation(**STILL | {"translation": 3.0})(volume)
        shifts.append(np.subtract(center_of_mass((moved > -1).numpy()), center_of_mass((volume > -1).numpy()))[1:])
    assert 0.8**3 * 0.9 < min(sizes) < 0.9
    assert 1.1 < max(sizes) < 1.2**3 * 1.1
    assert 1 < np.abs(shifts).max() <= 3.2


def test_contrast_keeps_shape_black_and_white(volume):
    torch.manual_seed(0)
    changed = TumourAugmentation(**STILL | {"log_gamma": 0.5})(volume)
    assert torch.equal(changed > -1, volume > -1)
    assert changed.max() == 1
    inside = volume > -1
    order = volume[inside].argsort()
    assert (changed[inside][order].diff() >= -1e-6).all()
    assert (changed - volume).abs().max() > 0.01


def test_a_single_voxel_is_not_lost():
    volume = torch.full((1, 8, 8, 8), -1.0)
    volume[0, 4, 4, 4] = 1.0
    torch.manual_seed(0)
    for _ in range(10):
        assert (TumourAugmentation()(volume) > -1).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flip_axes": (3,)}, "flip_axes"),
        ({"flip_probability": 2.0}, "flip_probability 2"),
        ({"degrees": -1.0}, "degrees -1"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(InputError, match=message):
        TumourAugmentation(**options)
