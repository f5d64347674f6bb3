"""Discovery of cohorts in every layout, and what is said about those that do not fit."""

from pathlib import Path

import pytest

from data_modules.cohort.discover import discover
from data_modules.errors import InputError


def touch(*paths: Path) -> None:
    """Discovery reads names only: empty files will do."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def pair(folder: Path, case: str, pattern: str = "{}_{}.nii.gz", roles=("flair", "seg")) -> None:
    touch(*[folder / pattern.format(case, role) for role in roles])


def found(cohort) -> dict[str, tuple[str, int]]:
    return {case.case: (case.class_name, case.label) for case in cohort.cases}


def reasons(cohort) -> str:
    return "\n".join(f"{problem.path}: {problem.reason}" for problem in cohort.problems)


def test_2015_folders(tmp_path):
    for grade, case in (("HGG", "brats_tcia_pat101_0001"), ("LGG", "brats_2013_pat0001_1")):
        for name in ("VSD.Brain.XX.O.MR_Flair.1", "VSD.Brain.XX.O.MR_T1.2", "VSD.Brain_3more.XX.O.OT.3"):
            touch(tmp_path / grade / case / name / f"{name}.mha")
    cohort = discover(tmp_path)
    assert found(cohort) == {"brats_tcia_pat101_0001": ("HGG", 1), "brats_2013_pat0001_1": ("LGG", 0)}
    assert cohort.class_names == ("LGG", "HGG")
    assert not cohort.problems


def test_2019_folders_and_any_sequence(tmp_path):
    pair(tmp_path / "data" / "HGG" / "a", "BraTS19_A_1", roles=("flair", "t1", "t1ce", "t2", "seg"))
    pair(tmp_path / "data" / "LGG" / "b", "BraTS19_B_1", roles=("flair", "t1", "t1ce", "t2", "seg"))
    cohort = discover(tmp_path, modality="t1ce")
    assert [case.scan.name for case in cohort.cases] == ["BraTS19_A_1_t1ce.nii.gz", "BraTS19_B_1_t1ce.nii.gz"]
    assert [case.patient for case in cohort.cases] == ["BraTS19_A", "BraTS19_B"]


def test_2020_name_mapping_and_its_odd_mask(tmp_path):
    pair(tmp_path / "BraTS20_Training_001", "BraTS20_Training_001", "{}_{}.nii")
    odd = tmp_path / "BraTS20_Training_355"
    touch(odd / "BraTS20_Training_355_flair.nii", odd / "W39_1998.09.19_Segm.nii")
    (tmp_path / "name_mapping.csv").write_text(
        "Grade,BraTS_2019_subject_ID,BraTS_2020_subject_ID\n"
        "HGG,BraTS19_CBICA_A_1,BraTS20_Training_001\nLGG,NA,BraTS20_Training_355\nLGG,NA,BraTS20_Training_999\n"
    )
    cohort = discover(tmp_path)
    assert found(cohort) == {"BraTS20_Training_001": ("HGG", 1), "BraTS20_Training_355": ("LGG", 0)}
    assert cohort.cases[1].mask.name == "W39_1998.09.19_Segm.nii"


def test_the_mask_of_another_brats_case_is_not_adopted(tmp_path):
    pair(tmp_path / "HGG" / "a", "BraTS19_A_1")
    touch(tmp_path / "HGG" / "b" / "BraTS19_B_1_flair.nii.gz", tmp_path / "HGG" / "b" / "BraTS19_C_1_seg.nii.gz")
    cohort = discover(tmp_path)
    assert list(found(cohort)) == ["BraTS19_A_1"]
    assert "BraTS19_B_1 has no segmentation" in reasons(cohort)
    assert "BraTS19_C_1 has no flair scan" in reasons(cohort)


def test_2023_names_with_an_own_table(tmp_path):
    for number in ("00000-000", "00002-000", "00002-001"):
        pair(
            tmp_path / "data" / number, f"BraTS-GLI-{number}", "{}-{}.nii.gz", roles=("t2f", "t1n", "t1c", "t2w", "seg")
        )
    table = tmp_path / "mgmt.csv"
    table.write_text("id;MGMT\nBraTS-GLI-00000-000;1.0\nBraTS-GLI-00002-000;0.0\nBraTS-GLI-00002-001;0.0\n")
    cohort = discover(tmp_path / "data", grades=table, grade_column="MGMT")
    assert cohort.class_names == ("0", "1")
    assert [case.patient for case in cohort.cases] == ["BraTS-GLI-00000", "BraTS-GLI-00002", "BraTS-GLI-00002"]


def test_bare_names_and_a_patient_column(tmp_path):
    for case in ("first", "second", "third"):
        touch(tmp_path / "data" / case / "flair.nii", tmp_path / "data" / case / "seg.nii")
    table = tmp_path / "own.csv"
    table.write_text("patient,scan,kind\n7,first,solid\n7,second,cystic\n8,third,solid\n")
    cohort = discover(tmp_path / "data", grades=table, grade_column="kind")
    assert cohort.class_names == ("cystic", "solid")
    first, second, third = (case.patient for case in cohort.cases)
    assert first == second != third


def test_name_mapping_links_patients_across_years(tmp_path):
    pair(tmp_path / "2018" / "HGG" / "a", "Brats18_CBICA_A_1")
    pair(tmp_path / "2020" / "a", "BraTS20_Training_001")
    pair(tmp_path / "2018" / "LGG" / "b", "Brats18_CBICA_B_1")
    (tmp_path / "name_mapping.csv").write_text(
        "Grade,BraTS_2018_subject_ID,BraTS_2020_subject_ID\nHGG,Brats18_CBICA_A_1,BraTS20_Training_001\n"
    )
    patients = {case.case: case.patient for case in discover(tmp_path).cases}
    assert patients["Brats18_CBICA_A_1"] == patients["BraTS20_Training_001"] != patients["Brats18_CBICA_B_1"]


def test_own_table_keeps_the_links_of_the_name_mapping(tmp_path):
    pair(tmp_path / "a", "Brats18_CBICA_A_1")
    pair(tmp_path / "b", "BraTS20_Training_001")
    (tmp_path / "name_mapping.csv").write_text(
        "Grade,BraTS_2018_subject_ID,BraTS_2020_subject_ID\nHGG,Brats18_CBICA_A_1,BraTS20_Training_001\n"
    )
    table = tmp_path / "own.csv"
    table.write_text("case,idh\nBrats18_CBICA_A_1,1\nBraTS20_Training_001,0\n")
    first, second = discover(tmp_path, grades=table, grade_column="idh").cases
    assert (first.patient, first.label != second.label) == (second.patient, True)


def test_numeric_classes_are_ordered_by_value(tmp_path):
    rows = ["case,who"]
    for number in (10, 2, 3):
        pair(tmp_path / f"c{number}", f"c{number}")
        rows.append(f"c{number},{number}")
    (tmp_path / "who.csv").write_text("\n".join(rows))
    table = {"grades": tmp_path / "who.csv", "grade_column": "who"}
    assert discover(tmp_path, **table).class_names == ("2", "3", "10")
    assert discover(tmp_path, **table, class_names=["10", "3", "2"]).cases[0].label == 0


def test_everything_wrong_is_listed_at_once(tmp_path):
    pair(tmp_path / "good", "good")
    touch(tmp_path / "noscan" / "noscan_seg.nii.gz", tmp_path / "nomask" / "nomask_flair.nii.gz")
    for folder in ("one", "two"):
        pair(tmp_path / folder, "twice")
    for case in ("ungraded", "missing", "other", "contradiction"):
        pair(tmp_path / case, case)
    table = tmp_path / "grades.csv"
    table.write_text("case,Grade\ngood,HGG\nungraded,\nother,II\ncontradiction,HGG\ncontradiction,LGG\nstranger,LGG\n")
    cohort = discover(tmp_path, grades=table, class_names=["HGG"])
    text = reasons(cohort)
    assert list(found(cohort)) == ["good"]
    assert len(cohort.problems) == 6
    for telling in (
        "noscan has no flair scan; found only noscan_seg.nii.gz",
        "nomask has no segmentation; found only nomask_flair.nii.gz",
        "twice has more than one flair scan: one/twice_flair.nii.gz, two/twice_flair.nii.gz",
        "ungraded_flair.nii.gz: has no class",
        "missing_flair.nii.gz: has no class",
        "rows of different classes for contradiction",
    ):
        assert telling in text
    assert cohort.notes == (
        f"{table}: 1 of 6 rows name no case of the cohort: stranger",
        "1 cases of other classes (II) left out: --data.class_names ['HGG']",
    )


def test_cases_of_classes_that_are_not_asked_for_are_members_and_no_problems(tmp_path):
    pair(tmp_path / "HGG" / "a", "a")
    touch(tmp_path / "LGG" / "b" / "b_flair.nii.gz")
    cohort = discover(tmp_path, class_names=["HGG"])
    assert list(found(cohort)) == ["a"]
    assert cohort.problems == ()
    assert [(m.case, m.class_name) for m in cohort.all_cases] == [("a", "HGG"), ("b", "LGG")]
    assert len(discover(tmp_path).problems) == 1


def test_folder_and_name_mapping_must_agree(tmp_path):
    pair(tmp_path / "HGG" / "a", "BraTS19_A_1")
    pair(tmp_path / "LGG" / "b", "BraTS19_B_1")
    (tmp_path / "name_mapping.csv").write_text("Grade,BraTS_2019_subject_ID\nLGG,BraTS19_A_1\nLGG,BraTS19_B_1\n")
    assert "lies in a folder HGG, but name_mapping.csv says LGG" in reasons(discover(tmp_path))


def test_linked_folders_are_followed_once(tmp_path):
    pair(tmp_path / "store" / "a", "BraTS19_A_1")
    root = tmp_path / "root"
    (root / "HGG").mkdir(parents=True)
    (root / "HGG" / "a").symlink_to(tmp_path / "store" / "a", target_is_directory=True)
    (root / "loop").symlink_to(root, target_is_directory=True)
    assert list(found(discover(root))) == ["BraTS19_A_1"]


def test_no_folder(tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        discover(tmp_path / "absent")


def test_empty_folder(tmp_path):
    with pytest.raises(InputError, match="holds no case; expected files such as X_flair"):
        discover(tmp_path)


def test_nothing_says_the_class(tmp_path):
    pair(tmp_path / "a", "BraTS2021_00001")
    with pytest.raises(InputError, match=r"--data\.grades FILE\.csv"):
        discover(tmp_path)


def test_a_typo_in_the_column_names_the_columns(tmp_path):
    pair(tmp_path / "a", "a")
    (tmp_path / "t.csv").write_text("case,grade\na,HGG\n")
    with pytest.raises(InputError, match="no column 'graed'; the columns are 'case', 'grade'"):
        discover(tmp_path, grades=tmp_path / "t.csv", grade_column="graed")


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "the file is empty"), ("case,grade\nb,HGG\n", "no column names the cases.*such as 'a'")],
)
def test_tables_of_no_use(tmp_path, content, message):
    pair(tmp_path / "a", "a")
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        discover(tmp_path, grades=tmp_path / "t.csv", grade_column="grade")


def test_missing_table(tmp_path):
    pair(tmp_path / "a", "a")
    with pytest.raises(InputError, match=r"absent\.csv: cannot be read"):
        discover(tmp_path, grades=tmp_path / "absent.csv")


def test_no_usable_case_is_an_error_at_once(tmp_path):
    touch(tmp_path / "HGG" / "a" / "BraTS19_A_1_flair.nii.gz")
    with pytest.raises(InputError, match=r"1 of 1 cases cannot be used(.|\n)*No usable case is left"):
        discover(tmp_path)


def test_class_names_that_no_case_has(tmp_path):
    pair(tmp_path / "HGG" / "a", "BraTS19_A_1")
    with pytest.raises(InputError, match="no case has the class 'LG'"):
        discover(tmp_path, class_names=["LG", "HGG"])
    with pytest.raises(InputError, match="names a class twice"):
        discover(tmp_path, class_names=["HGG", "HGG"])
