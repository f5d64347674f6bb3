"""Real regions as a folder of volumes: what prepare cut out, with patients and parts, whole or not at all."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from data_modules.brats import BraTSDataModule
from data_modules.errors import InputError
from data_modules.volumes.export import export_volumes
from data_modules.volumes.folder import VolumeFolder


def prepared(cohort, cache):
    module = BraTSDataModule(cohort, roi_size=32, folds=2, fold=1, cache_dir=cache)
    module.prepare_data()
    module.setup()
    return module


@pytest.fixture
def data(tiny_cohort, tmp_path):
    return prepared(tiny_cohort, tmp_path / "cache")


def test_exported_volumes_are_those_of_the_data_module(data, tmp_path):
    folder = VolumeFolder(export_volumes(data, tmp_path / "real"))
    assert len(folder) == 8
    assert (folder.class_names, folder.roi_size, folder.spacing) == (("LGG", "HGG"), 32, 1.0)
    assert folder.manifest["kind"] == "real"
    assert folder.manifest["fold"] == {"fold": 1, "folds": 2}
    assert folder.unlisted == ()
    by_case = dict(zip(folder.cases, range(8), strict=True))
    for part, dataset in (("train", data.train), ("val", data.val), ("test", data.test)):
        assert len(folder.indices(parts=[part])) == len(dataset)
        for entry in dataset.entries:
            index = by_case[entry.case]
            assert folder.parts[folder.names[index]] == part
            assert folder.labels[index] == entry.label
            assert folder.patients[index] == entry.patient
            original = data.store.load(entry.roi)
            expected = np.where(original > -0.9, original, -1)
            np.testing.assert_allclose(folder.volume(index), expected, atol=2e-7)
    header = nib.load(folder.paths[0]).header
    assert b"synthetic" not in header["descrip"].tobytes()


def test_the_same_again_is_left_as_it_is_and_anything_else_is_not_touched(data, tmp_path):
    folder = export_volumes(data, tmp_path / "real")
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert export_volumes(data, folder) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times
    next(folder.rglob("*.nii.gz")).unlink()
    with pytest.raises(InputError, match=r"--export: .*real holds something else already"):
        export_volumes(data, folder)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    (tmp_path / "empty").mkdir()
    assert len(VolumeFolder(export_volumes(data, tmp_path / "empty"))) == 8


def test_an_export_that_is_interrupted_leaves_nothing(data, tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("data_modules.volumes.export.write_json", full)
    with pytest.raises(OSError, match="no space"):
        export_volumes(data, tmp_path / "real")
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_the_manifest_lists_every_file(data, tmp_path):
    folder = export_volumes(data, tmp_path / "real")
    content = json.loads((folder / "manifest.json").read_text())
    assert {entry["file"] for entry in content["volumes"]} == {
        path.relative_to(folder).as_posix() for path in folder.rglob("*.nii.gz")
    }
    assert (folder / "split.private.json").is_file()
    keys = {"file", "class", "case", "patient", "part", "digest"}
    assert all(set(entry) == keys for entry in content["volumes"])


@pytest.mark.parametrize("role", ["flair", "seg"])
def test_an_export_of_files_that_have_changed_since_is_stale(tiny_cohort, tmp_path, role):
    cohort = shutil.copytree(tiny_cohort, tmp_path / "cohort")
    folder = export_volumes(prepared(cohort, tmp_path / "cache"), tmp_path / "real")
    before = (folder / "manifest.json").read_bytes()
    path = next(cohort.rglob(f"*_{role}.nii.gz"))
    image = nib.load(path)
    voxels = np.array(image.dataobj)
    inside = np.argwhere(np.array(nib.load(str(path).replace(role, "seg")).dataobj) > 0)
    voxels[tuple(inside[0])] += 1
    nib.save(nib.Nifti1Image(voxels, image.affine), path)
    with pytest.raises(InputError, match="cut from scans and masks that have changed since"):
        export_volumes(prepared(cohort, tmp_path / "cache"), folder)
    assert (folder / "manifest.json").read_bytes() == before


def test_an_export_of_another_cache_format_is_stale(data, tmp_path, monkeypatch):
    folder = export_volumes(data, tmp_path / "real")
    monkeypatch.setattr("data_modules.roi.cache.FORMAT", 10**6)
    with pytest.raises(InputError, match="holds something else already"):
        export_volumes(data, folder)
