"""The demonstration, cut down to two dozen phantoms and a few steps: every part runs, and the check judges its outputs."""

import json
from pathlib import Path

import pytest
from front import tumorgen

from tumorgen.studies.demo import parts
from tumorgen.studies.demo.plans import PLANS, Plan

NOTHING = dict.fromkeys(PLANS["demo"].thresholds, 0.0)


@pytest.mark.timeout(600)
def test_a_dozen_phantoms_go_all_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    front, configs = parts._front, parts._configs
    short = ("--trainer.max_epochs", "3", "--trainer.check_val_every_n_epoch", "3", "--wandb.mode", "disabled")
    monkeypatch.setattr(parts, "_front", lambda *words: front(*words, *(short if words[0] == "fit" else ())))
    few = [
        "--budget.steps",
        "2",
        "--budget.pretraining_steps",
        "2",
        "--budget.validation_checks",
        "1",
        "--seeds",
        "[0]",
    ]
    monkeypatch.setattr(
        parts, "_configs", lambda plan, name: [*configs(plan, name), *(few if name == "benchmark" else ())]
    )
    monkeypatch.setattr(parts, "_available", lambda what: False)  # nothing is fetched
    monkeypatch.setattr("tumorgen.studies.demo.check.NETWORKS", 1)
    monkeypatch.setattr("tumorgen.studies.demo.check.EPOCHS", 2)
    # "demo" as a name: no further experiment files are put on top
    monkeypatch.setitem(PLANS, "dozen", Plan("demo", hgg=12, lgg=12, samples=3, thresholds=NOTHING))
    monkeypatch.setitem(
        PLANS, "strict", Plan("demo", hgg=12, lgg=12, samples=3, thresholds=NOTHING | {"shape_dice": 1.1})
    )
    assert tumorgen("demo", "--output", tmp_path / "demo", "--size", "dozen") == 0, capsys.readouterr().err
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == str(tmp_path / "demo" / "report.html"), "the path of the report is the last line"
    assert "benchmark" in (tmp_path / "demo" / "report.html").read_text()
    assert (tmp_path / "demo" / "reconstructions.png").stat().st_size > 5000
    found = json.loads((tmp_path / "demo" / "figures.json").read_text())
    assert 0 <= found["shape_dice"] <= 1
    assert found["held_out"] >= 3
    assert {path.name for path in (tmp_path / "demo/volumes/LGG").iterdir()} == {
        f"LGG_000{n}.nii.gz" for n in (1, 2, 3)
    }

    assert tumorgen("demo", "--output", tmp_path / "demo", "--size", "strict", "--check") == 1
    assert "NOT REACHED" in capsys.readouterr().out
    assert json.loads((tmp_path / "demo" / "figures.json").read_text()) == found, "the check alone finds the same"


def test_the_check_needs_a_demonstration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tumorgen("demo", "--output", tmp_path, "--check") == 2
    assert "run `tumorgen demo` first" in capsys.readouterr().err
    assert tumorgen("demo", "--output", tmp_path, "--size", "huge") == 2
    assert "expected one of demo, showcase" in capsys.readouterr().err
