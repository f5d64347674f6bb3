"""Whole runs of stage 2: golden curves, precision, two processes, resuming, and data that do not belong to the tokenizer."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from front import HELPERS, ROOT, TINY_TRANSFORMER, tumorgen
from interruptions import PowerCutError
from stage2 import BIDIRECTIONAL, QUIET, curve, fit, tokenizer, transformer

from data_modules.base import Batch
from tumorgen.methods.transformer.module import MaskedTransformer

GOLDEN_FILE = Path(__file__).parents[2] / "golden" / "transformer.json"
GOLDEN = json.loads(GOLDEN_FILE.read_text())
LEARNING = ["--model.optimizer.lr", 1e-2, "--trainer.max_epochs", 6]
GOLDEN_RUNS = {"causal": LEARNING, "bidirectional": ["--config", BIDIRECTIONAL, *LEARNING]}


@pytest.fixture
def drawn_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens drawn from the case's number: a trained tokenizer could give others on another processor."""

    def tokenize(model: MaskedTransformer, batch: Batch, remember: bool) -> tuple[torch.Tensor, torch.Tensor]:
        draws = [torch.Generator().manual_seed(int(case.removeprefix("blob"))) for case in batch["case"]]
        length, codes = model.tokenizer.length, model.tokenizer.num_codes
        # squares of uniform numbers: some codes are more frequent, which can be learnt
        tokens = [(torch.rand(length, generator=draw) ** 2 * codes).long() for draw in draws]
        return torch.stack(tokens), torch.stack([torch.rand(length, generator=draw) for draw in draws])

    monkeypatch.setattr(MaskedTransformer, "tokenize", tokenize)


@pytest.mark.usefixtures("drawn_tokens")
@pytest.mark.parametrize(("form", "words"), GOLDEN_RUNS.items())
def test_curves_stay_golden(tmp_path: Path, form: str, words: list[object]) -> None:
    """Three digits: another processor rounds differently, another method differs by more.

    After an intended change: TUMORGEN_UPDATE_GOLDEN=1 python -m pytest tests/transformer/test_fit.py -k golden
    """
    run = fit(tmp_path, *words)
    found = {figure: curve(run, figure) for figure in GOLDEN[form]}
    if os.environ.get("TUMORGEN_UPDATE_GOLDEN"):
        GOLDEN[form] = found
        GOLDEN_FILE.write_text(json.dumps(GOLDEN, indent=1) + "\n")
    for figure, expected in GOLDEN[form].items():
        assert found[figure] == pytest.approx(expected, rel=2e-3), figure


@pytest.mark.usefixtures("drawn_tokens")
def test_bfloat16_mixed_learns_the_same_tokens(tmp_path: Path) -> None:
    run = fit(tmp_path, *LEARNING, "--trainer.precision", "bf16-mixed")
    assert curve(run, "train/cross_entropy") == pytest.approx(GOLDEN["causal"]["train/cross_entropy"], rel=2e-2)
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert {value.dtype for name, value in state.items() if name.startswith("network.")} == {torch.float32}


@pytest.mark.ci
def test_two_processes_train_together(tmp_path: Path) -> None:
    """Each rank validates cases of one class only: figures have to be gathered before they are taken."""
    words = ["--config", TINY_TRANSFORMER, "--model.tokenizer", tokenizer(), "--runs_dir", tmp_path, "--run_id", "two"]
    words += ["--trainer.strategy", "ddp", "--trainer.devices", 2, "--data.batch_size", 2, *QUIET]
    paths = os.pathsep.join([str(HELPERS), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    environment.pop("TUMORGEN_RUN_ID", None)
    command = [sys.executable, "-m", "tumorgen", "fit", *map(str, words)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [path.name for path in (tmp_path / "tiny-transformer").iterdir()] == ["two"]
    run = tmp_path / "tiny-transformer" / "two"
    assert len(curve(run, "train/cross_entropy")) == 4
    for name in ("val/cross_entropy_corrupted", "val/accuracy_intact_LGG", "val/accuracy_intact_HGG"):
        assert len(curve(run, name)) == 2, name
    pooled, *classes = (curve(run, f"val/cross_entropy_intact{name}") for name in ("", "_LGG", "_HGG"))
    assert pooled == pytest.approx([sum(pair) / 2 for pair in zip(*classes, strict=True)], rel=1e-4)
    assert (run / "checkpoints" / "best.ckpt").is_file()


def test_a_run_goes_on_as_if_uninterrupted_although_the_tokenizer_is_gone(tmp_path: Path) -> None:
    copy = Path(shutil.copy(tokenizer(), tmp_path / "vqgan.ckpt"))
    words = ["--model.tokenizer", copy, "--trainer.max_epochs", 3]
    whole = fit(tmp_path, *words, experiment="whole")
    common = ["--config", TINY_TRANSFORMER, *words, "--experiment", "cut", "--runs_dir", tmp_path, *QUIET]
    accident = ["--trainer.callbacks", "interruptions.PowerCut", "--trainer.callbacks.epoch", 2]
    with pytest.raises(PowerCutError):
        tumorgen("fit", *common, "--run_id", "run", *accident)
    copy.unlink()
    assert tumorgen("fit", *common, "--resume") == 0
    first, again = (
        torch.load(tmp_path / name / "run/checkpoints/last.ckpt", weights_only=True) for name in ("whole", "cut")
    )
    assert first["state_dict"].keys() == again["state_dict"].keys()
    for name, value in first["state_dict"].items():
        assert torch.equal(value, again["state_dict"][name]), name
    assert first["tokenizer"] == again["tokenizer"]
    assert first["tumorgen"] == again["tumorgen"]
    assert curve(whole, "val/cross_entropy_corrupted") == curve(tmp_path / "cut/run", "val/cross_entropy_corrupted")


def test_a_transformer_s_checkpoint_serves_as_tokenizer(tmp_path: Path) -> None:
    run = fit(tmp_path, "--model.tokenizer", transformer())
    assert curve(run, "train/cross_entropy") == curve(transformer().parents[1], "train/cross_entropy")


def test_without_validation_a_run_still_leaves_a_checkpoint(tmp_path: Path) -> None:
    run = fit(tmp_path, "--trainer.limit_val_batches", 0)
    assert (run / "checkpoints" / "last.ckpt").is_file()


def test_data_that_the_tokenizer_was_not_made_for_get_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--config", TINY_TRANSFORMER, "--model.tokenizer", tokenizer(), "--runs_dir", tmp_path, *QUIET]
    words += ["--data", "stage2_probes.ThreeClasses", "--data.roi_size", 32, "--data.spacing", 4]
    assert tumorgen("fit", *words) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("tumorgen: error"))
    assert "class_names ['benign', 'LGG', 'HGG'] instead of ['LGG', 'HGG']" in line
    assert "roi_size 32 instead of 16" in line
    assert "spacing 4.0 instead of 8.0" in line
    assert not list(tmp_path.rglob("*.ckpt"))
