"""cost.json: what a training, or volumes, took. Seconds are stated by a clock that goes on only where somebody works."""

import json
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader

from tumorgen.runs import cost
from tumorgen.runs.cost import CostFile
from tumorgen.runs.folder import Run


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(cost, "time", clock)
    return clock


class Worker(L.LightningModule):
    """Loads a batch in 1 s, learns from it in 2 s, validates in 100 s, samples a volume in 3 s and writes it in 50 s."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.number = torch.nn.Parameter(torch.zeros(5))
        self.frozen = torch.nn.Parameter(torch.zeros(2), requires_grad=False)

    def _loader(self, *_: Any) -> DataLoader[int]:
        def collate(batch: list[int]) -> Tensor:
            self.clock.now += 1
            return torch.tensor(batch)

        return DataLoader(range(4), batch_size=2, collate_fn=collate)

    train_dataloader = _loader

    def val_dataloader(self) -> DataLoader[int]:
        return DataLoader(range(1))

    def predict_dataloader(self) -> DataLoader[int]:
        return DataLoader(range(3), batch_size=2)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.clock.now += 2
        return self.number.sum()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.clock.now += 100

    def predict_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.clock.now += 3 * len(batch)
        return torch.zeros(len(batch), 1, 2, 2, 2)

    def on_predict_batch_end(self, *_: Any) -> None:
        self.clock.now += 50

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([self.number], lr=0.1)


class Stop(L.Callback):
    """Ends training within epoch 2, counted from 0, after an update that is lost by it."""

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.current_epoch == 2:
            raise InterruptedError


def trainer(folder: Path, *callbacks: L.Callback) -> L.Trainer:
    keeper = ModelCheckpoint(folder / "checkpoints", "last", save_on_train_epoch_end=True, enable_version_counter=False)
    return L.Trainer(
        default_root_dir=folder,
        max_epochs=4,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[CostFile(Run("a", "b", folder)), keeper, *callbacks],
    )


def read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "cost.json").read_text())


def test_a_resumed_training_adds_up_and_pauses_do_not_count(tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(InterruptedError):
        trainer(tmp_path, Stop()).fit(Worker(clock))
    found = read(tmp_path)
    assert (found["updates"], found["seconds_per_update"]) == (4, 3.0), "two epochs have a checkpoint"
    assert found["seconds"] == 2 * (2 * 3 + 100)
    clock.now += 3600
    trainer(tmp_path).fit(Worker(clock), ckpt_path=tmp_path / "checkpoints/last.ckpt", weights_only=True)
    found = read(tmp_path)
    assert (found["updates"], found["seconds_per_update"]) == (8, 3.0)
    assert found["seconds"] == 4 * (2 * 3 + 100)


def test_facts_beside_the_seconds(tmp_path: Path, clock: Clock) -> None:
    trainer(tmp_path).fit(Worker(clock))
    found = read(tmp_path)
    assert (found["parameters"], found["parameters_trained"]) == (7, 5)
    assert (found["devices"], found["precision"]) == (1, "32-true")
    assert found["device"] == f"CPU, {torch.get_num_threads()} threads"
    assert 50e6 < found["peak_memory"] < 50e9, "bytes of a process that has torch loaded"


def test_volumes_cost_what_sampling_took(tmp_path: Path, clock: Clock) -> None:
    trainer(tmp_path).predict(Worker(clock))
    found = read(tmp_path)
    assert (found["volumes"], found["seconds_per_volume"]) == (3, 3.0)
    assert "updates" not in found
    assert "seconds" not in found
