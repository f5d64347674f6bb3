"""What makes arms comparable: equal steps, equal first weights, weights selected on validation cases, one look at the test."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from toy_fold import ToyVolumes, toy_fold, toy_trainer, training

from data_modules.errors import InputError
from tumorgen.benchmark.arms import all_arms
from tumorgen.benchmark.plan import plan
from tumorgen.benchmark.results import Case, TrainingResult
from tumorgen.benchmark.session import Session
from tumorgen.benchmark.stages import BestWeights, Loaders, ShuffledBatches
from tumorgen.benchmark.statistics import PairedBootstrap
from tumorgen.benchmark.summary import DIFFERENCE, SAME_SHARE, Summary
from tumorgen.benchmark.training import ArmTrainer, Budget

ARMS = all_arms((0.1, 0.25, 0.5, 1.0))


def probabilities(result) -> np.ndarray:
    return np.array([case.probabilities for case in result.cases])


def test_batches_are_equal_in_size_and_fair() -> None:
    batches = list(ShuffledBatches(10, 4, 25, seed=0))
    assert len(batches) == 25
    assert {len(batch) for batch in batches} == {4}
    drawn = np.concatenate(batches)
    assert [sorted(drawn[k : k + 10]) for k in range(0, 100, 10)] == [list(range(k, k + 10)) for k in range(0, 100, 10)]
    assert batches == list(ShuffledBatches(10, 4, 25, seed=0)) != list(ShuffledBatches(10, 4, 25, seed=1))


def test_batches_of_fewer_items_than_they_hold() -> None:
    batches = list(ShuffledBatches(3, 8, 6, seed=0))
    assert {len(batch) for batch in batches} == {8}
    assert np.bincount(np.concatenate(batches) % 3).tolist() == [16] * 3


@pytest.mark.parametrize("budget", [(0, 1, 1), (10, 0, 1), (10, 1, 0), (10, 1, 3)])
def test_budgets_that_do_not_work_out(budget: tuple[int, int, int]) -> None:
    with pytest.raises(InputError, match="--budget"):
        Budget(*budget)


def test_every_arm_takes_equally_many_steps_from_equal_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    stages: dict[str, list[tuple[int, int]]] = {}
    first: dict[str, list[float]] = {}
    fit = ArmTrainer._fit

    def watched(self, model, loaders, callbacks, **options) -> None:
        weights = [float(value.sum()) for value in model.state_dict().values()]
        first.setdefault(name, weights)
        fit(self, model, loaders, callbacks, **options)
        stages.setdefault(name, []).append((loaders.steps, options.get("val_check_interval")))

    monkeypatch.setattr(ArmTrainer, "_fit", watched)
    fold = toy_fold(augmentation=torch.clone)
    for arm in ARMS:
        name = arm.name
        toy_trainer(steps=4, pretraining_steps=3, validation_checks=2).train(training(name), fold)
        assert stages[name] == ([(3, None)] if arm.pretraining else []) + [(4, 2)]
    assert len({tuple(weights) for weights in first.values()}) == 1


def test_shared_pretraining_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    fold, shared = toy_fold(), toy_trainer()
    stages = []
    fit = ArmTrainer._fit
    monkeypatch.setattr(ArmTrainer, "_fit", lambda *args, **options: (stages.append(1), fit(*args, **options)))
    shared.train(training("finetuned_50"), fold)
    one = shared.train(training("finetuned_100"), fold)
    assert len(stages) == 3  # one pre-training, two fine-tunings
    control = shared.train(training("shuffled_control"), fold)
    assert len(stages) == 5
    other = toy_trainer().train(training("finetuned_100"), fold)
    assert np.array_equal(probabilities(one), probabilities(other))
    assert not np.array_equal(probabilities(one), probabilities(control))


def test_training_repeats_itself_whatever_ran_before() -> None:
    fold, trainer = toy_fold(), toy_trainer()
    one = trainer.train(training("real_only"), fold)
    torch.rand(7)
    trainer.train(training("mixed", seed=1), fold)
    again = trainer.train(training("real_only"), fold)
    assert np.array_equal(probabilities(one), probabilities(again))
    assert not np.array_equal(probabilities(one), probabilities(trainer.train(training("real_only", seed=1), fold)))


def test_training_sets() -> None:
    fold = toy_fold(augmentation=torch.neg)
    generated = ToyVolumes(10, 5000)
    sets = {arm.name: fold.training_set(arm.training, generated, seed=0) for arm in ARMS}
    sizes = {name: len(found) for name, found in sets.items()}
    assert sizes["real_only"] == sizes["real_augmented"] == sizes["finetuned_100"] == 16
    assert (sizes["real_only_10"], sizes["real_only_25"], sizes["finetuned_50"]) == (2, 4, 8)
    assert sizes["synthetic_only"] == 10
    assert sizes["mixed"] == 26
    cases = {name: {found[i]["case"] for i in range(len(found))} for name, found in sets.items()}
    assert cases["real_only_10"] == cases["finetuned_10"] < cases["finetuned_25"] < cases["finetuned_50"]
    assert cases["mixed"] == cases["real_only"] | cases["synthetic_only"]


def test_an_augmented_arm_sees_a_volume_anew_every_time() -> None:
    fold = toy_fold(train=4, augmentation=lambda volume: volume + torch.rand(1))
    loaders = Loaders(fold.train, fold, steps=3, seed=0, augmented=True)
    seen = [
        (case, float(volume.min()))
        for b in loaders.train_dataloader()
        for case, volume in zip(b["case"], b["volume"], strict=True)
    ]
    assert len({case for case, _ in seen}) == 4
    assert len({shift for _, shift in seen}) == 12
    assert seen == [
        (case, float(volume.min()))
        for b in loaders.train_dataloader()
        for case, volume in zip(b["case"], b["volume"], strict=True)
    ]
    plain = Loaders(fold.train, fold, steps=3, seed=0)
    assert all(float(volume.min()) == -1 for batch in plain.train_dataloader() for volume in batch["volume"])


def test_control_permutes_the_labels_of_generated_volumes_alone() -> None:
    fold, generated = toy_fold(), ToyVolumes(40, 5000)
    (control,) = (arm for arm in ARMS if arm.name == "shuffled_control")
    (honest,) = (arm for arm in ARMS if arm.name == "finetuned_100")
    shuffled, right = (fold.training_set(arm.pretraining, generated, seed=0) for arm in (control, honest))
    assert sorted(shuffled.labels) == sorted(right.labels)
    assert list(right.labels) == [i % 2 for i in range(40)]
    assert 8 < (shuffled.labels == right.labels).sum() < 32
    assert torch.equal(shuffled[3]["volume"], right[3]["volume"])


def test_minority_is_oversampled() -> None:
    volumes = ToyVolumes(16, 0)
    keep = [i for i in range(16) if i % 2 == 0 or i < 4]
    volumes.keep([volumes.items[i] for i in keep])
    (arm,) = (arm for arm in ARMS if arm.name == "real_oversampled")
    found = replace(toy_fold(), train=volumes).training_set(arm.training, None, 0)
    assert np.bincount(found.labels).tolist() == [8, 8]


def test_arm_with_augmentation_needs_one() -> None:
    with pytest.raises(InputError, match=r"--data\.augmentation is null"):
        toy_trainer().train(training("real_augmented"), toy_fold())


def test_weights_of_the_best_look_are_kept() -> None:
    best, module = BestWeights("val/auc"), torch.nn.Linear(1, 1)
    checks = [(0.7, 0.5), (0.9, 0.6), (0.9, 0.4), (0.9, 0.5), (0.8, 0.1)]
    for step, (auc, loss) in enumerate(checks, start=1):
        with torch.no_grad():
            module.weight.fill_(step)
        metrics = {"val/auc": torch.tensor(auc), "val/loss": torch.tensor(loss)}
        best.on_validation_end(SimpleNamespace(callback_metrics=metrics, global_step=step), module)
    assert (best.step, best.auc) == (3, pytest.approx(0.9))  # of equal AUC, the least loss
    assert best.weights["weight"].item() == 3


def test_without_an_auc_the_loss_decides() -> None:
    best, module = BestWeights("val/auc"), torch.nn.Linear(1, 1)
    for step, loss in enumerate((0.7, 0.5, 0.6), start=1):
        metrics = {"val/auc": torch.tensor(float("nan")), "val/loss": torch.tensor(loss)}
        best.on_validation_end(SimpleNamespace(callback_metrics=metrics, global_step=step), module)
    assert best.step == 2


def test_half_a_training_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning ends `fit` without an exception when it is asked to stop."""

    def stop(self, trainer, pl_module) -> None:
        trainer.should_stop = True

    monkeypatch.setattr(BestWeights, "on_validation_end", stop)
    with pytest.raises(KeyboardInterrupt):
        toy_trainer(steps=8, validation_checks=4).train(training("real_only"), toy_fold())


