"""File names of every BraTS release, and of copies of them."""

from pathlib import Path

import pytest

from data_modules.cohort.naming import parse, patient_of


@pytest.mark.parametrize(
    ("path", "case", "role"),
    [
        ("c/BraTS19_CBICA_AAB_1_flair.nii.gz", "BraTS19_CBICA_AAB_1", "flair"),
        ("c/BraTS20_Training_001_t1ce.nii", "BraTS20_Training_001", "t1ce"),
        ("c/BraTS2021_00006_seg.nii.gz", "BraTS2021_00006", "seg"),
        ("c/BraTS-GLI-00005-000-t2f.nii.gz", "BraTS-GLI-00005-000", "flair"),
        ("c/BraTS-GLI-00005-000-t1n.nii.gz", "BraTS-GLI-00005-000", "t1"),
        ("c/BraTS-GLI-00005-000-t1c.nii.gz", "BraTS-GLI-00005-000", "t1ce"),
        ("c/BraTS-GLI-00005-000-t2w.nii.gz", "BraTS-GLI-00005-000", "t2"),
        ("case7/flair.nii.gz", "case7", "flair"),
        ("case7/SEG.NII.GZ", "case7", "seg"),
        ("BraTS20_Training_355/W39_1998.09.19_Segm.nii", "W39_1998.09.19", "seg"),
        ("HGG/brats_tcia_pat101_0001/VSD.Brain.XX.O.MR_Flair.40863.mha", "brats_tcia_pat101_0001", "flair"),
        (
            "HGG/brats_2013_pat0001_1/VSD.Brain.XX.O.MR_T1c.54514/VSD.Brain.XX.O.MR_T1c.54514.mha",
            "brats_2013_pat0001_1",
            "t1ce",
        ),
        (
            "HGG/brats_2013_pat0001_1/VSD.Brain_3more.XX.O.OT.54517/VSD.Brain_3more.XX.O.OT.54517.mha",
            "brats_2013_pat0001_1",
            "seg",
        ),
    ],
)
def test_case_and_role_are_read(path, case, role):
    image = parse(Path(path))
    assert image is not None
    assert (image.case, image.role) == (case, role)


@pytest.mark.parametrize("name", ["notes.txt", "X_brain.nii.gz", "X_flair.json", "._X_flair.nii.gz", "survival.csv"])
def test_other_files_are_ignored(name):
    assert parse(Path("c", name)) is None


@pytest.mark.parametrize(
    ("case", "patient"),
    [
        ("Brats18_CBICA_AAB_1", "Brats18_CBICA_AAB"),
        ("brats_tcia_pat101_0002", "brats_tcia_pat101"),
        ("BraTS-GLI-00005-001", "BraTS-GLI-00005"),
        ("BraTS20_Training_001", "BraTS20_Training_001"),
        ("BraTS2021_00006", "BraTS2021_00006"),
        ("mine_1", "mine_1"),
    ],
)
def test_patient_is_the_case_without_its_scan_number(case, patient):
    assert patient_of(case) == patient
