"""Stages, folds and seeds of one experiment are found together in Weights & Biases; volumes go along where asked for."""

import json
import os
from pathlib import Path
from typing import Any

import offline_record
import pytest
import torch
import wandb
from front import ROOT, TINY_TRANSFORMER, TINY_VQGAN, read_yaml, tumorgen
from PIL import Image
from toy import ToyDataModule

from tumorgen.benchmark.plan import folders_by_fold
from tumorgen.results.html.training import read_run
from tumorgen.runs.folder import Run
from tumorgen.runs.loggers import RunRecord, WandbOptions, group_of, run_loggers, run_tags

SYSTEM = {"name": "toy", "title": "A toy", "source": "this test"}
SHORT = ("--trainer.max_epochs", 1, "--trainer.limit_train_batches", 1, "--trainer.enable_model_summary", "false")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of both stages and of sampling, as a user types them; only the first is told a group."""
    place = tmp_path_factory.mktemp("grouped")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        common = ["--runs_dir", place, "--run_id", "run"]
        words = ["--wandb.group", "study", "--wandb.tags+", "pilot", "--seed_everything", 7]
        assert tumorgen("fit", "--config", TINY_VQGAN, *common, *words, *SHORT) == 0
        words = ["--model.tokenizer", place / "tiny/run/checkpoints/last.ckpt"]
        words += [f"--system.{key}={value}" for key, value in SYSTEM.items()]
        assert tumorgen("fit", "--config", TINY_TRANSFORMER, *common, *words, *SHORT) == 0
        words = [
            "--ckpt_path",
            place / "tiny-transformer/run/checkpoints/last.ckpt",
            "--data.counts",
            "{LGG: 1, HGG: 2}",
        ]
        words += ["--output.folder", place / "volumes", "--trainer.accelerator", "cpu", "--wandb.artifacts", "true"]
        assert tumorgen("predict", "--config", ROOT / "experiments/sample.yaml", *common, *words) == 0
    return place


@pytest.fixture(scope="module")
def records(place: Path) -> dict[str, list[dict[str, Any]]]:
    runs = {"stage1": "tiny", "stage2": "tiny-transformer", "volumes": "samples"}
    return {name: offline_record.read(place / experiment / "run") for name, experiment in runs.items()}


def test_the_group_is_handed_on_from_checkpoint_to_checkpoint(records: dict[str, list[dict[str, Any]]]) -> None:
    found = {name: offline_record.about(rows) for name, rows in records.items()}
    assert {about["run_group"] for about in found.values()} == {"study"}
    assert [about["job_type"] for about in found.values()] == [
        "fit VQGAN",
        "fit toy",
        "predict toy",
    ]
    assert found["stage1"]["tags"] == ["VQGAN", "ToyDataModule", "seed 7", "pilot"]
    assert found["stage2"]["tags"] == ["toy", "ToyDataModule", "seed 0"]


def test_a_system_has_one_name(place: Path, records: dict[str, list[dict[str, Any]]]) -> None:
    """In run, checkpoint, manifest, cost and dashboard; those of evaluation and benchmark take the manifest's."""
    checkpoint = place / "tiny-transformer/run/checkpoints/last.ckpt"
    assert torch.load(checkpoint, weights_only=True)["tumorgen"]["system"] == SYSTEM
    for run in ("tiny-transformer", "samples"):
        assert read_yaml(place / run / "run/config.yaml")["system"] == SYSTEM
        assert json.loads((place / run / "run/cost.json").read_text())["system"] == "toy"
    assert offline_record.configuration(records["volumes"])["system"] == SYSTEM
    manifest = json.loads((place / "volumes/manifest.json").read_text())
    assert manifest["system"] == manifest["generators"][0]["system"] == SYSTEM
    assert folders_by_fold(str(place / "volumes"), [0]) == {"toy": {0: str(place / "volumes")}}
    assert {run.system for run in map(read_run, [place / "tiny/run", place / "tiny-transformer/run"])} == {
        "VQGAN",
        "toy",
    }


def test_configurations_say_it_too(place: Path, records: dict[str, list[dict[str, Any]]]) -> None:
    for name, experiment in (("stage1", "tiny"), ("stage2", "tiny-transformer")):
        written, known = read_yaml(place / experiment / "run/config.yaml"), offline_record.configuration(records[name])
        assert known["wandb"]["group"] == written["wandb"]["group"] == "study"
        assert known["experiment"] == written["experiment"]
    assert offline_record.configuration(records["volumes"])["data"]["init_args"]["counts"] == {"LGG": 1, "HGG": 2}


