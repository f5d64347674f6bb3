"""A quantiser of one file trains, resumes, reconstructs, and serves a transformer that is sampled from."""

from pathlib import Path

import pytest
from front import TINY_TRANSFORMER, TINY_VQGAN, read_yaml
from journey import TRUST, Home, call, curve, last, manifest, same_training

QUANTIZER = ("--config", TINY_VQGAN, "--data.spacing", 2.0, "--model.quantizer", "guestlib.quantizer.NearestCode")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("quantizer"))


@pytest.fixture(scope="module")
def tokenizer(home: Home) -> Path:
    return home.fit(*QUANTIZER)


def test_it_trains_with_defaults_of_its_own(tokenizer: Path) -> None:
    """The YAML's quantiser has 16 codes of width 8, its options another beta: those were meant for another class."""
    section = read_yaml(tokenizer / "config.yaml")["model"]["init_args"]["quantizer"]
    assert section == {
        "class_path": "guestlib.quantizer.NearestCode",
        "init_args": {"num_codes": 12, "code_dim": 4, "beta": 0.5},
    }
    assert len(curve(tokenizer, "val/codebook_usage")) == len(curve(tokenizer, "val/dice")) == 2


def test_it_resumes(home: Home, tokenizer: Path) -> None:
    home.cut(*QUANTIZER)
    assert same_training(home.fit(*QUANTIZER, run="cut", resume=True), tokenizer)


def test_it_reconstructs(home: Home, tokenizer: Path, tiny_cohort: Path) -> None:
    case = tiny_cohort / "HGG" / "BraTS19_Tiny_HGG0_1"
    scan, mask = (case / f"{case.name}_{role}.nii.gz" for role in ("flair", "seg"))
    output = home.folder / "reconstructed"
    call("reconstruct", "--ckpt_path", last(tokenizer), "--input", scan, "--mask", mask, "--output", output, *TRUST)
    assert (output / "reconstruction.nii.gz").is_file()


def test_a_transformer_samples_its_codes(home: Home, tokenizer: Path) -> None:
    words = ("--config", TINY_TRANSFORMER, "--model.tokenizer", last(tokenizer), "--data.spacing", 2.0, *TRUST)
    generator = home.fit(*words, run="stage2")
    volumes = manifest(home.predict(last(generator)))["volumes"]
    assert [entry["class"] for entry in volumes] == ["HGG", "HGG", "LGG", "LGG"]
    assert len({entry["sha256"] for entry in volumes}) == 4
