"""A metric of one file and one line of YAML: evaluated while training and afterwards, reported, on the dashboard."""

from pathlib import Path

import pytest
from journey import GUESTS, METRICS, Home, call, curve, last, seen_brightness

from tumorgen.results.records import Record

LINE = "  - class_path: guestlib.metric.Brightness\n"


@pytest.fixture(scope="module")
def home(small_data: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("metric"), small_data)


@pytest.fixture(scope="module")
def metrics(home: Home) -> Path:
    path = home.folder / "mine.yaml"
    path.write_text(METRICS.read_text() + LINE)
    return path


@pytest.fixture(scope="module")
def run(home: Home, metrics: Path) -> Path:
    """The generator's experiment, whose evaluation takes the list of metrics."""
    return home.fit("--config", GUESTS / "gaussian.yaml", f"--trainer.callbacks.metrics={metrics}")


@pytest.fixture(scope="module")
def evaluated(home: Home, run: Path, metrics: Path, small_regions: Path) -> dict[str, Record]:
    """The metric's records of `tumorgen evaluate`, by class, for the volumes that the callback saw."""
    samples = home.predict(last(run), counts="{LGG: 4, HGG: 4}")
    records = home.evaluate(small_regions, samples, "--config", metrics).records
    return {record.group["class"]: record for record in records if record.metric == "brightness"}


def test_it_is_taken_while_training(run: Path) -> None:
    assert len(curve(run, "evaluation/brightness_LGG")) == 2
    assert len(curve(run, "evaluation/mmd_rbf_blocks_LGG")) == 2


def test_evaluate_gives_the_numbers_of_the_callback(run: Path, evaluated: dict[str, Record]) -> None:
    assert evaluated.keys() == {"LGG", "HGG", "pooled"}
    values = {name: record.value for name, record in evaluated.items() if name != "pooled"}
    assert values == pytest.approx(seen_brightness(run), abs=1e-6)
    assert evaluated["LGG"].counts == {"real": 6, "generated": 4}


def test_report_and_dashboard_show_it(home: Home, run: Path, evaluated: dict[str, Record]) -> None:
    page = home.report()
    assert "Brightness" in page
    assert f"{evaluated['LGG'].value:.3g}"[:5] in page
    output = home.folder / "dashboard.json"
    call(
        "dashboard",
        "--runs_dir",
        home.folder / "runs",
        "--results",
        f"[{home.folder / 'evaluation'}]",
        "--output",
        output,
    )
    specification = output.read_text()
    assert "evaluation/brightness_LGG" in specification
    assert "Brightness" in specification
