"""Evaluation during training: on schedule, within its share of the time, and without touching training."""

import json
from pathlib import Path
from typing import Any

import handmade_time
import lightning as L
import numpy as np
import pytest
import torch
from front import TINY_VQGAN, tumorgen
from handmade_time import Clock, Learner, Slow
from interruptions import PowerCut, PowerCutError
from lightning.pytorch.callbacks import ModelCheckpoint
from stage2 import QUIET, curve, fit, transformer

from tumorgen.evaluation import callback as evaluation
from tumorgen.evaluation.callback import GeneratorEvaluation
from tumorgen.results.records import read_results

EVALUATION = "tumorgen.evaluation.callback.GeneratorEvaluation"


@pytest.fixture(autouse=True)
def sheets(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, Any]]:
    """Epoch and rows of all sheets. Not drawn: that takes seconds of a real clock and none of a handmade one."""
    found: list[tuple[int, Any]] = []
    monkeypatch.setattr(evaluation, "gallery", lambda rows: rows)
    monkeypatch.setattr(
        evaluation, "log_picture", lambda trainer, _, rows: found.append((trainer.current_epoch + 1, rows))
    )
    return found


def train(
    folder: Path, sampling: float, duration: float, *more: Any, epochs: int = 50, **options: Any
) -> tuple[GeneratorEvaluation, list[int]]:
    """Trains for 2 s per epoch; returns the callback and the epochs after which there was an evaluation."""
    clock = Clock()
    found: list[int] = []

    class Watched(GeneratorEvaluation):
        def _evaluate(self, trainer: L.Trainer, model: Any) -> dict[str, float]:
            found.append(trainer.current_epoch + 1)
            return super()._evaluate(trainer, model)

    slow = Slow(clock, duration, options.pop("preparation", 0.0))
    callback = Watched(per_class=4, sheet_volumes=1, metrics=[slow], clock=clock, **options)
    handmade_time.trainer(folder, [callback, *more], max_epochs=epochs).fit(
        Learner(clock, sampling), handmade_time.data()
    )
    return callback, found


def test_training_goes_on_as_if_there_were_no_evaluation(tmp_path: Path) -> None:
    words = [f"--trainer.callbacks+={EVALUATION}", "--trainer.callbacks.max_overhead=null"]
    run = fit(tmp_path, *words, "--trainer.callbacks.per_class=4")
    plain = transformer().parents[1]
    first, again = (torch.load(folder / "checkpoints/last.ckpt", weights_only=True) for folder in (plain, run))
    assert first["state_dict"].keys() == again["state_dict"].keys()
    for name, value in first["state_dict"].items():
        assert torch.equal(value, again["state_dict"][name]), name
    for kind in ("torch", "numpy", "python"):
        states = [content["callbacks"]["RandomState"][kind] for content in (first, again)]
        assert str(states[0]) == str(states[1]) if kind != "torch" else torch.equal(*states)
    for name in ("train/loss", "val/cross_entropy_corrupted"):
        assert curve(run, name) == curve(plain, name)
    for name in ("evaluation/mmd_rbf_blocks_LGG", "evaluation/ms_ssim_diversity_HGG", "evaluation/benchmark_auc"):
        assert len(curve(run, name)) == 2, name
    results = read_results(run / "evaluations" / "epoch_0002.json")
    (auc,) = [record for record in results.records if record.metric == "benchmark_auc"]
    assert auc.value == pytest.approx(curve(run, "evaluation/benchmark_auc")[-1])
    assert auc.counts == {"real": 4, "generated": 8}
    assert auc.definition["real_volumes"] == "validation part of fold 0 of 1"


def test_the_sheet_shows_the_volumes_that_are_measured(tmp_path: Path, sheets: list[tuple[int, Any]]) -> None:
    clock = Clock()
    model, callback = Learner(clock, 0.0), GeneratorEvaluation(3, max_overhead=None, metrics=[], sheet_volumes=2)
    handmade_time.trainer(tmp_path, [callback], max_epochs=1).fit(model, handmade_time.data())
    assert model.sampled == [(0, 0), (0, 2), (0, 4), (1, 1), (1, 3), (1, 5)], "each volume is sampled once"
    ((_, rows),) = sheets
    assert [title for title, _ in rows] == ["real LGG", "generated LGG", "real HGG", "generated HGG"]
    again = model.sample_classes(["LGG", "LGG"], [0, 2])[:, 0].numpy()
    assert np.array_equal(dict(rows)["generated LGG"], again)


