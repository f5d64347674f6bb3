"""Result files: written whole, read back equal, and never used for what they are not."""

import json
from pathlib import Path

import pytest

from data_modules.errors import InputError
from tumorgen.benchmark.results import Case, TrainingResult, read_result, result_path

SETTINGS = {"steps": 10, "model": {"init_args": {"network": "A", "lr": 0.1}}}
RESULT = TrainingResult(
    name="mixed-a-fold0-seed1",
    arm="mixed",
    generated="a",
    fold=0,
    seed=1,
    settings=SETTINGS,
    network="SmallCNN",
    positive_label=1,
    cases=(Case("c1", "p1", 1, [0.25, 0.75]), Case("c2", "p2", 0, [0.6, 0.4])),
    selected_step=5,
    validation_auc=None,
    volumes={"training": 4},
    seconds=1.5,
    environment={"torch": "2"},
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = result_path(tmp_path, RESULT.name)
    RESULT.write(path)
    return path


def test_read_back_equal(path: Path) -> None:
    assert path.name == "mixed-a-fold0-seed1.json"
    assert read_result(path, SETTINGS) == RESULT
    assert read_result(path) == RESULT
    assert read_result(path.with_name("other.json"), SETTINGS) is None


def test_predictions(path: Path) -> None:
    predictions = RESULT.predictions
    assert predictions.patients == ("p1", "p2")
    assert predictions.positive.tolist() == [True, False]
    assert predictions.scores.tolist() == [0.75, 0.4]


def test_other_settings_are_named(path: Path) -> None:
    other = {"steps": 20, "model": {"init_args": {"network": "A", "lr": 0.2}}, "precision": "bf16"}
    with pytest.raises(
        InputError, match=r"model\.init_args\.lr: 0\.1, now 0\.2; precision: None, now bf16; steps: 10, now 20"
    ):
        read_result(path, other)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 2}', '{"format": 1}', '{"format": 1, "cases": [{}]}'])
def test_damaged_files_are_refused(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(InputError, match="is no result of a training"):
        read_result(path, SETTINGS)


def test_file_is_plain_json(path: Path) -> None:
    content = json.loads(path.read_text())
    assert content["validation_auc"] is None
    assert content["cases"][0] == {"case": "c1", "patient": "p1", "label": 1, "probabilities": [0.25, 0.75]}
