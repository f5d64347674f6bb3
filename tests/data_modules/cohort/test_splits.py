"""The split file of a cohort: one, with a key; classes select from it."""

import json
import multiprocessing

import pytest

from data_modules.brats import BraTSDataModule
from data_modules.cohort.folds import FoldSettings, PatientCase
from data_modules.cohort.splits import CohortSplit, split_path, update_split
from data_modules.errors import InputError

SETTINGS = FoldSettings(2, 0.3)


def members(number, grade="HGG"):
    return [PatientCase(f"{grade}{i}_1", f"{grade}{i}", grade) for i in range(number)]


def test_a_split_survives_its_file_and_further_settings_are_added(tmp_path):
    path, cases = tmp_path / "split.private.json", members(6) + members(6, "LGG")
    folds = update_split(path, cases, SETTINGS, "Grade", cases)
    first = CohortSplit.read(path)
    assert first.of(SETTINGS, path) == folds
    before = path.read_bytes()
    update_split(path, cases, SETTINGS, "Grade", cases)
    assert path.read_bytes() == before
    other = FoldSettings(3, 0.3, seed=1)
    update_split(path, cases, other, "IDH", cases)
    second = CohortSplit.read(path)
    assert second.key == first.key
    assert (second.of(SETTINGS, path), second.of(other, path).stratified_by) == (folds, "IDH")
    content = json.loads(path.read_text())
    assert (len(content["id"]), len(bytes.fromhex(content["key"]))) == (16, 32)
    assert content["key"] not in repr(second), "a key is not printed"


def test_no_two_cohorts_have_a_key_in_common(tmp_path):
    keys = []
    for name in ("a", "b"):
        update_split(tmp_path / name / "s.json", members(6), SETTINGS, "Grade", members(6))
        keys.append(CohortSplit.read(tmp_path / name / "s.json").key)
    assert keys[0].split != keys[1].split
    assert not set(keys[0].hashes(["HGG0"])) & set(keys[1].hashes(["HGG0"]))


def test_removed_patients_are_listed(tmp_path):
    path = tmp_path / "split.private.json"
    for number, removed in ((16, ()), (15, ("HGG15",)), (17, ())):
        update_split(path, members(number), SETTINGS, "Grade", members(number))
        assert CohortSplit.read(path).removed == removed


def test_what_cannot_be_split_is_refused_before_anything_is_written(tmp_path):
    path = tmp_path / "cache" / "split.private.json"
    with pytest.raises(InputError, match="at least 2 patients"):
        update_split(path, members(6), SETTINGS, "Grade", members(1))
    assert not path.parent.exists()


@pytest.mark.parametrize("content", [None, "{", "{}", '{"id": "a", "key": "xy", "removed": [], "assignments": []}'])
def test_a_split_that_is_missing_or_damaged_says_what_to_type(tmp_path, content):
    path = tmp_path / "split.private.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match="run `tumorgen prepare` first"):
        CohortSplit.read(path)


def test_folds_that_nobody_made(tmp_path):
    path = tmp_path / "split.private.json"
    update_split(path, members(6), SETTINGS, "Grade", members(6))
    with pytest.raises(InputError, match=r"has no 5 folds of seed 0 with a validation share of 0\.15; run"):
        CohortSplit.read(path).of(FoldSettings(), path)


def _update(path, seed):
    update_split(path, members(6), FoldSettings(2, 0.3, seed), "Grade", members(6))


def test_processes_that_prepare_at_once_agree_on_one_file(tmp_path):
    path = tmp_path / "split.private.json"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_update, args=(path, seed)) for seed in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [settings.seed for settings in sorted(CohortSplit.read(path).folds, key=lambda one: one.seed)] == list(
        range(6)
    )


def test_a_split_lies_with_the_caches_and_is_told_apart_from_those_of_other_cohorts(tmp_path):
    root = tmp_path / "cohort"
    root.mkdir()
    assert split_path(root, None) == root / ".tumorgen" / "split.private.json"
    assert split_path(root, root / "x") == root / "x" / "split.private.json"
    elsewhere = split_path(root, tmp_path / "cache")
    assert elsewhere.parent.parent == tmp_path / "cache"
    assert elsewhere != split_path(tmp_path / "other" / "cohort", tmp_path / "cache")


# ---------------------------------------------------------------------- of BraTS


def ready(root, cache, **options):
    data = BraTSDataModule(root, cache_dir=cache, roi_size=16, spacing=2.0, **{"folds": 3, "val_share": 0.4} | options)
    data.prepare_data()
    data.setup()
    return data


def cases_of(data):
    return {part: set(volumes.cases) for part, volumes in data.parts().items()}


@pytest.fixture(scope="module")
def cohort(cohort_writer, tmp_path_factory):
    """Nine cases of each grade."""
    return cohort_writer(tmp_path_factory.mktemp("cohort"), 9, 9)


def test_classes_select_from_the_folds_of_the_whole_cohort(cohort, tmp_path):
    """A model per class is tested on patients that no model of the other class has seen either."""
    for fold in range(3):
        whole = cases_of(ready(cohort, tmp_path, fold=fold))
        for name in ("LGG", "HGG"):
            data = ready(cohort, tmp_path / f"first{fold}{name}", class_names=[name], fold=fold)
            assert cases_of(data) == {part: {c for c in own if name in c} for part, own in whole.items()}
            assert data.class_names == (name,)


def test_another_column_uses_the_same_folds(cohort, tmp_path):
    first = cases_of(ready(cohort, tmp_path))
    rows = [f"{case},{'ab'[int(case[-3]) % 2]}" for own in first.values() for case in sorted(own)]
    (tmp_path / "t.csv").write_text("\n".join(["case,IDH", *rows]))
    second = ready(cohort, tmp_path, grades=tmp_path / "t.csv", grade_column="IDH")
    assert second.class_names == ("a", "b")
    assert cases_of(second) == first


def test_cases_that_cannot_be_used_have_a_place_all_the_same(cohort, tmp_path, pair_writer):
    """Otherwise folds would depend on which sequence was prepared first, and on files that are repaired later."""
    root = tmp_path / "cohort"
    root.mkdir()
    for grade in ("HGG", "LGG"):
        (root / grade).symlink_to(cohort / grade)
    (root / "more").mkdir()
    _, mask = pair_writer(root / "more" / "LGG" / "x", "BraTS19_X_1")
    mask.unlink()
    pair_writer(root / "more" / "y", "BraTS19_Y_1")
    data = ready(root, tmp_path / "cache", skip_unusable=True)
    folds = CohortSplit.read(data.split_path).of(data.fold_settings, data.split_path)
    assert all(folds.part(patient, 0) for patient in ("BraTS19_X", "BraTS19_Y"))
    assert len(set().union(*cases_of(data).values())) == 18
