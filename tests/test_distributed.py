"""Two processes train one VQGAN: `--trainer.strategy ddp --trainer.devices 2`, over gloo on the CPU."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from front import HELPERS, ROOT, TINY_VQGAN

pytestmark = pytest.mark.ci


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        return int(listening.getsockname()[1])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of two processes, and of what each of them says."""
    place = tmp_path_factory.mktemp("distributed")
    settings = {
        "--config": TINY_VQGAN,
        "--runs_dir": place / "runs",
        "--wandb.mode": "disabled",
        "--data.batch_size": 2,
        "--trainer.strategy": "ddp",
        "--trainer.devices": 2,
        "--trainer.callbacks+": "ranks.Fingerprints",
        "--trainer.callbacks.folder": place,
        # eight blobs on two ranks are four batches: codes die and are revived within them
        "--model.quantizer.revive_after": 1,
        "--model.importance.hidden": 64,
    }
    hidden = ("TUMORGEN_RUN_ID", "SLURM_JOB_ID", "SLURM_NTASKS", "WORLD_SIZE", "LOCAL_RANK", "NODE_RANK")
    environment = {name: value for name, value in os.environ.items() if name not in hidden} | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(HELPERS)]),
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    words = [f"{key}={value}" for key, value in settings.items()]
    finished = subprocess.run(
        [sys.executable, "-m", "tumorgen", "fit", *words],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    return place


@pytest.fixture(scope="module")
def ranks(place: Path) -> list[dict[str, Any]]:
    return [json.loads((place / f"rank{rank}.json").read_text()) for rank in (0, 1)]


def test_the_plain_name_ddp_serves_a_gan(ranks: list[dict[str, Any]]) -> None:
    for rank in ranks:
        assert (rank["strategy"], rank["world_size"]) == ("DDPStrategy", 2)


def test_each_rank_sees_its_half_of_every_epoch(ranks: list[dict[str, Any]]) -> None:
    everybody = sorted(f"blob{i:04d}" for i in range(8))
    first, second = (rank["cases"] for rank in ranks)
    assert len(first) == len(second) == 2
    for ours, theirs in zip(first, second, strict=True):
        assert sorted(ours + theirs) == everybody
    assert sorted(first[0]) != sorted(first[1]), "shuffled anew"


def test_codebooks_weights_and_optimizers_are_equal_on_both_ranks(ranks: list[dict[str, Any]]) -> None:
    first, second = ranks
    trained = {"model", "discriminator"}
    assert trained <= first["parts"].keys()
    for name in trained:
        assert first["parts"][name] == second["parts"][name], name
    assert len(first["optimizers"]) == 2
    assert first["optimizers"] == second["optimizers"]


def test_held_out_figures_are_of_all_ranks(ranks: list[dict[str, Any]]) -> None:
    first, second = (rank["figures"] for rank in ranks)
    assert {"val/dice", "val/l1_tumour", "val/codebook_usage_HGG", "val/importance_auc"} <= first.keys()
    assert first == pytest.approx(second, nan_ok=True)


def test_one_run_folder_with_everything_in_it(place: Path) -> None:
    (run,) = (place / "runs" / "tiny").iterdir()
    assert {path.name for path in run.iterdir()} - {".lock"} == {
        "checkpoints",
        "config.yaml",
        "cost.json",
        "csv",
        "state.json",
    }
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    whole = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert whole["tumorgen"]["updates"] == 4, "two epochs of two batches per rank"
    assert bool(whole["state_dict"]["model.quantizer.initialised"])
