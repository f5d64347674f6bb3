"""A generator, a metric and a clock whose seconds are stated, not measured: what a budget does is then known exactly."""

from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from stage2_probes import Noise
from torch import Tensor
from toy import ToyDataModule

from data_modules.condition import Condition
from tumorgen.metrics.metric import Measure, Metric, Real, Volumes
from tumorgen.results.records import Record
from tumorgen.types import Volume


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
        self.hparams.pop("clock")  # no data that a checkpoint could hold
        self.clock, self.sampling = clock, sampling
        self.number = torch.nn.Parameter(torch.zeros(()))

    def sample(self, condition: Condition, seeds: Sequence[int]) -> Volume:
        self.clock.now += self.sampling * len(seeds)
        return super().sample(condition, seeds)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.clock.now += 1.0
        return (self.number - torch.rand(())) ** 2

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        torch.rand(())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Slow(Metric):
    """Finds nothing, in `duration` s; prepares for `preparation` s. Knows after how many seconds of the clock it was asked."""

    def __init__(self, clock: Clock, duration: float, preparation: float = 0.0) -> None:
        self.clock, self.duration, self.preparation = clock, duration, preparation
        self.asked: list[float] = []

    def prepare(self, real: Real) -> Measure:
        self.clock.now += self.preparation

        def measure(generated: Volumes) -> list[Record]:
            self.asked.append(self.clock.now)
            self.clock.now += self.duration
            return []

        return measure


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
