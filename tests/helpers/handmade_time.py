"""A generator, a measure and a clock whose seconds are stated, not measured: what a budget does is then known exactly."""

from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from stage2_probes import Noise
from torch import Tensor
from toy import ToyDataModule

from tumorgen.evaluation.measures import Measure
from tumorgen.types import Labels, Volume


class Clock:
    """Goes on when somebody works."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Learner(Noise):
    """Learns one number; a training batch takes 1 s, a sampled volume `sampling` s."""

    def __init__(self, clock: Clock, sampling: float) -> None:
        super().__init__()
        self.clock, self.sampling = clock, sampling
        self.number = torch.nn.Parameter(torch.zeros(()))

    def sample(self, labels: Labels, seeds: Sequence[int]) -> Volume:
        self.clock.now += self.sampling * len(seeds)
        return super().sample(labels, seeds)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.clock.now += 1.0
        return (self.number - torch.rand(())) ** 2

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        torch.rand(())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Slow(Measure):
    """Finds nothing, in `duration` s; says beforehand how long it takes, `guess` times too much. Knows when it was asked."""

    def __init__(self, clock: Clock, duration: float, guess: float = 1.0) -> None:
        self.clock, self.duration, self.guess = clock, duration, guess
        self.asked: list[str] = []

    def seconds(self, one: Volume, cases: Any, clock: Any) -> float:
        assert clock is self.clock
        return self.guess * self.duration

    def prepare(self, real: Any, class_names: tuple[str, ...]) -> None:
        pass

    def records(self, samples: Any) -> list[Any]:
        self.asked.append(samples.name)
        self.clock.now += self.duration
        return []


def trainer(folder: Any, callbacks: Sequence[L.Callback], **options: Any) -> L.Trainer:
    """Two batches of toy data per epoch."""
    return L.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=list(callbacks),
        **{"enable_checkpointing": False, **options},
    )


def data() -> ToyDataModule:
    return ToyDataModule(roi_size=8)
