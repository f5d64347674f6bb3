"""A run that was interrupted and resumed is the run that was never interrupted."""

import csv
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from front import TINY_VQGAN, read_yaml, tumorgen
from interruptions import PowerCutError

QUIET = ("--wandb.mode", "disabled")


def fit(place: Path, *words: object) -> Path:
    """Starts the tiny VQGAN; returns the folder of its runs."""
    assert tumorgen("fit", "--config", TINY_VQGAN, "--runs_dir", place, *QUIET, *words) == 0
    return place / "tiny"


def cut_off(place: Path, run_id: str, *words: object, epoch: int = 1, batch: int = 0) -> Path:
    """Starts the tiny VQGAN and cuts the power; returns the run's folder."""
    accident = ("--trainer.callbacks+=interruptions.PowerCut", f"--trainer.callbacks.epoch={epoch}")
    with pytest.raises(PowerCutError):
        fit(place, "--run_id", run_id, *words, *accident, f"--trainer.callbacks.batch={batch}")
    return place / "tiny" / run_id


def last(run: Path) -> dict[str, Any]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def differences(a: Any, b: Any, where: str = "") -> list[str]:
    """Paths of everything that is not equal, tensors to the last bit."""
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            return [f"{where}: keys {a.keys() ^ b.keys()}"]
        return [line for key in a for line in differences(a[key], b[key], f"{where}.{key}")]
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        if len(a) != len(b):
            return [f"{where}: {len(a)} and {len(b)} items"]
        return [line for i, (x, y) in enumerate(zip(a, b, strict=True)) for line in differences(x, y, f"{where}[{i}]")]
    same = torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    return [] if same else [where]