def test_generated_volumes_are_an_artifact(place: Path, records: dict[str, list[dict[str, Any]]]) -> None:
    (artifact,) = [record["artifact"] for record in records["volumes"] if record["type"] == "artifact"]
    assert (artifact["type"], artifact["name"]) == ("volumes", "study-volumes")
    kept = {entry["path"]: entry for entry in artifact["manifest"]["contents"]}
    assert kept.keys() == {"manifest.json", "LGG/LGG_0001.nii.gz", "HGG/HGG_0001.nii.gz", "HGG/HGG_0002.nii.gz"}
    for path, entry in kept.items():
        assert Path(entry["local_path"]) == (place / "volumes" / path).resolve(), "not copied"
        assert int(entry["size"]) == (place / "volumes" / path).stat().st_size
    metadata = json.loads(artifact["metadata"])
    assert (metadata["method"], metadata["volumes"], metadata["patients"]) == ("MaskedTransformer", 3, 8)


def test_without_the_option_there_is_no_artifact(place: Path, tmp_path: Path) -> None:
    words = ["--ckpt_path", place / "tiny-transformer/run/checkpoints/last.ckpt", "--data.counts", "{LGG: 1}"]
    words += [
        "--output.folder",
        tmp_path / "volumes",
        "--trainer.accelerator",
        "cpu",
        "--runs_dir",
        tmp_path,
        "--run_id",
        "a",
    ]
    assert tumorgen("predict", "--config", ROOT / "experiments/sample.yaml", *words) == 0
    assert not [record for record in offline_record.read(tmp_path / "samples/a") if record["type"] == "artifact"]


def test_a_checkpoint_outside_of_its_run_has_no_group(tmp_path: Path) -> None:
    assert group_of(None) is None
    assert group_of(tmp_path / "last.ckpt") is None
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    config = tmp_path / "config.yaml"
    for text, group in (("experiment: a\nwandb: {group: null}", "a"), ("experiment: a\nwandb: {group: b}", "b")):
        config.write_text(text)
        assert group_of(folder / "last.ckpt") == group
    for text in ("", "[]", "wandb: 1", "wandb: {group: [", "experiment: 3\nwandb: {group: null}"):
        config.write_text(text)
        assert group_of(folder / "last.ckpt") is None


VARIABLES = {
    "WANDB_PROJECT": "gliomas",
    "WANDB_RUN_GROUP": "told",
    "WANDB_NAME": "a name",
    "WANDB_TAGS": "one,two",
    "WANDB_ENTITY": "a-team",
}


def test_variables_of_weights_and_biases_count_where_no_option_is_given(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (VARIABLES | {"WANDB_DIR": str(tmp_path / "records")}).items():
        monkeypatch.setenv(name, value)
    words = ["--model.tokenizer", place / "tiny/run/checkpoints/last.ckpt", "--runs_dir", tmp_path, "--run_id", "run"]
    assert tumorgen("fit", "--config", TINY_TRANSFORMER, *words, *SHORT, "--wandb.project", "typed") == 0
    assert not (tmp_path / "tiny-transformer/run/wandb").exists()
    about = offline_record.about(offline_record.read(tmp_path / "records"))
    assert about["project"] == "typed"
    assert about["entity"] == "a-team"
    assert about["run_group"] == "told", "not that of the tokenizer"
    assert about["display_name"] == "a name"
    assert about["run_id"] == "tiny-transformer-run"
    assert about["tags"][-2:] == ["one", "two"]


@pytest.mark.parametrize(("told", "mode"), [("online", "online"), ("dryrun", "offline"), ("", "offline")])
def test_the_mode_can_be_told(told: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", told)
    assert WandbOptions().mode == mode


def test_a_mode_that_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "of")
    assert tumorgen("fit", "--config", TINY_VQGAN, "--runs_dir", tmp_path) == 2
    assert "WANDB_MODE: found of, expected offline, online or disabled." in capsys.readouterr().err


def test_the_agent_of_a_sweep_knows_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "q1w2e3")
    _, logger = run_loggers(Run("a", "b", tmp_path), "fit", WandbOptions())
    assert isinstance(logger, RunRecord)
    assert logger.version == "q1w2e3"


def test_folds_are_tags() -> None:
    data = ToyDataModule()
    assert run_tags("mine", data, 1) == ["mine", "ToyDataModule", "seed 1"]
    data.fold, data.folds = 3, 5
    assert run_tags("mine", data, 1) == ["mine", "ToyDataModule", "seed 1", "fold 3"]


def test_tables_are_staged_in_the_folder_of_their_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """wandb stages pictures of tables in the home folder, which a run copied elsewhere would leave behind."""
    monkeypatch.delenv("WANDB_DATA_DIR", raising=False)
    run = Run("staged", "one", tmp_path / "one")
    _, logger = run_loggers(run, "fit", WandbOptions(), ["VQGAN"])
    assert isinstance(logger, RunRecord)
    picture = wandb.Image(Image.new("L", (8, 8)))
    logger.log_table("tables/two", columns=["name", "picture"], data=[["a", picture]])
    logger.finalize("success")
    (artifact,) = [record["artifact"] for record in offline_record.read(run.folder) if record["type"] == "artifact"]
    places = [Path(entry["local_path"]) for entry in artifact["manifest"]["contents"]]
    assert len(places) == 2
    for path in places:
        assert path.is_relative_to(run.folder.resolve())
        assert path.is_file()
    assert "WANDB_DATA_DIR" not in os.environ
