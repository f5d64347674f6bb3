"""Two processes over gloo: the first evaluates, the second waits, and both end with the weights of a run without evaluation."""

import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from front import HELPERS, ROOT, TINY_TRANSFORMER
from stage2 import tokenizer

EVALUATION = "tumorgen.evaluation.callback.GeneratorEvaluation"

pytestmark = pytest.mark.ci


def start(place: Path, *callbacks: str) -> subprocess.Popen[str]:
    """Starts a run of two processes that leaves rank0.json and rank1.json in `place`."""
    place.mkdir()
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        port = listening.getsockname()[1]
    hidden = ("TUMORGEN_RUN_ID", "SLURM_JOB_ID", "SLURM_NTASKS", "WORLD_SIZE", "LOCAL_RANK", "NODE_RANK")
    environment = {name: value for name, value in os.environ.items() if name not in hidden} | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(HELPERS)]),
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    words = [
        f"--config={TINY_TRANSFORMER}",
        f"--model.tokenizer={tokenizer()}",
        f"--runs_dir={place / 'runs'}",
        "--wandb.mode=disabled",
        "--data.batch_size=2",
        "--trainer.strategy=ddp",
        "--trainer.devices=2",
        *callbacks,
        "--trainer.callbacks+=ranks.Fingerprints",
        f"--trainer.callbacks.folder={place}",
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "tumorgen", "fit", *words],
        cwd=place,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of a run without and of one with evaluation."""
    folder = tmp_path_factory.mktemp("ranks")
    evaluation = (f"--trainer.callbacks+={EVALUATION}", "--trainer.callbacks.max_overhead=null")
    commands = {folder / "plain": (), folder / "evaluated": (*evaluation, "--trainer.callbacks.per_class=4")}
    for place, callbacks in commands.items():
        process = start(place, *callbacks)
        try:
            output, _ = process.communicate(timeout=200)
        except subprocess.TimeoutExpired:
            process.kill()
            pytest.fail(f"the ranks wait for each other: {process.communicate()[0][-3000:]}")
        assert process.returncode == 0, output[-3000:]
    return folder / "plain", folder / "evaluated"


def ranks(place: Path) -> list[dict[str, Any]]:
    return [json.loads((place / f"rank{rank}.json").read_text()) for rank in (0, 1)]


def test_both_ranks_train_as_without_evaluation(places: tuple[Path, Path]) -> None:
    plain, evaluated = (ranks(place) for place in places)
    for one, other in zip(plain, evaluated, strict=True):
        assert other["world_size"] == 2
        for part in ("parts", "optimizers", "cases", "figures"):
            assert one[part] == other[part], part


def test_the_first_rank_has_evaluated(places: tuple[Path, Path]) -> None:
    _, place = places
    (run,) = (place / "runs/tiny-transformer").iterdir()
    with open(run / "csv/metrics.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row.get("evaluation/mmd_rbf_blocks_LGG")]
    assert len(rows) == 2
    assert len(list(run.glob("pictures/samples_*.png"))) == 2
