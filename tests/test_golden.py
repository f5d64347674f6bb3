"""The loss curve of a few steps of the tiny VQGAN against one that was checked in: a change of arithmetic shows here.

After an intended change:  TUMORGEN_UPDATE_GOLDEN=1 python -m pytest tests/test_golden.py, and say in CHANGELOG.md why.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import tiny_vqgan, train
from toy import ToyDataModule

GOLDEN = Path(__file__).parent / "golden" / "vqgan.json"
NOT_ARITHMETIC = {"train/voxels_per_second"}
# GANAdam with a larger eps: gradients that are zero but for rounding would move their weights as far as real ones, and
# every processor rounds in its own way
CALM_ADAM = {"class_path": "torch.optim.Adam", "init_args": {"lr": 1e-4, "betas": [0.5, 0.9], "eps": 1e-2}}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Sums are then added in the same order on every machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Clouds(ToyDataModule):
    """Noise without any background: no two tokens are nearly the same, so that rounding does not decide on codes."""

    def setup(self, stage: str) -> None:
        super().setup(stage)
        generator = torch.Generator().manual_seed(0)
        for item in self.train.items:
            item["volume"] = torch.rand(item["volume"].shape, generator=generator) * 2 - 1


def curve() -> list[dict[str, float]]:
    """Six batches; the discriminator joins at the third."""
    # contiguous: the less rounding, the longer another processor agrees
    model = tiny_vqgan(
        discriminator_start=0.34,
        compute={"channels_last": False},
        optimizer=CALM_ADAM,
        discriminator_optimizer=CALM_ADAM,
    )
    _, steps = train(model, epochs=3, data=Clouds())
    return [{name: float(value) for name, value in step.items() if name not in NOT_ARITHMETIC} for step in steps]


def test_loss_curve_of_the_vqgan() -> None:
    found = curve()
    if os.environ.get("TUMORGEN_UPDATE_GOLDEN"):
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
        pytest.skip(f"wrote {GOLDEN}")
    expected: list[dict[str, Any]] = json.loads(GOLDEN.read_text())
    assert len(found) == len(expected) == 6
    for number, (step, golden) in enumerate(zip(found, expected, strict=True)):
        assert step.keys() == golden.keys(), number
        for name, value in golden.items():
            assert step[name] == pytest.approx(value, rel=5e-4, abs=1e-6), f"batch {number}, {name}"


def test_a_change_of_a_weight_would_be_noticed() -> None:
    model = tiny_vqgan(
        compute={"channels_last": False},
        objective={
            "class_path": "tumorgen.methods.vqgan.objective.VQGANObjective",
            "init_args": {"image_gradient": 4.01},
        },
    )
    _, steps = train(model, limit_train_batches=1, data=Clouds())
    golden = json.loads(GOLDEN.read_text())[0]["train/total"]
    assert float(steps[0]["train/total"]) != pytest.approx(golden, rel=5e-4)
