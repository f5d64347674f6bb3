"""The folder of phantoms: BraTS 2019 layout, the same bytes however it came about, and never two cohorts in one."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest

from data_modules.cohort.discover import discover
from data_modules.cohort.naming import patient_of
from data_modules.errors import InputError
from data_modules.files import sha256
from data_modules.phantoms import cohort as module
from data_modules.phantoms.cohort import PhantomCohort, case_files, case_name, write_cohort
from tumorgen.__main__ import main

COHORT = PhantomCohort(hgg=2, lgg=1, seed=3)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    assert write_cohort(folder, COHORT, workers=1) == 3
    return folder


def checksums(folder):
    return {path.relative_to(folder).as_posix(): sha256(path) for path in folder.rglob("*") if path.is_file()}


def test_layout_is_that_of_brats_2019(root):
    names = {f"{grade}/{case_name(3, grade, i)}/{case_name(3, grade, i)}" for grade, i in COHORT.cases()}
    expected = {f"{name}_{role}.nii.gz" for name in names for role in ("flair", "seg")}
    assert set(checksums(root)) == expected | {"name_mapping.csv", "phantom.json"}
    with (root / "name_mapping.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["Grade"], row["BraTS_2019_subject_ID"]) for row in rows] == [
        ("HGG", "BraTS19_Phantom3_HGG0001_1"),
        ("HGG", "BraTS19_Phantom3_HGG0002_1"),
        ("LGG", "BraTS19_Phantom3_LGG0001_1"),
    ]
    found = discover(root)
    assert found.class_names == ("LGG", "HGG")
    assert len(found.cases) == len({case.patient for case in found.cases}) == 3
    assert not found.problems


def test_files_are_like_those_of_brats_and_say_what_they_are(root):
    images = [nib.load(path) for path in case_files(root, 3, "HGG", 1)]
    for image, dtype in zip(images, (np.int16, np.uint8), strict=True):
        assert image.shape == (240, 240, 155)
        assert image.get_data_dtype() == dtype
        assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
        np.testing.assert_array_equal(image.affine, [[-1, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]])
        assert image.header.get_zooms() == (1, 1, 1)
        assert image.header.get_xyzt_units()[0] == "mm"
        description = image.header["descrip"].item().decode()
        assert "PHANTOM" in description
        assert "tests and demonstrations only" in description
    flair, segmentation = (np.asarray(image.dataobj) for image in images)
    assert set(np.unique(segmentation)) == {0, 1, 2, 4}
    assert flair.min() == 0
    assert (flair[segmentation > 0] > 0).all()


def test_names_depend_on_the_seed_and_those_of_seed_0_stay():
    assert case_name(0, "HGG", 1) == "BraTS19_Phantom_HGG0001_1"
    patients = {patient_of(case_name(seed, "LGG", 2)) for seed in (0, 1, 10, 101)}
    assert patients == {f"BraTS19_Phantom{seed}_LGG0002" for seed in ("", 1, 10, 101)}


def test_two_processes_write_the_same_bytes(root, tmp_path):
    assert write_cohort(tmp_path, COHORT, workers=2) == 3
    assert checksums(tmp_path) == checksums(root)


def test_an_interrupted_cohort_is_continued(root, tmp_path, monkeypatch):
    real = module.write_case
    done = []

    def killed(root, seed, grade, index):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(index)
        real(root, seed, grade, index)

    monkeypatch.setattr(module, "write_case", killed)
    with pytest.raises(KeyboardInterrupt):
        write_cohort(tmp_path, COHORT, workers=1)
    assert not (tmp_path / "name_mapping.csv").exists()
    monkeypatch.setattr(module, "write_case", real)
    case_files(tmp_path, 3, "HGG", 2)[1].unlink()
    kept = case_files(tmp_path, 3, "HGG", 1)[0]
    before = kept.stat().st_mtime_ns
    assert write_cohort(tmp_path, COHORT, workers=1) == 2
    assert checksums(tmp_path) == checksums(root)
    assert kept.stat().st_mtime_ns == before
    assert write_cohort(tmp_path, COHORT) == 0


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (PhantomCohort(2, 1, 4), "seed 3 instead of 4"),
        (PhantomCohort(3, 1, 3), "hgg 2 instead of 3"),
        (PhantomCohort(2, 2, 3), "lgg 1 instead of 2"),
    ],
)
def test_another_cohort_is_refused(root, other, message):
    before = checksums(root)
    with pytest.raises(InputError, match=message):
        write_cohort(root, other)
    assert checksums(root) == before


def test_cohorts_of_other_parameters_and_foreign_folders_are_refused(tmp_path):
    settings = tmp_path / "phantom.json"
    settings.write_text(json.dumps({**COHORT.settings(), "parameters_sha256": "0"}))
    with pytest.raises(InputError, match="parameters_sha256"):
        write_cohort(tmp_path, COHORT)
    settings.write_text("[")
    with pytest.raises(InputError, match="cannot be read"):
        write_cohort(tmp_path, COHORT)
    settings.rename(tmp_path / "scans.txt")
    with pytest.raises(InputError, match="not empty"):
        write_cohort(tmp_path, COHORT)
    with pytest.raises(InputError, match="is a file"):
        write_cohort(tmp_path / "scans.txt", COHORT)


@pytest.mark.parametrize(("hgg", "lgg", "seed"), [(0, 0, 0), (-1, 3, 0), (1, -3, 0), (1, 1, -1)])
def test_numbers_that_make_no_cohort_are_refused(hgg, lgg, seed):
    with pytest.raises(InputError, match="phantom cohort"):
        PhantomCohort(hgg, lgg, seed)


def test_command_line(root, tmp_path, capsys):
    words = ["phantom", "--output", str(tmp_path / "c"), "--hgg", "0", "--lgg", "1", "--seed", "3"]
    assert main(words) == 0
    assert "1 phantoms (1 written now" in capsys.readouterr().out
    path = case_files(tmp_path / "c", 3, "LGG", 1)[0]
    assert sha256(path) == sha256(case_files(root, 3, "LGG", 1)[0]), "a case does not depend on the size of its cohort"
    assert main([*words[:-1], "4"]) == 2
    assert main([*words, "--sed", "4"]) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 2
    assert "another phantom cohort" in error[0]
    assert "--sed" in error[1]
