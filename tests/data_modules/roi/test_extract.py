"""Extraction of regions of interest, and putting them back."""

import itertools

import nibabel as nib
import numpy as np
import pytest
import torch
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

from data_modules.errors import InputError
from data_modules.roi.extract import BACKGROUND, denormalise, extract, foreground, place
from data_modules.roi.images import Image

AFFINE = np.array([[-1.0, 0, 0, 20], [0, -1, 0, 30], [0, 0, 1, -10], [0, 0, 0, 1]])


@pytest.fixture
def pair(scan_maker):
    scan, mask = scan_maker(seed=3)
    return Image(scan, AFFINE), Image(mask, AFFINE)


def oriented(image: Image, codes: str) -> Image:
    change = ornt_transform(io_orientation(image.affine), axcodes2ornt(tuple(codes)))
    voxels = apply_orientation(image.voxels, change)
    return Image(voxels, image.affine @ inv_ornt_aff(change, image.voxels.shape))


def world(affine, indices):
    return nib.affines.apply_affine(affine, indices)


@pytest.mark.parametrize("codes", ["LPS", "RAS", "LAS", "PSR", "SLA"])
@pytest.mark.parametrize("roi_size", [32, 14])
def test_a_region_put_back_equals_its_scan(pair, codes, roi_size):
    scan, mask = (oriented(image, codes) for image in pair)
    roi = extract(scan, mask, roi_size)
    assert roi.geometry.orientation == codes
    back = place(roi.volume, roi.geometry)
    inside = place((roi.volume > BACKGROUND).astype(np.uint8), roi.geometry, fill=0).astype(bool)
    assert back.shape == scan.voxels.shape
    assert inside.sum() == roi.tumour_voxels - roi.cropped_voxels
    if roi_size == 32:
        np.testing.assert_array_equal(inside, mask.voxels > 0)
    else:
        assert roi.cropped_voxels > 0
        assert not (inside & (mask.voxels == 0)).any()
    np.testing.assert_array_equal(back == BACKGROUND, ~inside)
    np.testing.assert_allclose(denormalise(back, roi.intensity_range)[inside], scan.voxels[inside], rtol=1e-5)


@pytest.mark.parametrize("codes", ["RAS", "PSR"])
def test_orientation_does_not_change_the_region(pair, codes):
    turned = extract(*(oriented(image, codes) for image in pair), roi_size=32)
    plain = extract(*pair, roi_size=32)
    np.testing.assert_array_equal(turned.volume, plain.volume)
    np.testing.assert_allclose(turned.geometry.affine, plain.geometry.affine, atol=1e-9)


def test_axes_are_slice_row_column_of_an_lps_scan(pair):
    scan, mask = pair
    volume = extract(scan, mask, 32).volume
    x, y, z = (slice(hits.min(), hits.max() + 1) for hits in np.nonzero(mask.voxels))
    tumour = np.where(mask.voxels, scan.voxels, 0)[x, y, z].transpose(2, 1, 0)
    d, h, w = (slice(hits.min(), hits.max() + 1) for hits in np.nonzero(volume > BACKGROUND))
    np.testing.assert_array_equal(volume[d, h, w] > BACKGROUND, tumour > 0)
    assert np.argmax(volume[d, h, w]) == np.argmax(tumour)


@pytest.mark.parametrize("codes", ["LPS", "PSR"])
def test_the_affine_leads_to_the_voxel_of_the_scan(pair, codes):
    scan, mask = (oriented(image, codes) for image in pair)
    roi = extract(scan, mask, 32)
    indices = np.argwhere(roi.volume > BACKGROUND)[::37]
    there = np.linalg.inv(scan.affine) @ np.c_[world(roi.geometry.affine, indices), np.ones(len(indices))].T
    voxels = np.rint(there[:3]).astype(int)
    np.testing.assert_allclose(there[:3], voxels, atol=1e-6)
    np.testing.assert_allclose(
        denormalise(roi.volume[tuple(indices.T)], roi.intensity_range), scan.voxels[tuple(voxels)], rtol=1e-5
    )


def test_the_region_is_centred_on_one_bounding_box(pair):
    roi = extract(*pair, roi_size=32)
    for hits in np.nonzero(roi.volume > BACKGROUND):
        assert abs(hits.min() - (31 - hits.max())) <= 1


def test_intensities_follow_the_formula():
    scan = np.zeros((5, 4, 3), np.int16)
    mask = np.zeros(scan.shape, np.uint8)
    mask[1:4, 1, 1] = 1
    scan[1:4, 1, 1] = (0, 1024, 4096)
    scan[0, 0, 0] = 9999  # outside the tumour: without influence
    roi = extract(Image(scan, AFFINE), Image(mask, AFFINE), 4)
    assert roi.intensity_range == (0, 4096)
    assert sorted(roi.volume[roi.volume > BACKGROUND]) == [-1 + 2 / 1024, -0.5, 1.0]
    assert (roi.volume == BACKGROUND).sum() == 64 - 3


