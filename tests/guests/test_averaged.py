"""A generator whose checkpoint holds averaged weights: those are sampled, wherever and in whatever order of callbacks."""

import json
from pathlib import Path

import pytest
from journey import GUESTS, Home, last, same_training, sampled_brightness, seen_brightness, with_raw_weights

AVERAGING = {"class_path": "lightning.pytorch.callbacks.EMAWeightAveraging", "init_args": {"decay": 0.9}}
EVALUATION = {
    "class_path": "tumorgen.evaluation.callback.GeneratorEvaluation",
    "init_args": {"per_class": 3, "sheet_volumes": 1, "max_overhead": None, "metrics": ["guestlib.metric.Brightness"]},
}
ORDERS = {"before": [AVERAGING, EVALUATION], "after": [EVALUATION, AVERAGING]}


@pytest.fixture(scope="module")
def home(small_data: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("averaged"), small_data)


def words(home: Home, order: str) -> tuple[object, ...]:
    """The guest's experiment with averaging before or after evaluation."""
    path = home.folder / f"{order}.yaml"
    path.write_text(json.dumps({"trainer": {"callbacks": ORDERS[order]}}))
    return ("--config", GUESTS / "gaussian.yaml", "--config", path)


@pytest.fixture(scope="module", params=ORDERS)
def run(request: pytest.FixtureRequest, home: Home) -> Path:
    return home.fit(*words(home, request.param), run=request.param)


def test_the_weights_of_the_checkpoint_are_sampled(run: Path) -> None:
    assert seen_brightness(run) == pytest.approx(sampled_brightness(last(run), 3), abs=1e-6)
    raw = sampled_brightness(with_raw_weights(last(run)), 3)
    assert all(abs(value - seen_brightness(run)[name]) > 0.01 for name, value in raw.items())


def test_it_resumes(home: Home, run: Path) -> None:
    cut = home.cut(*words(home, run.name), run=f"cut_{run.name}")
    home.fit(*words(home, run.name), run=cut.name, resume=True)
    assert same_training(cut, run)
