"""Folds: patients together, classes in proportion, nobody moves; refusals with counts."""

from collections import Counter
from typing import NamedTuple

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

from data_modules.cohort.folds import FoldSettings, PatientCase, assign
from data_modules.errors import InputError


class Split(NamedTuple):
    """Cases of the three parts of one fold, sorted."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


def split_cases(cases, folds=5, val_share=0.15, seed=0):
    """The parts of every fold, if all cases are used."""
    assigned = assign(cases, FoldSettings(folds, val_share, seed), "Grade")
    assigned.check(cases)
    return [
        Split(*(tuple(sorted(m.case for m in cases if assigned.part(m.patient, k) == part)) for part in Split._fields))
        for k in range(folds)
    ]


def members(**counts):
    return [PatientCase(f"{name}{i}", f"patient-{name}{i}", name) for name, n in counts.items() for i in range(n)]


def random_members(seed):
    """A cohort with several scans for some patients, of whom a few change their class."""
    rng = np.random.default_rng(seed)
    cases = []
    for patient in range(60):
        grade = "HGG" if rng.random() < 0.7 else "LGG"
        for scan in range(rng.choice([1, 1, 1, 2, 4])):
            changed = "HGG" if scan and rng.random() < 0.2 else grade
            cases.append(PatientCase(f"p{patient}-{scan}", f"p{patient}", changed))
    return cases


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("folds", [2, 5])
def test_every_split_is_a_partition_by_patients(seed, folds):
    cases = random_members(seed)
    patient = {member.case: member.patient for member in cases}
    splits = split_cases(cases, folds, seed=seed)
    assert sorted(case for split in splits for case in split.test) == sorted(patient)
    for split in splits:
        parts = [set(split.train), set(split.val), set(split.test)]
        assert sum(map(len, parts)) == len(cases) == len(set.union(*parts))
        owners = [{patient[case] for case in part} for part in parts]
        assert not (owners[0] & owners[1])
        assert not (owners[0] & owners[2])
        assert not (owners[1] & owners[2])
        assert all(parts)


def test_proportions_equal_those_of_scikit_learn():
    cases = members(HGG=259, LGG=76)
    names = np.array([member.class_name for member in cases])
    reference = StratifiedKFold(5, shuffle=True, random_state=0).split(names, names)
    expected = sorted(tuple(sorted(Counter(names[test]).items())) for _, test in reference)
    splits = split_cases(cases)
    found = sorted(tuple(sorted(Counter(case[:3] for case in split.test).items())) for split in splits)
    assert found == expected
    for split in splits:
        held = Counter(case[:3] for case in split.val)
        rest = held + Counter(case[:3] for case in split.train)
        assert {name: held[name] for name in rest} == {name: round(0.15 * rest[name]) for name in rest}


def test_patients_with_many_scans_are_spread():
    cases = [PatientCase(f"p{p}-{s}", f"p{p}", "HGG") for p in range(10) for s in range(6 if p < 5 else 1)]
    assert {len(split.test) for split in split_cases(cases, 5)} == {7}


def test_the_same_everywhere():
    cases = members(HGG=6, LGG=4)
    splits = split_cases(cases, 2, seed=3)
    assert splits == split_cases(cases[::-1], 2, seed=3)
    assert splits != split_cases(cases, 2, seed=4)
    # golden: folds written today must be those of any later version
    assert splits[0].test == ("HGG0", "HGG2", "HGG3", "LGG1", "LGG2")
    assert splits[0].val == ("HGG1",)


def test_six_cases_in_two_folds():
    for seed in range(20):
        for split in split_cases(members(one=4, zero=2), 2, seed=seed):
            assert Counter(case[:3] for case in split.test) == {"one": 2, "zer": 1}
            assert Counter(case[:3] for case in split.train) == {"one": 1, "zer": 1}
            assert len(split.val) == 1


def test_no_validation_on_request():
    splits = split_cases(members(a=2, b=2), 2, val_share=0)
    assert all(split.val == () and len(split.train) == 2 for split in splits)


def test_one_class_is_enough_for_models_of_one_class():
    assert len(split_cases(members(HGG=10), 5)) == 5


@pytest.mark.parametrize(
    ("counts", "folds", "message"),
    [
        (
            {"HGG": 40, "LGG": 3},
            5,
            "5 folds need at least 5 patients of every class; found HGG: 40 cases of 40 patients, LGG: 3 cases of 3 patients."
            " Please use --data.folds 3 or fewer",
        ),
        ({"HGG": 4, "LGG": 1}, 2, "Please add cases of the small class"),
        ({"HGG": 2, "LGG": 2}, 2, "in fold 0 there is no patient for validation.*--data.val_share 0"),
        ({}, 2, "found no cases"),
    ],
)
def test_impossible_splits_are_refused_with_counts(counts, folds, message):
    with pytest.raises(InputError, match=f"these cases cannot be split: .*{message}"):
        split_cases(members(**counts), folds)


def test_many_scans_of_few_patients_are_not_enough():
    cases = members(HGG=9) + [PatientCase(f"LGG{i}", "one patient", "LGG") for i in range(9)]
    with pytest.raises(InputError, match="LGG: 9 cases of 1 patients"):
        split_cases(cases, 3)


@pytest.mark.parametrize(("folds", "val_share", "message"), [(1, 0.1, "folds is 1"), (5, 1.0, "val_share is 1.0")])
def test_settings_out_of_range(folds, val_share, message):
    with pytest.raises(InputError, match=message):
        FoldSettings(folds, val_share)


SETTINGS = FoldSettings(5)


def places(folds, patients=None):
    """Of every patient, the part in each fold."""
    everyone = patients or {patient for part in folds.test for patient in part}
    return {patient: tuple(folds.part(patient, k) for k in range(5)) for patient in everyone}


@pytest.mark.parametrize("seed", range(3))
def test_new_patients_are_appended_and_nobody_moves(seed):
    cases = random_members(seed)
    old = [m for m in cases if int(m.patient[1:]) < 40]
    first = assign(old, SETTINGS, "Grade")
    second = assign(cases, SETTINGS, "other", first)
    assert places(first).items() <= places(second).items()
    assert second.stratified_by == "Grade"
    sizes = [sum(m.patient in part for m in cases) for part in second.test]
    assert max(sizes) - min(sizes) <= 3, "new ones go where there are few"
    held = [sum(second.part(m.patient, k) == "val" for m in cases) / (len(cases) - sizes[k]) for k in range(5)]
    assert all(0.1 < share < 0.2 for share in held)
    assert assign(cases, SETTINGS, "Grade", second) == second


def test_one_who_was_removed_and_comes_back_is_where_he_was():
    cases = random_members(0)
    first = assign(cases, SETTINGS, "Grade")
    without = assign([m for m in cases if m.patient != "p7"], SETTINGS, "Grade", first)
    assert without == first
    assert assign(cases, SETTINGS, "Grade", without) == first


def test_unlabelled_patients_are_dealt_after_all_others():
    """They move nobody who has a class, so that a class that is told later changes no fold."""
    cases = random_members(0)
    nameless = [PatientCase(f"x{i}-0", f"x{i}", "") for i in range(20)]
    found, labelled = assign([*nameless, *cases], SETTINGS, "Grade"), assign(cases, SETTINGS, "Grade")
    assert places(labelled).items() < places(found).items()
    assert [sum(p[0] == "x" for p in part) for part in found.test] == [4] * 5
    assert all(sum(p[0] == "x" for p in part) == round(0.15 * 16) for part in found.validation)
    told = [m._replace(class_name="HGG") if not m.class_name else m for m in [*nameless, *cases]]
    assert assign(told, SETTINGS, "Grade", found) == found


def test_a_case_without_a_class_goes_with_its_patient():
    cases = [*random_members(0), PatientCase("p7-x", "p7", "")]
    assert assign(cases, SETTINGS, "Grade") == assign(random_members(0), SETTINGS, "Grade")


def test_a_class_that_is_used_must_be_in_every_part():
    cases = members(HGG=20, LGG=6, rare=1)
    folds = assign(cases, SETTINGS, "Grade")
    folds.check([m for m in cases if m.class_name != "rare"])
    with pytest.raises(InputError, match=r"rare: 1 cases of 1 patients\. Please add cases"):
        folds.check(cases)
    with pytest.raises(InputError, match="in fold 0 there is no patient for validation; found LGG: 6"):
        assign(members(HGG=20, LGG=6), FoldSettings(5, 0.05), "Grade").check(members(LGG=6))
