"""Which trainings a benchmark consists of, and what of its options cannot be meant."""

import itertools
import json
from pathlib import Path

import pytest

from data_modules.errors import InputError
from tumorgen.benchmark.arms import all_arms, chosen_arms
from tumorgen.benchmark.plan import folders_by_fold, plan, selected

SHARES = (0.1, 0.25, 0.5, 1.0)
NAMES = [
    *("real_only", "real_only_10", "real_only_25", "real_only_50", "real_augmented", "real_oversampled"),
    *("synthetic_only", "finetuned_10", "finetuned_25", "finetuned_50", "finetuned_100", "mixed", "shuffled_control"),
]


def test_arms_of_the_protocol() -> None:
    arms = {arm.name: arm for arm in all_arms(SHARES)}
    assert list(arms) == NAMES
    assert [name for name, arm in arms.items() if arm.uses_synthetic] == NAMES[6:]
    assert arms["synthetic_only"].training.real_share == 0
    assert arms["finetuned_25"].training == arms["real_only_25"].training
    # the control differs from fine-tuning on everything by nothing but the labels, and from real only by pre-training
    assert arms["shuffled_control"].training == arms["finetuned_100"].training == arms["real_only"].training
    assert arms["shuffled_control"].pretraining.shuffled
    assert not any(
        arm.pretraining and arm.pretraining.shuffled for name, arm in arms.items() if name != "shuffled_control"
    )


@pytest.mark.parametrize("shares", [[0.0], [1.5], [-0.1, 0.5]])
def test_shares_that_are_none(shares: list[float]) -> None:
    with pytest.raises(InputError, match="--shares"):
        all_arms(shares)


def test_arms_are_chosen_by_name() -> None:
    assert [arm.name for arm in chosen_arms(["mixed", "real_only"], SHARES)] == ["real_only", "mixed"]
    with pytest.raises(InputError, match=r"--arms: found misted, expected some of real_only, .*, mixed"):
        chosen_arms(["real_only", "misted"], SHARES)
    with pytest.raises(InputError, match="real_only is missing"):
        chosen_arms(["mixed"], SHARES)


def test_plan_holds_every_combination_once() -> None:
    trainings = plan(all_arms(SHARES), ["a", "b"], [0, 1], [0, 1, 2])
    assert len(trainings) == 2 * 3 * (6 + 2 * 7)
    assert len({training.name for training in trainings}) == len(trainings)
    assert {t.generated for t in trainings if t.arm.name == "real_only"} == {""}
    assert trainings[0].name == "real_only-fold0-seed0"
    assert "mixed-b-fold1-seed2" in {training.name for training in trainings}


def test_trainings_that_share_a_pretraining_follow_each_other() -> None:
    keys = [(t.fold, t.seed, t.generated) for t in plan(all_arms(SHARES), ["a", "b"], [0, 1], [0, 1])]
    changes = sum(one != other for one, other in itertools.pairwise(keys))
    assert changes == len(set(keys)) - 1


@pytest.mark.parametrize(
    ("labels", "folds", "seeds", "message"),
    [
        ([], [0], [0], "the arm synthetic_only needs generated volumes"),
        (["a"], [], [0], "--folds"),
        (["a"], [0, 0], [0], "--folds"),
        (["a"], [0], [-1], "--seeds"),
    ],
)
def test_impossible_plans(labels, folds, seeds, message) -> None:
    with pytest.raises(InputError, match=message):
        plan(all_arms(SHARES), labels, folds, seeds)


def test_real_arms_need_no_generated_volumes() -> None:
    assert len(plan(chosen_arms(["real_only", "real_augmented"], SHARES), [], [0], [0])) == 2


def test_only_selects() -> None:
    trainings = plan(all_arms(SHARES), ["a", "b"], [0, 1], [0, 1])
    assert selected(trainings, None) == trainings
    assert {(t.arm.name, t.fold) for t in selected(trainings, "arm=mixed, fold=1")} == {("mixed", 1)}
    parts = [selected(trainings, f"fold={fold},seed={seed}") for fold in (0, 1) for seed in (0, 1)]
    assert sorted(t.name for part in parts for t in part) == sorted(t.name for t in trainings)


@pytest.mark.parametrize(
    ("only", "message"),
    [
        ("arm:mixed", "cannot read 'arm:mixed'"),
        ("phase=1", "cannot read"),
        ("fold=", "cannot read"),
        (
            "arm=mixed,fold=7",
            "no training of this benchmark fulfils it; it trains arms real_only, .*; folds 0; seeds 0",
        ),
    ],
)
def test_only_that_selects_nothing(only: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        selected(plan(all_arms(SHARES), ["a"], [0], [0]), only)


def test_volumes_are_called_as_their_manifests_say(tmp_path: Path) -> None:
    for fold, system in enumerate(("mine", "mine", "another", "")):
        (tmp_path / str(fold)).mkdir()
        (tmp_path / str(fold) / "manifest.json").write_text(json.dumps({"system": {"name": system}, "volumes": []}))
    given = f"{tmp_path}/{{fold}}"
    assert folders_by_fold(given, [0, 1]) == {"mine": {0: f"{tmp_path}/0", 1: f"{tmp_path}/1"}}
    for folds, found in (([0, 2], "another, mine"), ([3], "none")):
        with pytest.raises(InputError, match=f"found {found}, expected the same name in all"):
            folders_by_fold(given, folds)


def test_folders_by_fold() -> None:
    generated = {"mine": "samples/fold{fold}", "same": "samples/x", "other": ["p", "q"]}
    assert folders_by_fold(generated, [0, 3]) == {
        "mine": {0: "samples/fold0", 3: "samples/fold3"},
        "same": {0: "samples/x", 3: "samples/x"},
        "other": {0: "p", 3: "q"},
    }
    with pytest.raises(InputError, match="other has 2 folders for 3 folds"):
        folders_by_fold(generated, [0, 1, 2])
    for label in ("", "a/b", "a-b", ".hidden"):
        with pytest.raises(InputError, match="expected letters, digits"):
            folders_by_fold({label: "x"}, [0])
