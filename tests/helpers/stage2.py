"""A tiny tokenizer and tiny transformers on it, trained once per test process through the command line."""

import atexit
import csv
import shutil
import tempfile
from functools import cache
from pathlib import Path

from front import TINY_TRANSFORMER, TINY_VQGAN, tumorgen

QUIET = ("--wandb.mode", "disabled", "--trainer.enable_model_summary", "false")
AUTOREGRESSIVE = "tumorgen.methods.transformer.decoding.CachedAutoregressive"
PARALLEL = "tumorgen.methods.transformer.parallel_decoding.ParallelDecoding"
BIDIRECTIONAL = Path(__file__).resolve().parents[2] / "experiments/overlays/bidirectional.yaml"


@cache
def place() -> Path:
    """A folder that lives as long as the process."""
    folder = Path(tempfile.mkdtemp(prefix="tumorgen-stage2-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def tokenizer() -> Path:
    """Checkpoint of the tiny VQGAN."""
    words = ["--config", TINY_VQGAN, "--runs_dir", place(), "--run_id", "tokenizer", *QUIET]
    assert tumorgen("fit", *words) == 0
    return place() / "tiny" / "tokenizer" / "checkpoints" / "last.ckpt"


def fit(folder: Path, *words: object, experiment: str = "stage2") -> Path:
    """Trains the tiny transformer with further options; returns the run's folder `folder/experiment/run`."""
    common = ["--config", TINY_TRANSFORMER, *words, "--experiment", experiment, "--runs_dir", folder, "--run_id", "run"]
    if "--model.tokenizer" not in words:
        common += ["--model.tokenizer", tokenizer()]
    assert tumorgen("fit", *common, *QUIET) == 0
    return folder / experiment / "run"


@cache
def transformer() -> Path:
    """Checkpoint of the tiny causal transformer."""
    return fit(place(), experiment="causal") / "checkpoints" / "last.ckpt"


@cache
def bidirectional() -> Path:
    """Checkpoint of the tiny transformer in its second form."""
    return fit(place(), "--config", BIDIRECTIONAL, experiment="bidirectional") / "checkpoints" / "last.ckpt"


def curve(run: Path, name: str) -> list[float]:
    """All values of a figure in a run's metrics.csv."""
    with open(run / "csv" / "metrics.csv", newline="") as stream:
        return [float(row[name]) for row in csv.DictReader(stream) if row.get(name)]
