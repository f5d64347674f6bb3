"""What all methods have: draws that belong to the cases of a batch, and a training that leaves other draws alone."""

from typing import Any

import lightning as L
import torch
from tiny import tiny_vqgan, train
from torch import Tensor
from toy import ToyDataModule


class Dice(L.Callback):
    """Notes what a step would draw, by epoch and cases, and what is drawn where an epoch ends."""

    def __init__(self) -> None:
        self.steps: dict[tuple[int, tuple[str, ...]], Tensor] = {}
        self.between: list[Tensor] = []

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Any) -> None:
        key = (trainer.current_epoch, tuple(self.cases))
        if key not in self.steps:
            state = torch.get_rng_state()
            self.steps[key] = torch.rand(3)
            torch.set_rng_state(state)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.cases = batch["case"]

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.between.append(torch.rand(3))


def drawn(dropout: float) -> Dice:
    """Two epochs of two batches; the importance net draws more or less for its dropout."""
    dice = Dice()
    model = tiny_vqgan(importance={"init_args": {"dropout": dropout}})
    train(model, epochs=2, callbacks=(dice,), data=ToyDataModule())
    return dice


def test_steps_draw_by_their_cases_and_leave_other_draws_alone() -> None:
    seed = 0
    few, many = drawn(0.0), drawn(0.5)
    assert few.steps.keys() == many.steps.keys(), "the same order of cases, whatever the steps have drawn"
    assert len({tuple(numbers.tolist()) for numbers in few.steps.values()}) == 4
    assert [numbers.tolist() for numbers in few.between] == [numbers.tolist() for numbers in many.between]
    assert torch.initial_seed() == seed, "the next training in this process starts from a seed of its own choice"