def rows(run: Path) -> list[dict[str, str]]:
    with open(run / "csv" / "metrics.csv", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: `whole` was never interrupted, `cut` was, after its first epoch, and then resumed."""
    place = tmp_path_factory.mktemp("runs")
    fit(place, "--run_id", "whole")
    cut_off(place, "cut")
    fit(place, "--resume", "cut")
    return place


def test_the_resumed_run_equals_the_uninterrupted_one(place: Path) -> None:
    whole, cut = last(place / "tiny/whole"), last(place / "tiny/cut")
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step", "loops"):
        assert whole[part], part
        assert differences(whole[part], cut[part], part) == []
    assert len(whole["optimizer_states"]) == len(whole["lr_schedulers"]) == 2
    for side in (0, 1):
        assert whole["optimizer_states"][side]["state"], "both sides have stepped"
    assert {f"model.quantizer.{name}" for name in ("codebook", "idle_steps", "initialised")} < whole[
        "state_dict"
    ].keys()
    assert whole["epoch"] == 1, "the last of two epochs, counted from 0"
    assert whole["tumorgen"]["updates"] == 4


def test_the_random_generators_stand_where_they_would_have_stood(place: Path) -> None:
    states = [last(place / "tiny" / run)["callbacks"]["RandomState"] for run in ("whole", "cut")]
    assert {"python", "numpy", "torch", "cuda"} == states[0].keys()
    assert differences(*states) == []


def test_the_resumed_run_did_not_begin_from_scratch(place: Path) -> None:
    """The comparison above would hold for a second run of two epochs too."""
    (first, *_), (*_, final) = rows(place / "tiny/cut"), rows(place / "tiny/cut")
    assert int(first["step"]) == 0
    trained = [int(row["step"]) for row in rows(place / "tiny/cut") if row["train/total"]]
    assert trained == [0, 1, 2, 3]
    assert int(final["step"]) == 3


def test_the_log_goes_on_in_the_same_file(place: Path) -> None:
    whole, cut = rows(place / "tiny/whole"), rows(place / "tiny/cut")
    for name in ("train/total", "train/codebook_usage", "val/dice", "learning_rate/generator"):
        values = [[(row["step"], row[name]) for row in run if row[name]] for run in (whole, cut)]
        assert values[0] == values[1], name
        assert len(values[0]) >= 2


def test_configurations_are_kept(place: Path) -> None:
    folder = place / "tiny/cut"
    assert {path.name for path in folder.glob("config*.yaml")} == {"config.yaml", "config.1.yaml"}
    first, second = read_yaml(folder / "config.1.yaml"), read_yaml(folder / "config.yaml")
    assert first["trainer"]["callbacks"][0]["class_path"] == "interruptions.PowerCut"
    assert second["trainer"]["callbacks"] is None
    for key in ("resume", "run_id", "ckpt_path"):
        assert second[key] is None, "a configuration starts a run anew"


def test_the_state_tells_of_every_attempt(place: Path) -> None:
    whole, cut = (json.loads((place / "tiny" / run / "state.json").read_text()) for run in ("whole", "cut"))
    assert [attempt["outcome"] for attempt in whole["attempts"]] == ["finished"]
    assert [attempt["outcome"] for attempt in cut["attempts"]] == ["PowerCutError", "finished"]
    for state in (whole, cut):
        times = [
            state["started"],
            *(a[at] for a in state["attempts"] for at in ("started", "ended")),
            state["finished"],
        ]
        assert times == sorted(times)
        assert state["command"][:3] == ["fit", "--config", str(TINY_VQGAN)]
        assert "--resume" not in state["command"]


def test_a_run_that_was_cut_off_has_not_finished(tmp_path: Path) -> None:
    run = cut_off(tmp_path, "cut")
    assert json.loads((run / "state.json").read_text())["finished"] is None
    cost = json.loads((run / "cost.json").read_text())
    assert (cost["updates"], last(run)["epoch"]) == (2, 0)


def test_newest_is_the_run_that_was_worked_on_last(tmp_path: Path) -> None:
    cut_off(tmp_path, "b-first")
    cut_off(tmp_path, "a-second")
    fit(tmp_path, "--resume")
    assert last(tmp_path / "tiny/a-second")["epoch"] == 1
    assert last(tmp_path / "tiny/b-first")["epoch"] == 0
    assert len(list((tmp_path / "tiny").iterdir())) == 2, "resuming opens no new folder"


def test_a_run_that_was_killed_in_its_first_epoch_starts_anew_in_its_folder(place: Path, tmp_path: Path) -> None:
    for words in (["--resume"], ["--run_id", "cut"], ["--run_id", "cut", "--resume", "auto"]):
        runs = tmp_path / str(len(words))
        run = cut_off(runs, "cut", epoch=0, batch=1)
        assert not (run / "checkpoints").exists()
        fit(runs, *words)
        assert [folder.name for folder in run.parent.iterdir()] == ["cut"]
        assert (run / "config.1.yaml").is_file()
        assert differences(last(place / "tiny/whole")["state_dict"], last(run)["state_dict"]) == []


@pytest.mark.parametrize(
    "job", [{}, {"SLURM_ARRAY_JOB_ID": "1200", "SLURM_ARRAY_TASK_ID": "7"}], ids=["one task", "an array"]
)
def test_a_requeued_job_goes_on(
    job: dict[str, str], place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As SLURM starts it again: the same command line, one restart more."""
    ranks = {f"SLURM_{name}": "0" for name in ("PROCID", "LOCALID", "NODEID")}
    for name, value in {"SLURM_JOB_ID": "1234", "SLURM_NTASKS": "1", **ranks, **job}.items():
        monkeypatch.setenv(name, value)
    common = ("--trainer.callbacks+=interruptions.OnePowerCut", f"--trainer.callbacks.memory={tmp_path / 'was'}")
    with pytest.raises(PowerCutError):
        fit(tmp_path / "runs", *common)
    (run,) = (tmp_path / "runs/tiny").iterdir()
    assert run.name == ("slurm-1200_7" if job else "slurm-1234")
    assert last(run)["epoch"] == 0
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    fit(tmp_path / "runs", *common)
    assert list((tmp_path / "runs/tiny").iterdir()) == [run]
    assert differences(last(place / "tiny/whole")["state_dict"], last(run)["state_dict"]) == []
    assert [int(row["step"]) for row in rows(run) if row["train/total"]] == [0, 1, 2, 3], "no step was taken twice"


def test_one_command_line_starts_and_goes_on(place: Path, tmp_path: Path) -> None:
    common = ("--trainer.callbacks+=interruptions.OnePowerCut", f"--trainer.callbacks.memory={tmp_path / 'was'}")
    for _ in range(2):
        with pytest.raises(PowerCutError) if not (tmp_path / "was").exists() else nullcontext():
            fit(tmp_path / "runs", *common, "--resume", "auto")
    (run,) = (tmp_path / "runs/tiny").iterdir()
    assert differences(last(place / "tiny/whole")["state_dict"], last(run)["state_dict"]) == []
    fit(tmp_path / "runs", "--seed_everything", 1, "--resume", "auto")
    assert len(list((tmp_path / "runs/tiny").iterdir())) == 2, "another command is another run"


def test_a_finished_run_has_nothing_left_to_do(place: Path) -> None:
    before = last(place / "tiny/whole")
    fit(place, "--resume", "whole")
    assert differences(before["state_dict"], last(place / "tiny/whole")["state_dict"]) == []


def test_more_epochs_can_be_asked_for(tmp_path: Path) -> None:
    fit(tmp_path, "--run_id", "longer")
    fit(tmp_path, "--resume", "longer", "--trainer.max_epochs", 3)
    assert last(tmp_path / "tiny/longer")["epoch"] == 2
    assert last(tmp_path / "tiny/longer")["tumorgen"]["updates"] == 6


def test_nothing_is_lost_between_two_validations(tmp_path: Path) -> None:
    """Shipped experiments validate every 20th epoch: `last.ckpt` must not wait for that."""
    sparse = ("--trainer.max_epochs", 3, "--trainer.check_val_every_n_epoch", 3)
    fit(tmp_path, "--run_id", "whole", *sparse)
    run = cut_off(tmp_path, "cut", *sparse, epoch=2)
    assert last(run)["epoch"] == 1
    fit(tmp_path, "--resume", "cut", *sparse)
    whole, cut = last(tmp_path / "tiny/whole"), last(run)
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step"):
        assert differences(whole[part], cut[part], part) == []


def test_an_interruption_within_an_epoch_repeats_that_epoch(tmp_path: Path, place: Path) -> None:
    run = cut_off(tmp_path, "cut", epoch=1, batch=1)
    before = last(run)
    assert before["epoch"] == 0
    fit(tmp_path, "--resume")
    assert differences(last(place / "tiny/whole")["state_dict"], last(run)["state_dict"]) == []
    after = last(run)["tumorgen"]
    assert (before["tumorgen"].pop("updates"), after.pop("updates")) == (2, 4)
    assert after == before["tumorgen"]
    assert len(before["tumorgen"]["origin"]["patients"]) == 8


def test_last_is_of_the_last_epoch_also_when_nothing_improved(tmp_path: Path) -> None:
    fit(tmp_path, "--run_id", "worse", "--trainer.callbacks+=interruptions.Setback")
    run = tmp_path / "tiny/worse"
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert (best["epoch"], last(run)["epoch"]) == (0, 1)


def test_a_run_limited_by_steps_leaves_a_checkpoint(tmp_path: Path) -> None:
    fit(tmp_path, "--run_id", "short", "--trainer.max_epochs", 10, "--trainer.max_steps", 3)
    assert last(tmp_path / "tiny/short")["tumorgen"]["updates"] in (2, 3)


def test_the_dashboard_continues_under_the_same_name(tmp_path: Path) -> None:
    words = ("--wandb.mode", "offline")
    run = cut_off(tmp_path, "named", *words)
    fit(tmp_path, "--resume", "named", *words)
    folders = sorted((run / "wandb").glob("offline-run-*"))
    assert len(folders) == 2
    for folder in folders:
        assert [path.name for path in folder.glob("*.wandb")] == ["run-tiny-named.wandb"]
