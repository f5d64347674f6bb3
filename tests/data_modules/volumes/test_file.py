"""One file: written and read back, turned by its header, mapped from its range, converted when asked."""

import nibabel as nib
import numpy as np
import pytest
from volumes import blob

from data_modules.errors import InputError
from data_modules.roi.extract import foreground
from data_modules.roi.images import Image
from data_modules.volumes.file import Intensities, converted, load_volume, read_grid, to_nifti

UNIT = Intensities(0, 1)


def test_what_is_written_is_read_back(tmp_path):
    volume = blob(0)
    nib.save(to_nifti(volume, 2.0), tmp_path / "x.nii.gz")
    read, _ = load_volume(tmp_path / "x.nii.gz", UNIT)
    np.testing.assert_allclose(read, volume, atol=2e-7)
    assert read[volume == -1].max() == -1  # background exactly
    nib.save(to_nifti(volume, 2.0, "int16"), tmp_path / "y.nii")
    read, _ = load_volume(tmp_path / "y.nii", Intensities(0, 1000))
    np.testing.assert_allclose(read, volume, atol=1.01e-3)


@pytest.mark.parametrize("axes", ["LPS", "RAS", "SPL", "AIR", "IRP"])
def test_every_orientation_gives_the_same_volume(tmp_path, axes):
    volume = blob(1)
    volume[2:4, 5, 6] = 0.9  # no symmetry
    image = to_nifti(volume, 2.0)
    change = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(image.affine), nib.orientations.axcodes2ornt(axes)
    )
    nib.save(image.as_reoriented(change), tmp_path / "x.nii.gz")
    read, placed = load_volume(tmp_path / "x.nii.gz", UNIT)
    np.testing.assert_allclose(read, volume, atol=2e-7)
    assert nib.aff2axcodes(placed.affine) == ("S", "P", "L")
    assert read_grid(tmp_path / "x.nii.gz").axes == axes


def test_stated_axes_replace_the_header(tmp_path):
    volume = blob(2)
    volume[2:4, 5, 6] = 0.9
    nib.save(nib.Nifti1Image((volume + 1) / 2, np.eye(4)), tmp_path / "x.nii.gz")  # (D, H, W), header of no worth
    read, _ = load_volume(tmp_path / "x.nii.gz", UNIT, axes="SPL", spacing=2.0)
    np.testing.assert_allclose(read, volume, atol=2e-7)
    assert read_grid(tmp_path / "x.nii.gz", "SPL", 2.0).fits(16, 2.0)
    assert not read_grid(tmp_path / "x.nii.gz").fits(16, 2.0)
    with pytest.raises(InputError, match="axes: found 'SPA'"):
        read_grid(tmp_path / "x.nii.gz", "SPA")


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("[0, 1]", 0, 1),
        ("0..1000", 0, 1000),
        ("[-1, 1]", -1, 1),
        ("-1..1", -1, 1),
        ("0,255", 0, 255),
        ("-0.5..2.5", -0.5, 2.5),
    ],
)
def test_ranges_are_read_as_people_write_them(text, low, high):
    assert Intensities.parse(text) == Intensities(low, high)


@pytest.mark.parametrize("text", ["", "1", "1..0", "black..white", "0..1..2", "0 1"])
def test_other_ranges_are_refused(text):
    with pytest.raises(InputError, match="expected a range"):
        Intensities.parse(text)


def test_values_outside_of_the_range_are_an_error_unless_clipped(tmp_path):
    nib.save(nib.Nifti1Image(np.float32([[[0, 0.5], [1.2, -0.2]]]), np.diag([-1.0, -1, 1, 1])), tmp_path / "x.nii")
    with pytest.raises(InputError, match=r"x\.nii: holds values from -0\.2 to 1\.2, expected 0\.\.1\."):
        load_volume(tmp_path / "x.nii", UNIT)
    read, _ = load_volume(tmp_path / "x.nii", UNIT, clip=True)
    assert sorted(read.ravel()) == [-1, -1, 0, 1]
    nib.save(nib.Nifti1Image(np.float32([[[0, 0.5], [1.3, 0]]]), np.diag([-1.0, -1, 1, 1])), tmp_path / "y.nii")
    with pytest.raises(InputError, match=r"y\.nii: holds values from 0 to 1\.3, expected 0\.\.1\."):
        load_volume(tmp_path / "y.nii", UNIT, clip=True)


@pytest.mark.parametrize("affine", [np.diag([np.nan, 1, 1, 1]), np.diag([2.0, 2, 0, 1])], ids=["NaN", "singular"])
def test_headers_that_give_voxels_no_place_are_named(tmp_path, affine):
    header = nib.Nifti1Header()
    header.set_sform(affine, code=1)
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.float32), None, header), tmp_path / "x.nii")
    with pytest.raises(InputError, match=r"x\.nii: the header gives voxels no size or position"):
        read_grid(tmp_path / "x.nii")


def test_unreadable_files_are_named(tmp_path):
    path = tmp_path / "x.nii.gz"
    path.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"x\.nii\.gz: cannot be read"):
        read_grid(path)
    with pytest.raises(InputError, match=r"x\.nii\.gz: cannot be read"):
        load_volume(path, UNIT)
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4, 3), np.float32), np.eye(4)), path)
    with pytest.raises(InputError, match="expected one 3D volume"):
        read_grid(path)
    nib.save(nib.Nifti1Image(np.full((4, 4, 4), np.nan, np.float32), np.eye(4)), path)
    with pytest.raises(InputError, match="NaN or infinite"):
        load_volume(path, UNIT)


def test_conversion_keeps_the_tumour_and_its_intensities():
    """A ball of 21 voxels of 1 mm off the centre of 40x36x32 becomes one of 10 voxels of 2 mm in the middle of 16^3."""
    d, h, w = np.meshgrid(np.arange(40), np.arange(36), np.arange(32), indexing="ij")
    ball = (d - 12) ** 2 + (h - 23) ** 2 + (w - 18) ** 2 <= 100
    volume = np.where(ball, 0.4, -0.97).astype(np.float32)  # a background that is only nearly black
    result = converted(Image(volume, _spl(1.0)), 16, 2.0)
    inside = foreground(result)
    assert result.shape == (16, 16, 16)
    assert (result[~inside] == -1).all()
    np.testing.assert_allclose(result[inside], 0.4, atol=1e-6)
    assert inside.sum() * 8 == pytest.approx(ball.sum(), rel=0.1)
    np.testing.assert_allclose(np.argwhere(inside).mean(0), 7.5, atol=0.51)


def test_conversion_of_an_empty_volume_is_empty():
    assert (converted(Image(np.full((8, 8, 8), -1, np.float32), _spl(1.0)), 16, 2.0) == -1).all()


def _spl(spacing: float) -> np.ndarray:
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = spacing, -spacing, -spacing, 1
    return affine
