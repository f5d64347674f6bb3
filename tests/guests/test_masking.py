"""A masking of one file trains a transformer, over a tokenizer that scores no importance."""

from pathlib import Path

import pytest
from front import TINY_TRANSFORMER, TINY_VQGAN, read_yaml
from journey import Home, curve, last, manifest, same_training

MASKING = ("--config", TINY_TRANSFORMER, "--model.masking", "guestlib.masking.SliceMasking")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("masking"))


@pytest.fixture(scope="module")
def words(home: Home) -> tuple[object, ...]:
    tokenizer = home.fit("--config", TINY_VQGAN, "--model.importance", "null", run="tokenizer")
    return (*MASKING, "--model.tokenizer", last(tokenizer))


@pytest.fixture(scope="module")
def run(home: Home, words: tuple[object, ...]) -> Path:
    return home.fit(*words)


def test_it_trains(run: Path) -> None:
    section = read_yaml(run / "config.yaml")["model"]["init_args"]["masking"]
    assert section == {"class_path": "guestlib.masking.SliceMasking", "init_args": {"slices": 2}}
    assert len(curve(run, "train/cross_entropy_corrupted")) == 4
    assert len(curve(run, "val/cross_entropy_corrupted")) == 2


def test_it_resumes(home: Home, words: tuple[object, ...], run: Path) -> None:
    home.cut(*words)
    assert same_training(home.fit(*words, run="cut", resume=True), run)


def test_its_checkpoint_samples(home: Home, run: Path) -> None:
    assert len(manifest(home.predict(last(run)))["volumes"]) == 4