def test_settings_hold_what_the_arm_depends_on_and_no_more() -> None:
    fold, trainer = toy_fold(augmentation=torch.clone, augmentation_settings={"class_path": "x"}), toy_trainer()
    real, augmented, mixed, tuned = (
        trainer.settings(training(name), fold) for name in ("real_only", "real_augmented", "mixed", "finetuned_10")
    )
    assert "generated" not in real  # other generated volumes leave real-only results as they are
    assert "augmentation" not in real
    assert augmented["augmentation"] == {"class_path": "x"}
    assert mixed["generated"] == "toy"
    assert "pretraining_steps" not in mixed
    assert tuned["pretraining_steps"] == 3
    assert real["model"]["init_args"]["network"]["init_args"]["widths"] == [4, 8]
    assert real != trainer.settings(training("real_only", seed=1), fold)


def test_benchmark_of_blobs(tmp_path) -> None:
    """The whole on a task that a tiny network learns: synthetic volumes carry it over, shuffled ones do not help."""
    folds = {number: toy_fold(number) for number in (0, 1)}
    names = ("real_only", "real_only_25", "synthetic_only", "finetuned_25", "shuffled_control")
    arms = [arm for arm in ARMS if arm.name in names]
    trainings = plan(arms, ["toy"], [0, 1], [0])
    session = Session(
        tmp_path, arms, trainings, folds, toy_trainer(steps=30, pretraining_steps=30, validation_checks=3)
    )
    session.train()
    assert session.missing() == []
    results = session.results()
    records = Summary(results, arms, ("LGG", "HGG"), resamples=300).records()
    auc = {record.group["arm"]: record for record in records if record.metric == "auc"}
    assert set(auc) == set(names)
    assert auc["real_only"].value > 0.9
    assert auc["synthetic_only"].value > 0.9
    assert auc["real_only"].counts == {"folds": 2, "seeds": 1, "test_cases": 40, "test_patients": 40}
    assert auc["real_only"].interval.low <= auc["real_only"].value <= auc["real_only"].interval.high
    assert len(auc["real_only"].details["training_runs"]) == 2
    assert auc["real_only"].definition["positive_class"] == "HGG"
    assert "given the one network" in auc["real_only"].definition["interval_covers"]
    assert auc["real_only"].interval.method == "percentile bootstrap over test patients, 300 resamples"

    differences = {record.group["arm"]: record for record in records if record.metric == DIFFERENCE}
    assert set(differences) == set(names) - {"real_only"}
    control = differences["shuffled_control"]
    assert control.interval.low <= 0
    assert control.value == pytest.approx(auc["shuffled_control"].value - auc["real_only"].value)
    assert control.details["comparisons"] == 4
    assert control.p_value >= control.details["p_uncorrected"]
    (same_share,) = (record for record in records if record.metric == SAME_SHARE)
    assert same_share.group["arm"] == "finetuned_25"
    assert same_share.definition["reference"] == "real_only_25"
    assert same_share.value == pytest.approx(auc["finetuned_25"].value - auc["real_only_25"].value)

    own = [result.predictions for result in results if result.arm == "real_only"]
    assert PairedBootstrap(own, 300).average(own)["auc"].value == auc["real_only"].value


