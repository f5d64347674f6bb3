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
from tumorgen.results.dashboard.layout import logged_names, names_of, sections
from tumorgen.results.records import Floor, Record, write_results

CLASSES = ("LGG", "HGG")
EVALUATION = "tumorgen.evaluation.callback.GeneratorEvaluation"
MEASURES = "tumorgen.evaluation.measures"
SHORT = ("--trainer.max_epochs", 2, "--trainer.limit_train_batches", 1, "--trainer.enable_model_summary", "false")


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """What tiny runs of both stages and of the classifier log, by the model's name."""
    place = tmp_path_factory.mktemp("logged")
    evaluation = {
        "class_path": EVALUATION,
        "init_args": {
            "per_class": 4,
            "max_overhead": None,
            "measures": [
                {"class_path": f"{MEASURES}.KernelMMD"},
                {"class_path": f"{MEASURES}.PaperMMD", "init_args": {"batch_size": 2}},
                {"class_path": "tumorgen.evaluation.measures_similarity.Diversity", "init_args": {"pairs": 4}},
                {"class_path": "tumorgen.evaluation.measures_similarity.Memorisation"},
                {
                    "class_path": "tumorgen.evaluation.measures_benchmark.ClassifierBenchmark",
                    "init_args": {"epochs": 1},
                },
            ],
        },
    }
    masking = {"class_path": "tumorgen.callbacks.masking_pictures.MaskingPictures"}
    write_json(place / "callbacks.json", {"trainer": {"callbacks": [masking, evaluation]}})
    common = ["--runs_dir", place, "--run_id", "run", *SHORT]
    pictures = "--trainer.callbacks+=tumorgen.callbacks.pictures.ReconstructionPictures"
    commands = {
        "VQGAN": ("tiny", ["--config", TINY_VQGAN, pictures]),
        "MaskedTransformer": (
            "tiny-transformer",
            [
                *("--config", TINY_TRANSFORMER, "--config", place / "callbacks.json", "--data.count", 16),
                *("--model.tokenizer", place / "tiny/run/checkpoints/last.ckpt"),
            ],
        ),
        "GradeClassifier": ("tiny-classifier", ["--config", HELPERS / "tiny_classifier.yaml"]),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        for _, words in commands.values():
            assert tumorgen("fit", *words, *common) == 0
    return {
        method: offline_record.names(offline_record.read(place / run / "run")) for method, (run, _) in commands.items()
    }


@pytest.mark.parametrize("method", ["VQGAN", "MaskedTransformer", "GradeClassifier"])
def test_everything_on_the_dashboard_is_logged(method: str, logged: dict[str, set[str]]) -> None:
    named = logged_names(sections(CLASSES), method)
    needs_more = {
        f"evaluation/floor/mmd_paper_{name}" for name in CLASSES
    }  # 8 validation cases of a class, the toy has 2
    assert len(named) > 5
    assert named - needs_more <= logged[method], sorted(named - logged[method])


def test_everything_measured_is_on_the_dashboard(logged: dict[str, set[str]]) -> None:
    measured = {
        name for name in logged["MaskedTransformer"] if name.startswith(("evaluation/", "pictures/", "tables/"))
    }
    assert measured - {"evaluation/seconds"} <= logged_names(sections(CLASSES))


def test_classes_of_other_data_have_curves_of_their_own() -> None:
    names = logged_names(sections(("benign", "LGG", "HGG")))
    assert {"evaluation/mmd_paper_benign", "val/codebook_usage_HGG", "pictures/masking_benign"} <= names


@pytest.fixture
def specification(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
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

    words = ["--project", "gliomas", "--entity", "us", "--results", f"[{tmp_path / 'results'}]"]
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


def test_the_workspace_has_every_panel(specification: dict[str, Any]) -> None:
    view = specification["workspace"]
    assert (view["entity"], view["project"]) == ("us", "gliomas")
    banks = view["spec"]["section"]["panelBankConfig"]["sections"]
    expected = sections(CLASSES)
    assert [bank["name"] for bank in banks] == [section.name for section in expected]
    for bank, section in zip(banks, expected, strict=True):
        assert shown(bank["panels"]) == {name for panel in section.panels for name in names_of(panel)}, section.name
    assert set(specification["names"]) == logged_names(expected)
    (runs,) = view["spec"]["section"]["runSets"]
    assert [key["name"] for key in runs["grouping"]] == ["group", "jobType"]
    pinned = set(runs["runFeed"]["columnPinned"])
    assert {"tags:__ALL__", "summary:val/dice.last", "summary:evaluation/benchmark_auc.last"} <= pinned


def test_the_report_has_every_panel_a_text_and_the_results(specification: dict[str, Any]) -> None:
    blocks = specification["report"]["spec"]["blocks"]
    grids = [block for block in blocks if block["type"] == "panel-grid"]
    expected = sections(CLASSES)
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


def test_the_specification_is_what_the_package_of_wandb_reads_back(specification: dict[str, Any]) -> None:
    """Its own models accept it, and give the same panels again."""
    from wandb_workspaces.reports.v2 import Report
    from wandb_workspaces.reports.v2 import internal as report_models
    from wandb_workspaces.workspaces import Workspace
    from wandb_workspaces.workspaces import internal as workspace_models

    view = Workspace._from_model(workspace_models.View.model_validate(specification["workspace"]))
    assert [len(section.panels) for section in view.sections] == [len(s.panels) for s in sections(CLASSES)]
    page = Report._from_model(report_models.ReportViewspec.model_validate(specification["report"]))
    assert sum(type(block).__name__ == "PanelGrid" for block in page.blocks) == len(sections(CLASSES))


def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    assert _command("--output", tmp_path / "spec.json") == 2
    assert "pip install 'tumorgen[dashboard]'" in capsys.readouterr().err
    assert not (tmp_path / "spec.json").exists()


def test_without_an_account_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _command() == 2
    assert "--output spec.json" in capsys.readouterr().err


def test_results_that_are_none_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _command("--results", f"[{tmp_path}]", "--output", tmp_path / "spec.json") == 2
    assert "neither evaluation.json nor benchmark.json" in capsys.readouterr().err
    floor = Floor(0.0, 0.0, 0.0, 1, 1)
    write_results(tmp_path / "x.json", "other", [Record("fid", 1.0, {}, {"class": "pooled"}, {}, floor=floor)])
    assert _command("--results", f"[{tmp_path / 'x.json'}]", "--output", tmp_path / "spec.json") == 2
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
