"""A data set of one file and one YAML: fit, prepare, export, benchmark, mixed and synthetic training."""

from pathlib import Path

import pytest
from front import HELPERS, TINY_VQGAN
from journey import GUESTS, Home, call, curve, last, manifest

from data_modules.volumes.folder import VolumeFolder

DATA = ("--config", GUESTS / "dataset.yaml")
GAUSSIAN = ("--config", GUESTS / "gaussian.yaml", *DATA)
COUNTS = "{round: 6, flat: 6}"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("data_set"))


@pytest.fixture(scope="module")
def run(home: Home) -> Path:
    return home.fit(*GAUSSIAN)


@pytest.fixture(scope="module")
def samples(home: Home, run: Path) -> Path:
    return home.predict(last(run), counts=COUNTS)


@pytest.fixture(scope="module")
def exported(home: Home) -> Path:
    call("prepare", *DATA, "--export", home.folder / "real")
    return home.folder / "real"


def test_generators_are_trained_on_it(run: Path, samples: Path) -> None:
    for name in ("evaluation/mmd_rbf_blocks_flat", "evaluation/ms_ssim_diversity_round", "evaluation/benchmark_auc"):
        assert len(curve(run, name)) == 2, name
    assert manifest(samples)["class_names"] == ["round", "flat"]


def test_tokenizers_are_trained_on_it(home: Home) -> None:
    run = home.fit("--config", TINY_VQGAN, *DATA, run="vqgan")
    assert len(curve(run, "val/dice")) == 2


def test_prepare_exports_it(exported: Path) -> None:
    folder = VolumeFolder(exported)
    assert (len(folder), folder.class_names) == (24, ("round", "flat"))
    parts = [entry["part"] for entry in manifest(exported)["volumes"]]
    assert [parts.count(part) for part in ("train", "val", "test")] == [8, 4, 12]


def test_it_is_evaluated_and_benchmarked(home: Home, exported: Path, samples: Path) -> None:
    assert {"round", "flat", "pooled"} <= {record.group["class"] for record in home.evaluate(exported, samples).records}
    benchmark = home.benchmark(samples, *DATA)
    assert {record.group["arm"] for record in benchmark.records} == {"real_only", "mixed"}
    assert benchmark.extra["generated"]["gaussian"]["0"]["reason"] == ""


@pytest.mark.parametrize(("kind", "batches"), [("MixedDataModule", 5), ("SyntheticDataModule", 3)])
def test_generated_volumes_train_a_classifier(home: Home, samples: Path, kind: str, batches: int) -> None:
    """8 real volumes of the fold and 12 generated ones, in batches of 4, for two epochs."""
    data = ("--data", f"data_modules.synthetic.{kind}", "--data.real", "guestlib.dataset.PebbleDataModule")
    run = home.fit("--config", HELPERS / "tiny_classifier.yaml", *data, "--data.generated", samples, run=kind)
    assert len(curve(run, "train/loss")) == 2 * batches
    assert len(curve(run, "val/auc")) == 2
