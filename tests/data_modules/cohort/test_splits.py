"""Folds: patients together, classes in proportion, refusals with counts."""

import json
from collections import Counter

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold

from data_modules.cohort.splits import Member, make_splits, read_split, write_splits
from data_modules.errors import InputError


def members(**counts):
    return [Member(f"{name}{i}", f"patient-{name}{i}", name) for name, n in counts.items() for i in range(n)]


def random_members(seed):
    """A cohort with several scans for some patients, of whom a few change their class."""
    rng = np.random.default_rng(seed)
    cases = []
    for patient in range(60):
        grade = "HGG" if rng.random() < 0.7 else "LGG"
        for scan in range(rng.choice([1, 1, 1, 2, 4])):
            changed = "HGG" if scan and rng.random() < 0.2 else grade
            cases.append(Member(f"p{patient}-{scan}", f"p{patient}", changed))
    return cases


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("folds", [2, 5])
def test_every_split_is_a_partition_by_patients(seed, folds):
    cases = random_members(seed)
    patient = {member.case: member.patient for member in cases}
    splits = make_splits(cases, folds, seed=seed)
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
    splits = make_splits(cases)
    found = sorted(tuple(sorted(Counter(case[:3] for case in split.test).items())) for split in splits)
    assert found == expected
    for split in splits:
        held = Counter(case[:3] for case in split.val)
        rest = held + Counter(case[:3] for case in split.train)
        assert {name: held[name] for name in rest} == {name: round(0.15 * rest[name]) for name in rest}


def test_patients_with_many_scans_are_spread():
    cases = [Member(f"p{p}-{s}", f"p{p}", "HGG") for p in range(10) for s in range(6 if p < 5 else 1)]
    assert {len(split.test) for split in make_splits(cases, 5)} == {7}


def test_the_same_everywhere():
    cases = members(HGG=6, LGG=4)
    splits = make_splits(cases, 2, seed=3)
    assert splits == make_splits(cases[::-1], 2, seed=3)
    assert splits != make_splits(cases, 2, seed=4)
    # golden: folds written today must be those of any later version
    assert splits[0].test == ("HGG0", "HGG2", "HGG3", "LGG1", "LGG2")
    assert splits[0].val == ("HGG1",)


def test_six_cases_in_two_folds():
    for seed in range(20):
        for split in make_splits(members(one=4, zero=2), 2, seed=seed):
            assert Counter(case[:3] for case in split.test) == {"one": 2, "zer": 1}
            assert Counter(case[:3] for case in split.train) == {"one": 1, "zer": 1}
            assert len(split.val) == 1


def test_no_validation_on_request():
    splits = make_splits(members(a=2, b=2), 2, val_share=0)
    assert all(split.val == () and len(split.train) == 2 for split in splits)


def test_one_class_is_enough_for_models_of_one_class():
    assert len(make_splits(members(HGG=10), 5)) == 5


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
        ({"HGG": 2, "LGG": 2}, 2, "in fold 0 no patient can be spared for validation.*--data.val_share 0"),
        ({}, 2, "found no cases"),
    ],
)
def test_impossible_splits_are_refused_with_counts(counts, folds, message):
    with pytest.raises(InputError, match=f"these cases cannot be split: .*{message}"):
        make_splits(members(**counts), folds)


def test_many_scans_of_few_patients_are_not_enough():
    cases = members(HGG=9) + [Member(f"LGG{i}", "one patient", "LGG") for i in range(9)]
    with pytest.raises(InputError, match="LGG: 9 cases of 1 patients"):
        make_splits(cases, 3)


@pytest.mark.parametrize(("folds", "val_share", "message"), [(1, 0.1, "folds is 1"), (5, 1.0, "val_share is 1.0")])
def test_settings_out_of_range(folds, val_share, message):
    with pytest.raises(InputError, match=message):
        make_splits(members(a=9, b=9), folds, val_share)


def test_splits_survive_their_file(tmp_path):
    cases = members(HGG=6, LGG=4)
    splits = make_splits(cases, 2)
    write_splits(tmp_path / "folds.json", splits, cases, folds=2, seed=0, val_share=0.15)
    assert read_split(tmp_path / "folds.json", 1) == splits[1]
    content = json.loads((tmp_path / "folds.json").read_text())
    assert (content["seed"], content["patients"]["HGG0"]) == (0, "patient-HGG0")
    for fold, path in ((2, "folds.json"), (0, "absent.json")):
        with pytest.raises(InputError, match="run `tumorgen prepare` first"):
            read_split(tmp_path / path, fold)
