"""Evaluation during training: on schedule, within its share of the time, and without touching training."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

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
    folder: Path, sampling: float, figures: float, *more: Any, epochs: int = 50, guess: float = 1.0, **options: Any
) -> tuple[GeneratorEvaluation, list[int]]:
    """Trains for 2 s per epoch; returns the callback and the epochs after which figures were taken."""
    clock = Clock()
    slow = Slow(clock, figures, guess)
    callback = GeneratorEvaluation(per_class=4, sheet_volumes=1, measures=[slow], clock=clock, **options)
    handmade_time.trainer(folder, [callback, *more], max_epochs=epochs).fit(
        Learner(clock, sampling), handmade_time.data()
    )
    return callback, [int(name.removeprefix("epoch ")) for name in slow.asked]


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


def test_the_sheet_shows_the_volumes_that_are_measured(tmp_path: Path, sheets: list[tuple[int, Any]]) -> None:
    clock = Clock()
    model, callback = Learner(clock, 0.0), GeneratorEvaluation(3, max_overhead=None, measures=[], sheet_volumes=2)
    handmade_time.trainer(tmp_path, [callback], max_epochs=1).fit(model, handmade_time.data())
    assert model.sampled == [(0, 0), (0, 2), (0, 4), (1, 1), (1, 3), (1, 5)], "each volume is sampled once"
    ((_, rows),) = sheets
    assert [title for title, _ in rows] == ["real LGG", "generated LGG", "real HGG", "generated HGG"]
    again = model.sample(torch.tensor([0, 0]), [0, 2])[:, 0].numpy()
    assert np.array_equal(dict(rows)["generated LGG"], again)


@pytest.mark.parametrize("sampling", [0.0, 0.05, 0.6, 2.0])
@pytest.mark.parametrize("figures", [0.0, 3.0])
def test_the_share_is_kept(sampling: float, figures: float, tmp_path: Path) -> None:
    """100 s of training: 10 s for evaluation, however long one takes."""
    callback, epochs = train(tmp_path, sampling, figures, max_overhead=0.1)
    assert callback.budget.trained == pytest.approx(100)
    assert callback.budget.overhead <= 0.1
    assert callback.budget.kept
    affordable = 1.25 * (sampling * 8 + figures + 2) <= 10 - sampling
    assert (epochs[-1:] == [50]) == affordable, "one is held back for the end"


def test_the_share_is_kept_all_the_time(tmp_path: Path) -> None:
    """A sample takes 0.9 s: one is drawn when 1 s may be spent, four, to know it better, when there is time for four."""

    class Watch(L.Callback):
        overheads: ClassVar[list[float]] = []

        def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            self.overheads.append(float(trainer.callback_metrics["evaluation/overhead"]))

    clock = Clock()
    model = Learner(clock, 0.9)
    callback = GeneratorEvaluation(per_class=4, measures=[Slow(clock, 1.0)], clock=clock)
    handmade_time.trainer(tmp_path, [callback, Watch()], max_epochs=200).fit(model, handmade_time.data())
    assert len(Watch.overheads) == 200
    assert max(Watch.overheads) <= 0.1
    first = [share > 0 for share in Watch.overheads].index(True)
    assert Watch.overheads[first] == pytest.approx(0.9 / (2 * (first + 1)))
    assert len(model.sampled) == 1 + 4 + 8 * callback._evaluations
    assert callback._evaluations >= 3


def test_a_wrong_prediction_is_corrected_by_the_first_measurement(tmp_path: Path) -> None:
    """Figures take 0.2 s and are thought to take 4: the first evaluation comes late, the next ones often."""
    _, cautious = train(tmp_path / "a", 0.01, 0.2, guess=20, epochs=100)
    _, knowing = train(tmp_path / "b", 0.01, 0.2, epochs=100)
    assert knowing[0] + 10 < cautious[0]
    assert min(b - a for a, b in pairwise(cautious)) <= 2


def test_a_schedule_that_is_affordable_is_followed(tmp_path: Path) -> None:
    callback, epochs = train(tmp_path, 0.001, 0.001, every_n_validations=7, max_overhead=1.0)
    assert epochs == [7, 14, 21, 28, 35, 42, 49, 50]
    assert callback._evaluations == 8


def test_what_is_put_off_comes_at_the_next_opportunity(tmp_path: Path) -> None:
    """An evaluation of 4 s is due after 20 s, when 2 s may be spent: it has to wait for its tenth of 50 s, and a bit."""
    _, epochs = train(tmp_path, 0.0, 4.0, every_n_validations=10, epochs=150)
    assert 10 < epochs[0] < 40
    assert epochs[0] % 10
    assert epochs[-1] == 150


def test_where_only_a_sheet_is_affordable_a_sheet_is_drawn(tmp_path: Path, sheets: list[tuple[int, Any]]) -> None:
    with pytest.warns(UserWarning, match="the last evaluation was left out"):
        callback, epochs = train(tmp_path, 0.3, 30.0)
    assert epochs == []
    assert [epoch for epoch, _ in sheets] == [50]
    assert callback.budget.kept


def test_nothing_is_tried_in_a_run_of_seconds(tmp_path: Path) -> None:
    callback, epochs = train(tmp_path, 0.001, 0.001, epochs=4)
    assert (epochs, callback.budget.spent) == ([], 0.0)


def test_too_much_is_said_aloud(tmp_path: Path) -> None:
    """A measure that takes ten times what it said."""
    with pytest.warns(UserWarning, match=r"evaluation took .* more than max_overhead \(0.1\) allows"):
        callback, _ = train(tmp_path, 0.0, 60.0, guess=0.05)
    assert not callback.budget.kept


def test_too_little_is_said_aloud_too(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"last evaluation was left out: it needs about .* Raise max_overhead"):
        train(tmp_path, 3.0, 30.0)


def test_a_resumed_run_keeps_the_schedule_and_the_account(tmp_path: Path) -> None:
    whole, epochs = train(tmp_path / "whole", 0.02, 0.5, epochs=60, every_n_validations=4)
    clock = Clock()
    slow = [Slow(clock, 0.5), Slow(clock, 0.5)]
    callbacks = [
        GeneratorEvaluation(per_class=4, sheet_volumes=1, measures=[one], clock=clock, every_n_validations=4)
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
    assert [int(name.split()[1]) for one in slow for name in one.asked] == epochs
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
