"""Reading image files, whole and broken."""

import gzip
import hashlib

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from data_modules.errors import InputError
from data_modules.roi.images import read_image

AFFINE = np.array([[-1.0, 0, 0, 10], [0, -2, 0, 20], [0, 0, 3, -30], [0, 0, 0, 1]])


@pytest.fixture
def voxels():
    return np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
def test_nifti(tmp_path, voxels, name, kind, dtype):
    nib.save(kind(voxels.astype(dtype), AFFINE), tmp_path / name)
    image, digest = read_image(tmp_path / name)
    np.testing.assert_array_equal(image.voxels, voxels)
    np.testing.assert_allclose(image.affine, AFFINE)
    assert digest == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()


def test_scaling_in_the_header_is_applied(tmp_path, voxels):
    image = nib.Nifti1Image(voxels, AFFINE)
    image.header.set_slope_inter(0.5, 7)
    nib.save(image, tmp_path / "a.nii.gz")
    stored = nib.load(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(read_image(tmp_path / "a.nii.gz")[0].voxels, np.asarray(stored.dataobj))


def test_compression_is_told_by_content(tmp_path, voxels):
    nib.save(nib.Nifti1Image(voxels, AFFINE), tmp_path / "a.nii")
    (tmp_path / "plain.nii.gz").write_bytes((tmp_path / "a.nii").read_bytes())
    (tmp_path / "packed.nii").write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes()))
    for name in ("plain.nii.gz", "packed.nii"):
        np.testing.assert_array_equal(read_image(tmp_path / name)[0].voxels, voxels)


def test_metaimage_lies_where_the_nifti_of_the_same_image_lies(tmp_path, voxels):
    image = SimpleITK.GetImageFromArray(voxels)
    image.SetSpacing((1.0, 2.0, 3.0))
    image.SetOrigin((5.0, -6.0, 7.0))
    image.SetDirection((0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    for name in ("a.mha", "a.nii.gz"):
        SimpleITK.WriteImage(image, str(tmp_path / name))
    meta, nifti = read_image(tmp_path / "a.mha")[0], read_image(tmp_path / "a.nii.gz")[0]
    np.testing.assert_array_equal(meta.voxels, nifti.voxels)
    np.testing.assert_allclose(meta.affine, nifti.affine, atol=1e-5)


def test_trailing_axes_of_length_one_are_dropped(tmp_path, voxels):
    nib.save(nib.Nifti1Image(voxels[..., None], AFFINE), tmp_path / "a.nii.gz")
    assert read_image(tmp_path / "a.nii.gz")[0].voxels.shape == (4, 5, 6)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("share", [0, 0.1, 0.6, 0.98])
def test_a_file_that_was_cut_off_is_named(tmp_path, name, share):
    rng = np.random.default_rng(0)
    nib.save(nib.Nifti1Image(rng.integers(0, 999, (8, 9, 10)).astype(np.int16), AFFINE), tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=rf"{name}: cannot be read, the file is cut off or not an image"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("name", ["absent.nii.gz", "absent.mha"])
def test_missing_file(tmp_path, name):
    with pytest.raises(InputError, match=f"{name}: cannot be read"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("name", ["page.nii.gz", "page.mha"])
def test_something_else_under_the_name_of_an_image(tmp_path, name):
    (tmp_path / name).write_text("<html>404 not found</html>" * 50)
    with pytest.raises(InputError, match=f"{name}: cannot be read"):
        read_image(tmp_path / name)


def test_four_dimensions(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6, 2), np.int16), AFFINE), tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match="expected one 3D volume"):
        read_image(tmp_path / "a.nii.gz")


def test_colours(tmp_path):
    colours = np.zeros((4, 5, 6), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(colours, AFFINE), tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match="expected numbers"):
        read_image(tmp_path / "a.nii.gz")


def test_no_position_in_space(tmp_path, voxels):
    image = nib.Nifti1Image(voxels, AFFINE)
    image.set_sform(np.diag([1.0, 0, 1, 1]), code=1)
    nib.save(image, tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match="no size or position in space"):
        read_image(tmp_path / "a.nii.gz")
