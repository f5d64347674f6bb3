"""Folders of volumes as data sets: what manifests say, what headers say, what is refused, what is converted."""

import json
import pickle

import nibabel as nib
import numpy as np
import pytest
import torch
from volumes import blob, write_volumes

from data_modules.errors import InputError
from data_modules.volumes.file import to_nifti
from data_modules.volumes.folder import VolumeFolder


def test_a_folder_of_tumorgen(tmp_path):
    folder = VolumeFolder(write_volumes(tmp_path, 3, manifest={"method": "X"}))
    assert len(folder) == 6
    assert folder.class_names == ("LGG", "HGG")
    assert folder.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert folder.labels.dtype == np.int64
    assert (folder.roi_size, folder.spacing) == (16, 2.0)
    assert folder.names[:2] == ("LGG/LGG_0001", "LGG/LGG_0002")
    assert folder.manifest["method"] == "X"
    assert folder.parts is None
    assert folder.patients == folder.names
    assert not folder.names_patients
    assert folder.unlisted == ()
    item = folder[4]
    assert item["volume"].shape == (1, 16, 16, 16)
    assert item["volume"].dtype == torch.float32
    assert (item["label"], item["case"]) == (1, "HGG_0002")
    np.testing.assert_allclose(item["volume"][0], blob(1001, grade=1), atol=2e-7)
    assert torch.equal(folder[-2]["volume"], item["volume"])
    assert torch.equal(folder.stack([4])[0], item["volume"])
    assert folder.stack().shape == (6, 1, 16, 16, 16)
    with pytest.raises(IndexError):
        folder[6]


def test_a_real_folder_knows_patients_and_parts(tmp_path):
    folder = VolumeFolder(
        write_volumes(tmp_path, 4, manifest={"kind": "real"}, parts=("train", "val", "test", "train"))
    )
    assert folder.parts["LGG/LGG_0002"] == "val"
    assert folder.patients[0] == "case0LGG0"
    assert folder.cases[0] == "case0LGG0_1"
    assert folder.indices(parts=["train"]).tolist() == [0, 3, 4, 7]
    assert folder.indices(1, ["val", "test"]).tolist() == [5, 6]
    nib.save(to_nifti(blob(9), 2.0), tmp_path / "LGG" / "stray.nii.gz")
    with pytest.raises(InputError, match="does not say to which part LGG/stray belongs"):
        VolumeFolder(tmp_path)


def test_volumes_that_a_manifest_does_not_list_are_read_and_named(tmp_path):
    write_volumes(tmp_path, 2, manifest={})
    nib.save(to_nifti(blob(9), 2.0), tmp_path / "LGG" / "a copy.nii.gz")
    folder = VolumeFolder(tmp_path)
    assert len(folder) == 5
    assert folder.unlisted == ("LGG/a copy",)
    assert "1 volumes that manifest.json does not list" in folder.conversions


def test_folders_can_be_sent_to_other_processes(tmp_path):
    folder = VolumeFolder(write_volumes(tmp_path, 2, manifest={}))
    assert torch.equal(pickle.loads(pickle.dumps(folder)).stack(), folder.stack())


def test_without_a_manifest_the_range_must_be_stated(tmp_path):
    write_volumes(tmp_path, 2)
    with pytest.raises(InputError, match=r"nothing says which range .* LGG/LGG_0001 holds values from 0 to 0\.\d+"):
        VolumeFolder(tmp_path)
    folder = VolumeFolder(tmp_path, intensities="[0, 1]")
    assert folder.conversions == ("intensities 0..1 mapped to -1..1",)
    assert (folder.roi_size, folder.spacing, folder.class_names) == (16, 2.0, ("LGG", "HGG"))
    with pytest.raises(InputError, match=r"manifest\.json says intensities"):
        VolumeFolder(write_volumes(tmp_path / "b", 2, manifest={}), intensities="0..1000")


def test_other_sizes_and_spacings_are_refused_or_converted(tmp_path):
    write_volumes(tmp_path, 2, size=20, spacing=1.5)
    with pytest.raises(
        InputError, match=r"4 of 4 volumes\): found 20x20x20 voxels of 1\.5x1\.5x1\.5 mm, expected 16x16x16"
    ):
        VolumeFolder(tmp_path, roi_size=16, spacing=2.0, intensities="[0, 1]")
    folder = VolumeFolder(tmp_path, roi_size=16, spacing=2.0, intensities="[0, 1]", convert=True)
    assert folder.stack().shape == (4, 1, 16, 16, 16)
    assert any("4 volumes converted from 20x20x20" in note for note in folder.conversions)
    tumour = (folder.volume(0) > -0.9).sum() * 2.0**3
    assert tumour == pytest.approx((blob(0, 20) > -0.9).sum() * 1.5**3, rel=0.15)


def test_other_axes_are_turned_and_told(tmp_path):
    write_volumes(tmp_path, 2, manifest={})
    path = tmp_path / "HGG" / "HGG_0001.nii.gz"
    expected = VolumeFolder(tmp_path).volume(2)
    nib.save(nib.as_closest_canonical(nib.load(path)), path)  # RAS
    folder = VolumeFolder(tmp_path)
    assert "axes of 1 volumes turned from RAS to LPS" in folder.conversions
    np.testing.assert_array_equal(folder.volume(2), expected)


