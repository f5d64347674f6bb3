"""Preparing a cohort: what is rebuilt, what is reported, what the manifest says."""

import hashlib
import io
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from rich.console import Console

from data_modules.cohort.discover import discover
from data_modules.errors import InputError
from data_modules.roi.cache import RoiSettings, RoiStore
from data_modules.roi.prepare import Manifest, prepare

SETTINGS = RoiSettings("flair", 32, 1.0, "crop")


@pytest.fixture
def root(tmp_path, cohort_writer):
    return cohort_writer(tmp_path / "data", 3, 2)


def run(root, *, skip_unusable=False):
    """Prepares; returns the manifest, the store and what was printed."""
    store = RoiStore(root, None, SETTINGS)
    console = Console(file=io.StringIO(), width=200)
    manifest = prepare(discover(root), store, skip_unusable=skip_unusable, workers=2, console=console)
    return manifest, store, console.file.getvalue()


def times(store):
    return {path.name: path.stat().st_mtime_ns for path in (store.folder / "rois").iterdir()}


def test_manifest_holds_every_case(root, tmp_path):
    manifest, store, output = run(root)
    assert "5/5" in output
    path = tmp_path / "manifest.json"
    manifest.write(path, store)
    content = json.loads(path.read_text())
    assert content["classes"] == ["LGG", "HGG"]
    assert content["settings"] == {"modality": "flair", "roi_size": 32, "spacing": 1.0, "oversize": "crop"}
    first = content["cases"][0]
    assert (first["case"], first["class"], first["label"], first["patient"]) == (
        "BraTS19_Tiny_HGG0_1",
        "HGG",
        1,
        "BraTS19_Tiny_HGG0",
    )
    scan = root / first["scan"]["file"]
    assert first["scan"]["sha256"] == hashlib.sha256(scan.read_bytes()).hexdigest()
    assert first["tumour_voxels"] == (np.asarray(nib.load(root / first["mask"]["file"]).dataobj) > 0).sum()
    assert first["tumour_voxels"] == sum(first["label_voxels"].values()) == first["roi_voxels"]
    assert first["cropped_voxels"] == 0
    assert first["geometry"]["orientation"] == "LPS"
    assert Manifest.read(path).counts() == manifest.counts() == {"LGG": 2, "HGG": 3}
    Manifest.read(path).write(tmp_path / "again.json", store)
    assert (tmp_path / "again.json").read_text() == path.read_text()


def test_only_what_changed_is_rebuilt(root):
    _, store, _ = run(root)
    before = times(store)
    manifest, _, output = run(root)
    assert times(store) == before
    assert "Preparing" not in output
    changed = root / manifest.entries[2].roi.scan.file
    image = nib.load(changed)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) + 1, image.affine), changed)
    _, _, output = run(root)
    after = times(store)
    assert "1/1" in output
    assert {name for name in after if after[name] != before.get(name)} == {
        f"{manifest.entries[2].case}.json",
        next(name for name in after if name not in before),
    }


def test_an_array_that_was_deleted_is_rebuilt(root):
    manifest, store, _ = run(root)
    (store.folder / "rois" / manifest.entries[0].roi.file).unlink()
    manifest, store, _ = run(root)
    assert store.load(manifest.entries[0].roi).max() == 1


def spoil(root):
    """Breaks three of the five cases in different ways; one more problem is seen by the names alone."""
    case = "BraTS19_Tiny_HGG0_1"
    scan = root / "HGG" / case / f"{case}_flair.nii.gz"
    scan.write_bytes(scan.read_bytes()[:3000])
    case = "BraTS19_Tiny_HGG1_1"
    mask = root / "HGG" / case / f"{case}_seg.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((48, 52, 40), np.uint8), nib.load(mask).affine), mask)
    case = "BraTS19_Tiny_LGG0_1"
    mask = root / "LGG" / case / f"{case}_seg.nii.gz"
    image = nib.load(mask)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[:, :, :-2], image.affine), mask)
    case = "BraTS19_Tiny_HGG2_1"
    shutil.move(root / "HGG" / case / f"{case}_seg.nii.gz", root / "elsewhere.txt")


def test_all_unusable_cases_are_reported_together(root):
    spoil(root)
    with pytest.raises(InputError) as caught:
        run(root)
    message = str(caught.value)
    assert message.startswith("4 of 5 cases cannot be used:")
    assert message.endswith("--data.skip_unusable true.")
    lines = message.splitlines()[1:-1]
    assert len(lines) == 4
    for name, reason in (
        ("BraTS19_Tiny_HGG0_1_flair.nii.gz", "cannot be read, the file is cut off"),
        ("BraTS19_Tiny_HGG1_1", "the mask is empty"),
        ("BraTS19_Tiny_HGG2_1", "has no segmentation; found only BraTS19_Tiny_HGG2_1_flair.nii.gz"),
        ("BraTS19_Tiny_LGG0_1", "differ in shape: (40, 52, 48) and (38, 52, 48)"),
    ):
        (line,) = [line for line in lines if name in line]
        assert reason in line
        assert line.count(str(root)) == 1


def test_unusable_cases_are_skipped_when_told_to(root):
    spoil(root)
    manifest, _, output = run(root, skip_unusable=True)
    assert [entry.case for entry in manifest.entries] == ["BraTS19_Tiny_LGG1_1"]
    assert output.count("left out") == 4
    assert manifest.class_names == ("LGG", "HGG")


def test_nothing_left_is_an_error_even_when_skipping(root):
    spoil(root)
    shutil.rmtree(root / "LGG" / "BraTS19_Tiny_LGG1_1")
    with pytest.raises(InputError, match="No usable case is left"):
        run(root, skip_unusable=True)


def test_resection_cavities_are_pointed_out(root):
    path = next(root.rglob("*_seg.nii.gz"))
    image = nib.load(path)
    voxels = np.asarray(image.dataobj).copy()
    voxels[voxels == 1], voxels[voxels == 2] = 3, 4
    nib.save(nib.Nifti1Image(voxels, image.affine), path)
    assert "1 cases hold both labels 3 and 4" in " ".join(run(root)[2].split())


@pytest.mark.parametrize("content", [None, "", "{}", '{"classes": [], "cases": [{}]}'])
def test_unusable_manifests(tmp_path, content):
    path = tmp_path / "manifest.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match="run `tumorgen prepare` first"):
        Manifest.read(path)
