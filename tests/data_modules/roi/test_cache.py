"""The store of prepared regions: equal to what was extracted, rebuilt only where something changed, safe among processes."""

import json
import multiprocessing
import os
import time
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from data_modules.cohort.discover import discover
from data_modules.errors import InputError
from data_modules.roi.cache import RoiRecord, RoiSettings, RoiStore, default_cache
from data_modules.roi.extract import BACKGROUND, extract, place
from data_modules.roi.images import read_image

SETTINGS = RoiSettings("flair", 32, 1.0, "crop")


@pytest.fixture
def cohort(tmp_path, cohort_writer):
    return discover(cohort_writer(tmp_path / "data", 2, 1))


@pytest.fixture
def store(cohort):
    return RoiStore(cohort.root, None, SETTINGS)


def files(store) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in store.folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "settings", [SETTINGS, replace(SETTINGS, spacing=2.0), replace(SETTINGS, roi_size=12, oversize="fit")]
)
def test_cached_equals_uncached(cohort, settings):
    store = RoiStore(cohort.root, None, settings)
    for case in cohort.cases:
        record = store.build(case)
        roi = extract(
            read_image(case.scan)[0],
            read_image(case.mask)[0],
            settings.roi_size,
            settings.spacing,
            settings.oversize,
        )
        volume = store.load(record)
        assert volume.dtype == np.float32
        np.testing.assert_array_equal(volume, roi.volume)
        assert record.roi_voxels == (volume > BACKGROUND).sum()


def test_only_the_tumour_is_on_disk(cohort, store):
    record = store.build(cohort.cases[0])
    block = np.load(store.folder / "rois" / record.file)
    assert block.size < 32**3 / 5
    for axis in range(3):
        for face in (0, -1):
            assert (np.take(block, face, axis=axis) > BACKGROUND).any()


def test_records_survive_json_and_place_the_volume(cohort, store):
    case = cohort.cases[0]
    record = RoiRecord.from_json(json.loads(json.dumps(store.build(case).to_json())))
    assert record.geometry.orientation == "LPS"
    mask = place((store.load(record) > BACKGROUND).astype(np.uint8), record.geometry, fill=0)
    np.testing.assert_array_equal(mask > 0, np.asarray(nib.load(case.mask).dataobj) > 0)
    current = store.current(case)
    assert current is not None
    assert current.to_json() == record.to_json()


def test_changed_files_are_noticed(cohort, store):
    case = cohort.cases[0]
    assert store.current(case) is None
    old = store.build(case)
    scan = nib.load(case.scan)
    nib.save(nib.Nifti1Image(np.asarray(scan.dataobj) * 2, scan.affine), case.scan)
    assert store.current(case) is None
    assert store.build(case).file != old.file


def test_touched_files_are_not_rebuilt(cohort, store):
    case = cohort.cases[0]
    record = store.build(case)
    os.utime(case.mask, (1, 1))
    current = store.current(case)
    assert current is not None
    assert (current.file, current.mask.modified_ns) == (record.file, 10**9)
    stored = json.loads((store.folder / "rois" / f"{case.case}.json").read_text())
    assert stored["mask"]["modified_ns"] == 10**9


def test_settings_have_folders_of_their_own(cohort):
    folders = {
        RoiStore(cohort.root, None, settings).folder
        for settings in (
            SETTINGS,
            replace(SETTINGS, modality="t2"),
            replace(SETTINGS, roi_size=16),
            replace(SETTINGS, spacing=1.0000001),
            replace(SETTINGS, oversize="fit"),
        )
    }
    assert len(folders) == 5


def test_a_cache_moves_with_its_cohort_or_knows_it(tmp_path, cohort, store):
    record = store.build(cohort.cases[0])
    moved = tmp_path / "moved"
    cohort.root.rename(moved)
    current = RoiStore(moved, None, SETTINGS).current(discover(moved).cases[0])
    assert current is not None
    assert current.file == record.file
    shared = tmp_path / "shared"
    assert RoiStore(moved, shared, SETTINGS).folder != RoiStore(tmp_path / "other", shared, SETTINGS).folder


def test_default_cache(tmp_path, monkeypatch):
    assert default_cache(tmp_path) == tmp_path / ".tumorgen"
    assert default_cache(tmp_path / "not" / "yet") == tmp_path / "not" / "yet" / ".tumorgen"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.delenv("TUMORGEN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert default_cache(tmp_path) == Path("/x/tumorgen/rois")
    monkeypatch.setenv("TUMORGEN_CACHE", "/own")
    assert default_cache(tmp_path) == Path("/own/rois")


@pytest.mark.parametrize("damage", ["cut", "gone", "text"])
def test_damaged_arrays_are_named(cohort, store, damage):
    record = store.build(cohort.cases[0])
    path = store.folder / "rois" / record.file
    content = path.read_bytes()
    path.write_bytes({"cut": content[: len(content) // 2], "gone": b"", "text": b"no array"}[damage])
    with pytest.raises(InputError, match=rf"{record.file}: the prepared array is missing or damaged"):
        store.load(record)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"case": 1}'])
def test_damaged_records_are_rebuilt(cohort, store, content):
    case = cohort.cases[0]
    store.build(case)
    (store.folder / "rois" / f"{case.case}.json").write_text(content)
    assert store.current(case) is None


def _build_repeatedly(root: Path, start, failures) -> None:
    cohort = discover(root)
    store = RoiStore(root, None, SETTINGS)
    start.wait()
    try:
        for _ in range(4):
            for case in cohort.cases:
                record = store.build(case)
                store.load(record)
                if store.current(case) is None:
                    failures.put(f"{case.case}: no current record")
    except Exception as error:
        failures.put(repr(error))


def test_two_processes_at_once_do_no_harm(cohort, store):
    context = multiprocessing.get_context("fork")
    start, failures = context.Event(), context.Queue()
    workers = [context.Process(target=_build_repeatedly, args=(cohort.root, start, failures)) for _ in range(2)]
    for worker in workers:
        worker.start()
    start.set()
    deadline = time.monotonic() + 60
    for worker in workers:
        worker.join(max(0.1, deadline - time.monotonic()))
        assert worker.exitcode == 0
    assert failures.empty()
    assert sorted(Path(name).suffix for name in files(store)) == [".json"] * 3 + [".npy"] * 3
    for case in cohort.cases:
        record = store.current(case)
        assert record is not None
        expected = extract(read_image(case.scan)[0], read_image(case.mask)[0], 32)
        np.testing.assert_array_equal(store.load(record), expected.volume)