def test_headers_that_state_nothing_are_refused(tmp_path):
    write_volumes(tmp_path, 2)
    path = tmp_path / "LGG" / "LGG_0001.nii.gz"
    nib.save(nib.Nifti1Image((blob(0) + 1) / 2, None), path)
    options = {"roi_size": 16, "spacing": 2.0, "intensities": "[0, 1]"}
    with pytest.raises(InputError, match=r"LGG_0001.*1 of 4 volumes.*states no orientation"):
        VolumeFolder(tmp_path, **options)
    for old in tmp_path.glob("*/*.nii.gz"):
        old.unlink()
    nib.save(nib.Nifti1Image((blob(0) + 1) / 2, None), path)
    folder = VolumeFolder(tmp_path, axes="SPL", class_names=["LGG"], **options)
    np.testing.assert_allclose(folder.volume(0), blob(0), atol=2e-7)
    assert any("headers ignored: stored axes taken as SPL, voxels of 2 mm" in note for note in folder.conversions)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "is not a folder"),
        (lambda root: root.mkdir(), "holds no volume; expected <class>"),
        (
            lambda root: write_volumes(root, 1, manifest={}, classes=("LGG", "HGG", "GBM")),
            "a class GBM, expected LGG, HGG",
        ),
        (lambda root: _twice(root), "LGG/LGG_0001 both as"),
        (lambda root: _damaged(root), "is no manifest of tumorgen"),
    ],
)
def test_folders_that_cannot_be_used(tmp_path, make, message):
    root = tmp_path / "x"
    make(root)
    with pytest.raises(InputError, match=message):
        VolumeFolder(root, class_names=("LGG", "HGG"))


def test_hidden_files_and_other_files_are_left_alone(tmp_path):
    write_volumes(tmp_path, 1, manifest={})
    (tmp_path / "LGG" / ".x.tmp.nii.gz").write_bytes(b"half")
    (tmp_path / "LGG" / "notes.txt").write_text("x")
    (tmp_path / "pictures").mkdir()
    assert len(VolumeFolder(tmp_path)) == 2


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ("[-1, 1]", r"LGG_0001\.nii\.gz: no voxel is background .* once -1\.\.1 is mapped"),
        ("0..1000", r"none of 4 volumes holds a tumour .* once 0\.\.1000 is mapped"),
    ],
)
def test_a_stated_range_that_is_too_wide_is_refused(tmp_path, stated, message):
    write_volumes(tmp_path, 2)  # 0..1
    for convert in (False, True):
        with pytest.raises(InputError, match=message):
            VolumeFolder(tmp_path, intensities=stated, convert=convert)


def test_a_later_volume_without_background_is_refused_and_black_ones_are_not(tmp_path):
    write_volumes(tmp_path, 2)
    nib.save(to_nifti(np.full((16, 16, 16), -1, np.float32), 2.0), tmp_path / "LGG" / "LGG_0001.nii.gz")
    nib.save(to_nifti(np.full((16, 16, 16), 0.2, np.float32), 2.0), tmp_path / "HGG" / "HGG_0002.nii.gz")
    folder = VolumeFolder(tmp_path, intensities="[0, 1]")
    assert folder.volume(0).max() == -1
    with pytest.raises(InputError, match=r"HGG_0002\.nii\.gz: no voxel is background"):
        folder.volume(3)


def test_ranges_of_a_manifest_are_believed(tmp_path):
    """A generator may well make nothing but black, or grey everywhere: that is for the figures to say."""
    for level in (-1, 0.2):
        root = write_volumes(tmp_path / str(level), 1, manifest={})
        for name in ("LGG/LGG_0001", "HGG/HGG_0001"):
            nib.save(to_nifti(np.full((16, 16, 16), level, np.float32), 2.0), root / f"{name}.nii.gz")
        assert VolumeFolder(root).stack().unique().tolist() == pytest.approx([level])


def test_conversion_does_not_clip_values_of_another_range(tmp_path):
    write_volumes(tmp_path, 1)
    for name in ("LGG/LGG_0001", "HGG/HGG_0001"):
        nib.save(
            nib.Nifti1Image(np.rint(127.5 * (blob(1) + 1)), np.diag([-2.0, -2, 2, 1])), tmp_path / f"{name}.nii.gz"
        )
    with pytest.raises(InputError, match=r"from 0 to \d+, expected 0\.\.1\. .*off by a quarter of the range at most"):
        VolumeFolder(tmp_path, intensities="[0, 1]", convert=True)


def test_a_manifest_of_another_folder_is_refused(tmp_path):
    write_volumes(tmp_path, 2, manifest={})
    for path in sorted(tmp_path.glob("*/*.nii.gz")):
        path.rename(path.with_name(f"other_{path.name}"))
    with pytest.raises(InputError, match=r"lists none of the 4 volumes here \(LGG/other_LGG_0001 .*another folder's"):
        VolumeFolder(tmp_path)


def test_files_that_a_manifest_lists_but_nobody_finds(tmp_path):
    for name, parts in (("generated", ()), ("real", ("train", "test"))):
        write_volumes(tmp_path / name, 2, manifest={}, parts=parts)
        (tmp_path / name / "LGG" / "LGG_0002.nii.gz").unlink()
    assert "1 volumes that manifest.json lists are missing" in VolumeFolder(tmp_path / "generated").conversions
    with pytest.raises(
        InputError, match=r"1 of 4 volumes that manifest\.json lists are missing, LGG/LGG_0002 for example"
    ):
        VolumeFolder(tmp_path / "real")


def _twice(root):
    write_volumes(root, 1, manifest={})
    nib.save(to_nifti(blob(0), 2.0), root / "LGG" / "LGG_0001.nii")


def _damaged(root):
    write_volumes(root, 1)
    (root / "manifest.json").write_text(json.dumps({"volumes": ["LGG/LGG_0001.nii.gz"]}))