def result(arm: str, seed: int, better: float) -> TrainingResult:
    """A classifier of 40 test cases that is as good as its seed says, and `better` than that."""
    generator = np.random.default_rng(seed)
    quality = generator.normal() + better
    labels = [i % 2 for i in range(40)]
    scores = 1 / (1 + np.exp(-generator.normal(size=40) - quality * (np.array(labels) - 0.5)))
    cases = [Case(f"c{i}", f"p{i}", label, [1 - s, s]) for i, (label, s) in enumerate(zip(labels, scores, strict=True))]
    made = {
        "settings": {"validation_checks": 1, "steps": 1, "batch_size": 1, "model": {}},
        "network": "A",
        "positive_label": 1,
    }
    spent = {"selected_step": 1, "validation_auc": None, "volumes": {"training": 4}, "seconds": 1.0, "environment": {}}
    return TrainingResult(arm, arm, "toy" * (arm != "real_only"), 0, seed, cases=tuple(cases), **made, **spent)


def test_records_say_what_was_drawn_again_and_runs_are_paired_by_seed() -> None:
    """Results come in any order: the difference of every seed is that of its own two runs."""
    results = [result("real_only", seed, 0.0) for seed in (0, 1, 2)]
    results += [result("mixed", seed, 0.5) for seed in (2, 0, 1)]
    arms = [arm for arm in ARMS if arm.name in ("real_only", "mixed")]
    records = Summary(results, arms, ("LGG", "HGG"), resamples=200).records()
    auc = {record.group["arm"]: record for record in records if record.metric == "auc"}
    (difference,) = (record for record in records if record.metric == DIFFERENCE)
    expected = np.subtract(*(auc[arm].details["training_runs"] for arm in ("mixed", "real_only")))
    assert difference.details["training_runs"] == pytest.approx(expected.tolist())
    assert (expected > 0).all()  # as made: every seed's second run is the better one
    assert difference.interval.method == "percentile bootstrap over test patients and training seeds, 200 resamples"
    assert "training seeds, Holm-corrected" in difference.details["test"]
    assert "3 training seeds" in difference.definition["interval_covers"]
    with pytest.raises(ValueError, match="runs of the"):
        Summary(results[:-1], arms, ("LGG", "HGG"), resamples=200)
