"""Lines about steps and time left, for a terminal, a log file and SLURM."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from front import TINY_VQGAN, tumorgen
from stage2 import QUIET
from tiny import tiny_vqgan, train

from tumorgen.runs import progress
from tumorgen.runs.progress import TimeLeft, _clock

LINE = re.compile(r"step (\d+)/(\d+)  (\S+?)(?:, (\S+) left)?  ([\d.]+) steps/s  (.*)")


def lines(text: str) -> list[re.Match[str]]:
    return [found for found in map(LINE.fullmatch, text.splitlines()) if found]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (59.4, "0:59"), (59.6, "1:00"), (3599, "59:59"), (3600, "1:00:00"), (90061, "25:01:01")],
)
def test_clock(seconds: float, text: str) -> None:
    assert _clock(seconds) == text


def test_every_step_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    train(tiny_vqgan(), epochs=2, callbacks=(TimeLeft(every=0.0),))
    printed = lines(capsys.readouterr().err)
    assert [(int(line[1]), int(line[2])) for line in printed] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert all("train/total " in line[6] for line in printed)


def test_few_lines_but_always_the_last(capsys: pytest.CaptureFixture[str]) -> None:
    train(tiny_vqgan(), epochs=2, callbacks=(TimeLeft(every=1000.0),))
    (line,) = lines(capsys.readouterr().err)
    assert (line[1], line[2], line[4]) == ("4", "4", "0:00")


def test_the_total_is_right_when_steps_limit_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    """`max_steps` counts steps of both optimizers; what a reader counts are batches."""
    train(tiny_vqgan(discriminator_start=0.5), epochs=100, max_steps=12, callbacks=(TimeLeft(every=1000.0),))
    (line,) = lines(capsys.readouterr().err)
    assert (line[1], line[2]) == ("8", "8")


def fake(done: int, total: int, rank: int = 0) -> Any:
    """A trainer that has done `done` batches."""
    return SimpleNamespace(
        is_global_zero=rank == 0,
        optimizers=[None],
        estimated_stepping_batches=total,
        max_epochs=1,
        max_steps=-1,
        accumulate_grad_batches=1,
        num_training_batches=total,
        progress_bar_metrics={"v_num": 3, "train/total": torch.tensor(1.25)},
        fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace(total_batch_idx=done - 1)),
    )


def test_time_left_counts_only_what_this_process_has_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Resumed at step 600 of 1000: 100 steps in 50 s leave 300 steps and 150 s."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    callback, model = TimeLeft(every=10.0), SimpleNamespace()
    callback.on_train_start(fake(600, 1000), model)
    now[0] += 50
    callback.on_train_batch_end(fake(700, 1000), model, None, None, 0)
    assert capsys.readouterr().err == "step 700/1000  0:50, 2:30 left  2.00 steps/s  train/total 1.25\n"
    now[0] += 9
    callback.on_train_batch_end(fake(710, 1000), model, None, None, 0)
    assert capsys.readouterr().err == "", "not yet time"
    now[0] += 1
    callback.on_train_batch_end(fake(710, 1000), model, None, None, 0)
    assert capsys.readouterr().err.startswith("step 710/1000  1:00, ")


def test_only_the_first_rank_prints(capsys: pytest.CaptureFixture[str]) -> None:
    callback = TimeLeft(every=0.0)
    callback.on_train_start(fake(0, 4, rank=1), SimpleNamespace())
    callback.on_train_batch_end(fake(4, 4, rank=1), SimpleNamespace(), None, None, 0)
    assert capsys.readouterr().err == ""


def test_the_end_names_the_checkpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tumorgen("fit", "--config", TINY_VQGAN, "--runs_dir", tmp_path, "--run_id", "run", *QUIET) == 0
    folder = tmp_path / "tiny" / "run" / "checkpoints"
    *_, best, last = capsys.readouterr().err.splitlines()
    assert best.startswith(f"{folder / 'best.ckpt'}  (val/l1_tumour 0.")
    assert last == str(folder / "last.ckpt")
