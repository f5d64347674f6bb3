"""The dashboard as code: what it names is what runs log, and its specification needs neither account nor network."""

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import offline_record
import pytest
from front import HELPERS, TINY_TRANSFORMER, TINY_VQGAN, tumorgen

from data_modules.files import write_json
from tumorgen.results.dashboard.layout import Curves, Section, find_runs, logged_names, names_of, sections
from tumorgen.results.records import Floor, Record, write_results

EVALUATION = "tumorgen.evaluation.callback.GeneratorEvaluation"
METHODS = {"VQGAN": "tiny", "MaskedTransformer": "tiny-transformer", "GradeClassifier": "tiny-classifier"}
SHORT = ("--trainer.max_epochs", 2, "--trainer.limit_train_batches", 1, "--trainer.enable_model_summary", "false")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny runs of both stages and of the classifier."""
    place = tmp_path_factory.mktemp("logged")
    options = {"per_class": 4, "max_overhead": None, "metrics": str(HELPERS / "quick_metrics.yaml")}
    callbacks = [
        {"class_path": "tumorgen.callbacks.masking_pictures.MaskingPictures"},
        {"class_path": EVALUATION, "init_args": options},
    ]
    write_json(place / "callbacks.json", {"trainer": {"callbacks": callbacks}})
    common = ["--runs_dir", place, "--run_id", "run", *SHORT]
    pictures = "--trainer.callbacks+=tumorgen.callbacks.pictures.ReconstructionPictures"
    transformer = ("--config", TINY_TRANSFORMER, "--config", place / "callbacks.json", "--data.count", 16)
    tokenizer = ("--model.tokenizer", place / "tiny/run/checkpoints/last.ckpt")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        for words in (
            ("--config", TINY_VQGAN, pictures),
            (*transformer, *tokenizer),
            ("--config", HELPERS / "tiny_classifier.yaml"),
        ):
            assert tumorgen("fit", *words, *common) == 0
    return place


@pytest.fixture(scope="module")
def parts(runs: Path) -> list[Section]:
    return sections(find_runs(runs))


@pytest.mark.parametrize(("method", "run"), METHODS.items())
def test_the_dashboard_shows_what_is_logged_and_nothing_else(
    method: str, run: str, runs: Path, parts: list[Section]
) -> None:
    logged = offline_record.names(offline_record.read(runs / run / "run"))
    named = logged_names(parts, method)
    assert len(named) > 5
    assert named <= logged, sorted(named - logged)
    shown = ("evaluation/", "val/", "train/", "pictures/", "tables/")
    assert {name for name in logged if name.startswith(shown)} <= named, sorted(logged - named)


def test_metrics_of_samples_stand_under_the_titles_of_their_records(parts: list[Section]) -> None:
    (quality,) = [part for part in parts if part.name == "MaskedTransformer: quality of samples"]
    panels = {panel.title: panel for panel in quality.panels if isinstance(panel, Curves)}
    found = panels["MMD², RBF, block means"]
    assert found.better == "lower"
    assert found.x == "epoch"
    assert {"evaluation/mmd_rbf_blocks", "evaluation/mmd_rbf_blocks_LGG", "evaluation/floor/mmd_rbf_blocks"} <= set(
        found.metrics
    )
    assert panels["AUC, trained on generated"].metrics[0] == "evaluation/benchmark_auc"


def test_without_runs_there_is_nothing_to_lay_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _command("--runs_dir", tmp_path, "--output", tmp_path / "spec.json") == 2
    assert "holds no run of `tumorgen fit`" in capsys.readouterr().err


@pytest.fixture
def specification(tmp_path: Path, runs: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command writes on a machine without network and account."""
    result = Record(
        "mmd_paper", 1234.5, {"better": "lower"}, {"class": "LGG", "generated": "ours"}, {"real": 9, "generated": 9}
    )
    write_results(tmp_path / "results" / "evaluation.json", "evaluation", [result])

    def refuse(*_: Any) -> None:
        raise AssertionError("asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    from tumorgen.commands.dashboard import run

    words = [
        "--runs_dir",
        str(runs),
        "--project",
        "gliomas",
        "--entity",
        "us",
        "--results",
        f"[{tmp_path / 'results'}]",
    ]
    assert run([*words, "--output", str(tmp_path / "deep" / "spec.json")]) == 0
    return json.loads((tmp_path / "deep" / "spec.json").read_text())


def shown(panels: list[dict[str, Any]]) -> set[str]:
    """Names in panels of a specification."""
    found: set[str] = set()
    for panel in panels:
        config = panel["config"]
        found.update(config.get("metrics", []), config.get("mediaKeys", []))
        if panel["viewType"] == "Weave":
            found.update(name for name in ("tables/samples", "tables/evaluation") if name in json.dumps(config))
    return found


def test_the_workspace_has_every_panel(specification: dict[str, Any], parts: list[Section]) -> None:
    view = specification["workspace"]
    assert (view["entity"], view["project"]) == ("us", "gliomas")
    banks = view["spec"]["section"]["panelBankConfig"]["sections"]
    expected = parts
    assert [bank["name"] for bank in banks] == [section.name for section in expected]
    for bank, section in zip(banks, expected, strict=True):
        assert shown(bank["panels"]) == {name for panel in section.panels for name in names_of(panel)}, section.name
    assert set(specification["names"]) == logged_names(expected)
    (runs,) = view["spec"]["section"]["runSets"]
    assert [key["name"] for key in runs["grouping"]] == ["group", "jobType"]
    pinned = set(runs["runFeed"]["columnPinned"])
    assert {"tags:__ALL__", "summary:evaluation/mmd_rbf_blocks.last", "summary:evaluation/benchmark_auc.last"} <= pinned


def test_the_report_has_every_panel_a_text_and_the_results(specification: dict[str, Any], parts: list[Section]) -> None:
    blocks = specification["report"]["spec"]["blocks"]
    grids = [block for block in blocks if block["type"] == "panel-grid"]
    expected = parts
    for grid, section in zip(grids, expected, strict=True):
        panels = grid["metadata"]["panelBankSectionConfig"]["panels"]
        assert shown(panels) == {name for panel in section.panels for name in names_of(panel)}, section.name
        places = [panel["layout"] for panel in panels]
        cells = [
            (x, y)
            for one in places
            for x in range(one["x"], one["x"] + one["w"])
            for y in range(one["y"], one["y"] + one["h"])
        ]
        assert len(cells) == len(set(cells)), "panels lie on each other"
        assert max(x for x, _ in cells) < 24
        assert f"fit {section.method}" in json.dumps(grid["metadata"]["runSets"][0]["filters"])
    text = json.dumps(blocks)
    assert all(section.text in text for section in expected)
    assert "1234" in text


def test_the_specification_is_what_the_package_of_wandb_reads_back(
    specification: dict[str, Any], parts: list[Section]
) -> None:
    """Its own models accept it, and give the same panels again."""
    from wandb_workspaces.reports.v2 import Report
    from wandb_workspaces.reports.v2 import internal as report_models
    from wandb_workspaces.workspaces import Workspace
    from wandb_workspaces.workspaces import internal as workspace_models

    view = Workspace._from_model(workspace_models.View.model_validate(specification["workspace"]))
    assert [len(section.panels) for section in view.sections] == [len(s.panels) for s in parts]
    page = Report._from_model(report_models.ReportViewspec.model_validate(specification["report"]))
    assert sum(type(block).__name__ == "PanelGrid" for block in page.blocks) == len(parts)


def test_without_the_extra_it_says_what_to_install(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    assert _command("--runs_dir", runs, "--output", tmp_path / "spec.json") == 2
    assert "pip install 'tumorgen[dashboard]'" in capsys.readouterr().err
    assert not (tmp_path / "spec.json").exists()


def test_without_an_account_it_says_what_to_do(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _command("--runs_dir", runs) == 2
    assert "--output spec.json" in capsys.readouterr().err


def test_results_that_are_none_are_refused(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _command("--runs_dir", runs, "--results", f"[{tmp_path}]", "--output", tmp_path / "spec.json") == 2
    assert "neither evaluation.json nor benchmark.json" in capsys.readouterr().err
    floor = Floor(0.0, 0.0, 0.0, 1, 1)
    write_results(tmp_path / "x.json", "other", [Record("fid", 1.0, {}, {"class": "pooled"}, {}, floor=floor)])
    assert (
        _command("--runs_dir", runs, "--results", f"[{tmp_path / 'x.json'}]", "--output", tmp_path / "spec.json") == 2
    )
    assert "is of kind other" in capsys.readouterr().err


def _command(*words: object) -> int:
    """Exit status of `tumorgen dashboard WORDS`, with the error as the front door prints it."""
    from data_modules.errors import InputError
    from tumorgen.commands.dashboard import run

    try:
        return run([str(word) for word in words])
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