def test_negative_intensities_move_the_black_end(pair):
    scan, mask = pair
    shifted = Image(scan.voxels.astype(np.float64) - 900, AFFINE)
    roi = extract(shifted, mask, 32)
    inside = shifted.voxels[mask.voxels > 0]
    assert roi.intensity_range == (inside.min(), inside.max())
    assert inside.min() < 0
    assert roi.volume[roi.volume > BACKGROUND].min() == pytest.approx(-1 + 2 / 1024)
    assert roi.volume.dtype == np.float32
    assert roi.volume.max() == 1


def test_foreground_is_a_strict_threshold_on_arrays_and_tensors():
    values = [-1, -1 + 2 / 1024, -0.9, -0.89, 1]
    assert foreground(np.array(values)).tolist() == [False, False, False, True, True]
    assert foreground(torch.tensor(values, dtype=torch.float64)).tolist() == [False, False, False, True, True]


@pytest.mark.parametrize("roi_size", [8, 13, 17])
def test_cropped_voxels_are_counted(pair, roi_size):
    scan, mask = pair
    roi = extract(scan, mask, roi_size)
    assert roi.tumour_voxels == (mask.voxels > 0).sum()
    assert roi.cropped_voxels == roi.tumour_voxels - (roi.volume > BACKGROUND).sum()
    assert (roi.cropped_voxels > 0) == (roi_size < 17)
    values, counts = np.unique(mask.voxels[mask.voxels > 0], return_counts=True)
    assert roi.label_voxels == dict(zip(values, counts, strict=True))


def test_fit_enlarges_the_voxels_instead_of_cropping(pair):
    scan, mask = pair
    roi = extract(scan, mask, 12, oversize="fit")
    longest = max(np.ptp(hits) + 1 for hits in np.nonzero(mask.voxels))
    assert roi.geometry.spacing == pytest.approx(longest / 12)
    assert roi.cropped_voxels == 0
    np.testing.assert_allclose(np.linalg.norm(roi.geometry.affine[:3, :3], axis=0), longest / 12)
    unneeded = extract(scan, mask, 32, oversize="fit")
    np.testing.assert_array_equal(unneeded.volume, extract(scan, mask, 32).volume)


