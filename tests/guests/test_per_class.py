"""A method that is trained per class: two members, one folder of samples, one benchmark."""

from pathlib import Path

import pytest
from journey import GUESTS, Home, curve, last, manifest

GAUSSIAN = ("--config", GUESTS / "gaussian.yaml")
CLASSES = ("LGG", "HGG")


@pytest.fixture(scope="module")
def home(small_data: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("per_class"), small_data)


@pytest.fixture(scope="module")
def members(home: Home) -> dict[str, Path]:
    """Runs by class."""
    return {name: home.fit(*GAUSSIAN, "--data.class_names", f"[{name}]", run=name) for name in CLASSES}


@pytest.fixture(scope="module")
def samples(home: Home, members: dict[str, Path]) -> Path:
    for name, run in members.items():
        folder = home.predict(last(run), counts=f"{{{name}: 3}}")
    return folder


def test_a_member_is_evaluated_on_its_class(members: dict[str, Path]) -> None:
    for name, run in members.items():
        assert len(curve(run, f"evaluation/mmd_rbf_blocks_{name}")) == 2
        assert len(curve(run, f"evaluation/ms_ssim_diversity_{name}")) == 2


def test_both_sample_into_one_folder(samples: Path) -> None:
    entries = manifest(samples)["volumes"]
    assert [entry["class"] for entry in entries] == 3 * ["HGG"] + 3 * ["LGG"]
    assert all((samples / entry["file"]).is_file() for entry in entries)
    assert sorted(manifest(samples)["class_names"]) == ["HGG", "LGG"]


def test_asking_for_more_of_one_class_leaves_the_other_alone(
    home: Home, members: dict[str, Path], samples: Path
) -> None:
    before = {entry["file"]: entry["sha256"] for entry in manifest(samples)["volumes"]}
    home.predict(last(members["HGG"]), counts="{HGG: 4}")
    after = {entry["file"]: entry["sha256"] for entry in manifest(samples)["volumes"]}
    assert len(after) == 7
    assert {file: after[file] for file in before} == before


def test_the_folder_is_evaluated_and_benchmarked(home: Home, small_regions: Path, samples: Path) -> None:
    evaluation = home.evaluate(small_regions, samples)
    assert {"LGG", "HGG", "pooled"} <= {record.group["class"] for record in evaluation.records}
    benchmark = home.benchmark(samples)
    assert {record.group["arm"] for record in benchmark.records} == {"real_only", "mixed"}
    assert benchmark.extra["generated"]["gaussian"]["0"]["reason"] == ""
    assert "Gaussian" in home.report()