@pytest.mark.parametrize("sampling", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("duration", [0.1, 1.0, 3.0])
def test_the_share_is_kept_between_the_first_and_the_last(sampling: float, duration: float, tmp_path: Path) -> None:
    """100 s of training: 10 s for evaluation."""
    callback, epochs = train(tmp_path, sampling, duration, max_overhead=0.1)
    each = sampling * 8 + duration
    assert callback.budget.trained == pytest.approx(100)
    assert (epochs[0], epochs[-1]) == (1, 50), "the first tells what they take, the last is held back for"
    assert callback.budget.spent == pytest.approx(each * len(epochs))
    assert callback.budget.overhead <= max(0.1, 2 * each / 100)
    for number, epoch in enumerate(epochs[1:-1], 2):
        assert number * each <= 0.1 * 2 * epoch, "no evaluation before there was time for it"
    if 5 * each < 10:
        assert len(epochs) > 3


def test_a_schedule_that_is_affordable_is_followed(tmp_path: Path) -> None:
    callback, epochs = train(tmp_path, 0.001, 0.001, every_n_validations=7, max_overhead=1.0)
    assert epochs == [7, 14, 21, 28, 35, 42, 49, 50]
    assert callback._evaluations == 8


def test_what_is_put_off_comes_at_the_next_opportunity(tmp_path: Path) -> None:
    """An evaluation of 4 s counts as 5; after the first, at 20 s, the second has to wait until 90 s of training."""
    _, epochs = train(tmp_path, 0.0, 4.0, every_n_validations=10, epochs=150)
    assert epochs[:2] == [10, 45]
    assert epochs[-1] == 150


def test_what_is_done_once_does_not_count_for_the_next(tmp_path: Path) -> None:
    """Reading the real volumes takes 5 s, an evaluation 0.4: the second one has to pay for both, and is then due soon."""
    callback, epochs = train(tmp_path, 0.0, 0.4, preparation=5.0)
    assert epochs[:2] == [1, 30]  # 5.4 + 0.5 s
    assert callback.budget.latest == pytest.approx(0.4)


def test_too_much_is_said_aloud(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"evaluation took .* more than max_overhead \(0.1\) allows"):
        callback, epochs = train(tmp_path, 0.0, 60.0)
    assert epochs == [1, 50]
    assert callback.budget.overhead == pytest.approx(1.2)


def test_a_resumed_run_keeps_the_schedule_and_the_account(tmp_path: Path) -> None:
    whole, _ = train(tmp_path / "whole", 0.02, 0.5, epochs=60, every_n_validations=4)
    clock = Clock()
    slow = [Slow(clock, 0.5), Slow(clock, 0.5)]
    callbacks = [
        GeneratorEvaluation(per_class=4, sheet_volumes=1, metrics=[one], clock=clock, every_n_validations=4)
        for one in slow
    ]
    kept = ModelCheckpoint(tmp_path / "kept", "last", save_on_train_epoch_end=True, enable_version_counter=False)
    options = {"max_epochs": 60, "enable_checkpointing": True}
    with pytest.raises(PowerCutError):
        handmade_time.trainer(tmp_path / "a", [callbacks[0], kept, PowerCut(epoch=33)], **options).fit(
            Learner(clock, 0.02), handmade_time.data()
        )
    clock.now += 5000
    again = ModelCheckpoint(tmp_path / "again", "last", save_on_train_epoch_end=True)
    handmade_time.trainer(tmp_path / "b", [callbacks[1], again], **options).fit(
        Learner(clock, 0.02), handmade_time.data(), ckpt_path=tmp_path / "kept/last.ckpt"
    )
    assert sum(len(one.asked) for one in slow) == whole._evaluations == callbacks[1]._evaluations
    assert len(slow[0].asked) > 2
    assert len(slow[1].asked) > 2
    assert callbacks[1].budget.spent == pytest.approx(whole.budget.spent)
    assert callbacks[1].budget.trained == pytest.approx(whole.budget.trained)


def test_states_are_plain_data(tmp_path: Path) -> None:
    callback, _ = train(tmp_path, 0.01, 0.1)
    assert json.loads(json.dumps(callback.state_dict())) == callback.state_dict()


@pytest.mark.parametrize(
    "options",
    [{"per_class": 0}, {"sheet_volumes": 20}, {"every_n_validations": 0}, {"max_overhead": 0}, {"max_overhead": 2}],
)
def test_numbers_that_make_no_evaluation_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=r"GeneratorEvaluation: .* expected"):
        GeneratorEvaluation(**options)


def test_a_tokenizer_samples_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--config", TINY_VQGAN, "--runs_dir", tmp_path, *QUIET, f"--trainer.callbacks+={EVALUATION}"]
    assert tumorgen("fit", *words) == 2
    assert "a VQGAN samples nothing" in capsys.readouterr().err