def ellipsoid(spacing, shape, centre_mm=(1.0, -2.0, 3.0), radius_mm=14.0):
    """A smooth field on a ball in world coordinates, sampled with voxels of any size."""
    affine = np.diag([*(-1, -1, 1) * np.array(spacing), 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    points = world(affine, np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1))
    scan = 500 + 5 * points[..., 0] + 3 * points[..., 1] - 4 * points[..., 2]
    mask = np.linalg.norm(points - centre_mm, axis=-1) < radius_mm
    return Image(scan.astype(np.float32), affine), Image(mask.astype(np.uint8), affine)


@pytest.mark.parametrize(
    ("scan_spacing", "spacing", "roi_size"),
    [
        ((1, 1, 1), 2.0, 20),
        ((1, 1, 3), 1.0, 40),
        ((2, 1.5, 2), 1.0, 40),
        ((0.5, 0.5, 0.5), 1.0, 40),
        ((1, 1, 1), 4.0, 12),
    ],
)
def test_resampled_regions_show_the_same_anatomy(scan_spacing, spacing, roi_size):
    scan, mask = ellipsoid(scan_spacing, [int(40 / s) for s in scan_spacing])
    roi = extract(scan, mask, roi_size, spacing)
    inside = roi.volume > BACKGROUND
    volume = inside.sum() * spacing**3
    assert volume == pytest.approx((mask.voxels > 0).sum() * np.prod(scan_spacing), rel=max(0.07, 0.03 * spacing))
    points = world(roi.geometry.affine, np.argwhere(inside))
    np.testing.assert_allclose(points.mean(axis=0), (1, -2, 3), atol=0.35 * max(*scan_spacing, spacing))
    expected = 500 + points @ (5, 3, -4)
    values = denormalise(roi.volume[inside], roi.intensity_range)
    # at the rim the mean over the kernel's part inside the tumour moves inwards by a fraction of a voxel, never to black
    assert np.abs(values - expected).max() < 6 * max(*scan_spacing, spacing)
    assert np.abs(values - expected).mean() < 1.5 * max(*scan_spacing, spacing)


def test_resampled_regions_go_back_into_their_scan():
    scan, mask = (oriented(image, "PSR") for image in ellipsoid((1, 1, 1), (40, 40, 40)))
    roi = extract(scan, mask, 20, 2.0)
    inside = place((roi.volume > BACKGROUND).astype(np.uint8), roi.geometry, fill=0) > 0
    tumour = mask.voxels > 0
    assert 2 * (inside & tumour).sum() / (inside.sum() + tumour.sum()) > 0.95
    both = inside & tumour
    back = denormalise(place(roi.volume, roi.geometry), roi.intensity_range)
    assert np.abs(back - scan.voxels)[both].mean() < 3
    assert np.abs(back - scan.voxels)[both].max() < 15


def test_a_reconstruction_is_put_back_within_its_own_shape(pair):
    roi = extract(*pair, roi_size=32)
    hazy = np.where(roi.volume > BACKGROUND, roi.volume, -0.99).astype(np.float32)
    np.testing.assert_array_equal(
        place(hazy, roi.geometry, mask=foreground(hazy)) > BACKGROUND, place(roi.volume, roi.geometry) > BACKGROUND
    )


def test_masks_are_rounded_never_truncated(pair):
    scan, mask = pair
    hazy = Image(mask.voxels.astype(np.float32) - 3e-8, AFFINE)
    hazy.voxels[0, 0, 0] = 0.3
    np.testing.assert_array_equal(extract(scan, hazy, 32).volume, extract(scan, mask, 32).volume)
    assert extract(scan, hazy, 32).label_voxels == extract(scan, mask, 32).label_voxels


@pytest.mark.parametrize("shift", [-0.0, 1e-4, 0.05])
def test_headers_may_round(pair, shift):
    scan, mask = pair
    affine = AFFINE.copy()
    affine[:3, 3] += shift
    extract(scan, Image(mask.voxels, affine), 32)


def test_scan_and_mask_may_be_stored_in_different_orientations(pair):
    scan, mask = pair
    roi = extract(scan, oriented(mask, "RAS"), 32)
    np.testing.assert_array_equal(roi.volume, extract(scan, mask, 32).volume)


def broken(name, scan, mask):
    moved = AFFINE.copy()
    moved[0, 3] += 1
    nothing = np.zeros_like(mask.voxels)
    with_nan = scan.voxels.astype(np.float32)
    with_nan[np.nonzero(mask.voxels)[0][0], np.nonzero(mask.voxels)[1][0], np.nonzero(mask.voxels)[2][0]] = np.nan
    mask_nan = mask.voxels.astype(np.float32)
    mask_nan[0, 0, 0] = np.nan
    return {
        "shape": (scan, Image(mask.voxels[:-1], AFFINE), "differ in shape"),
        "affine": (scan, Image(mask.voxels, moved), "lie up to 1 mm apart"),
        "empty": (scan, Image(nothing, AFFINE), "the mask is empty"),
        "nan": (Image(with_nan, AFFINE), mask, "NaN or infinite intensities inside the tumour"),
        "mask nan": (scan, Image(mask_nan, AFFINE), "the mask holds NaN"),
        "black": (Image(np.zeros_like(scan.voxels), AFFINE), mask, "all intensities inside the tumour are 0"),
    }[name]


@pytest.mark.parametrize("name", ["shape", "affine", "empty", "nan", "mask nan", "black"])
def test_unusable_pairs_are_refused(pair, name):
    scan, mask, message = broken(name, *pair)
    with pytest.raises(InputError, match=message):
        extract(scan, mask, 32)


def test_nan_outside_the_tumour_is_harmless(pair):
    scan, mask = pair
    voxels = np.where(mask.voxels > 0, scan.voxels, np.nan)
    np.testing.assert_array_equal(extract(Image(voxels, AFFINE), mask, 32).volume, extract(scan, mask, 32).volume)


def test_a_tumour_that_vanishes_is_refused():
    mask = np.zeros((20, 20, 20), np.uint8)
    mask[10, 10, 10] = 1
    with pytest.raises(InputError, match="vanishes at a spacing of 4 mm"):
        extract(Image(np.ones(mask.shape), AFFINE), Image(mask, AFFINE), 8, 4.0)


def test_tumours_at_the_rim_of_the_scan_are_padded():
    scan, mask = np.zeros((10, 11, 12), np.int16), np.zeros((10, 11, 12), np.uint8)
    for corner in itertools.product((0, 8), (0, 9), (0, 10)):
        mask[:] = 0
        mask[tuple(slice(c, c + 2) for c in corner)] = 1
        scan[:] = np.arange(scan.size).reshape(scan.shape)
        roi = extract(Image(scan, AFFINE), Image(mask, AFFINE), 16)
        back = denormalise(place(roi.volume, roi.geometry), roi.intensity_range)
        np.testing.assert_allclose(back[mask > 0], np.maximum(scan[mask > 0], scan[mask > 0].max() / 1024), rtol=1e-5)
