"""The six real cases: every quirk of theirs that is known."""

import shutil

import nibabel as nib
import numpy as np
import pytest

from data_modules.brats import BraTSDataModule
from data_modules.roi.extract import BACKGROUND, denormalise, place

pytestmark = pytest.mark.realdata

TUMOUR_VOXELS = {
    "BraTS2021_00006": 137_911,
    "BraTS2021_01476": 51_173,
    "BraTS2021_01478": 230_882,
    "BraTS2021_01482": 30_073,
    "BraTS2021_01646": 59_924,
    "BraTS2021_01658": 166_389,
}


@pytest.fixture(scope="module")
def options(real_data, tmp_path_factory):
    return {
        "root": real_data / "brats2021",
        "grades": real_data / "grades.csv",
        "grade_column": "enhancing",
        "cache_dir": tmp_path_factory.mktemp("cache"),
        "folds": 2,
    }


@pytest.fixture(scope="module")
def prepared(options):
    data = BraTSDataModule(**options)
    data.prepare_data()
    data.setup()
    return data


def test_all_six_are_prepared(prepared):
    assert prepared.class_names == ("0", "1")
    assert prepared.manifest.counts() == {"0": 2, "1": 4}
    assert {entry.case: entry.roi.tumour_voxels for entry in prepared.manifest.entries} == TUMOUR_VOXELS
    cropped = {entry.case: entry.roi.cropped_voxels for entry in prepared.manifest.entries if entry.roi.cropped_voxels}
    assert list(cropped) == ["BraTS2021_01478"]
    assert set(prepared.case_record("BraTS2021_01646").roi.label_voxels) == {2, 4}
    assert (len(prepared.train), len(prepared.val), len(prepared.test)) == (2, 1, 3)


def test_regions_go_back_into_their_scans(prepared):
    for entry in prepared.manifest.entries:
        volume, roi = prepared.store.load(entry.roi), entry.roi
        scan = np.asarray(nib.load(prepared.root / roi.scan.file).dataobj)
        mask = np.asarray(nib.load(prepared.root / roi.mask.file).dataobj) > 0
        back = place(volume, roi.geometry)
        inside = back > BACKGROUND
        assert (inside ^ mask).sum() == roi.cropped_voxels
        expected = np.maximum(scan[inside], roi.intensity_range[1] / 1024)
        np.testing.assert_allclose(denormalise(back, roi.intensity_range)[inside], expected, rtol=1e-5)


def test_the_large_tumour_can_be_fitted_instead(options):
    data = BraTSDataModule(**options, oversize="fit")
    data.prepare_data()
    roi = data.case_record("BraTS2021_01478").roi
    assert roi.cropped_voxels == 0
    assert roi.geometry.spacing == pytest.approx(134 / 128)


def test_a_mask_of_another_patient_in_the_wrong_place_is_found(options, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(options["root"], copy)
    path = copy / "BraTS2021_00006" / "BraTS2021_00006_seg.nii.gz"
    image = nib.load(path)
    affine = image.affine.copy()
    affine[:3, 3] += (3, 0, 0)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), path)
    with pytest.raises(ValueError, match=r"BraTS2021_00006_flair\.nii\.gz: scan and mask lie up to 3 mm apart"):
        BraTSDataModule(**options | {"root": copy}).prepare_data()
