"""How good a generator's samples are while it trains, within a stated share of the training time."""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from data_modules.base import ROIDataModule
from data_modules.errors import InputError
from tumorgen.callbacks.pictures import log_picture
from tumorgen.evaluation.budget import Budget
from tumorgen.evaluation.during_training import real_volumes
from tumorgen.evaluation.evaluate import measured
from tumorgen.evaluation.features import extractors_for
from tumorgen.evaluation.journal import CURVES, EvaluationLog, log_values
from tumorgen.evaluation.listed import listed_metrics
from tumorgen.evaluation.samples import draw, seeds_of, sheet_rows, untouched
from tumorgen.methods.generator import Generator
from tumorgen.methods.method import planned_batches
from tumorgen.metrics.metric import Measure, Metric, Real, Resampling, Volumes
from tumorgen.results.sheets import gallery


class GeneratorEvaluation(L.Callback):
    """Samples volumes of every class after some validations, draws a sheet of them and measures them.

    The metrics are those of `tumorgen evaluate`, on the volumes sampled here and on the validation part of the data:
    values of different numbers of volumes do not compare. The first evaluation that is due and the last one of the run
    always happen. The first one tells what they take; in between, one that would take more than its share of the training
    time, or leave too little of it for the last, is put off to a later validation. Training goes on as if there had been
    no evaluation, bit by bit. Under several processes the first one evaluates and the others wait for it, at most as long
    as the strategy's `timeout` says (half an hour by default).

    Args:
        per_class: Volumes sampled of every class.
        every_n_validations: Validations between two evaluations; the last one is always due.
        max_overhead: Evaluation may take this share of the training time; null: any.
        metrics: What is measured, or a YAML that lists it, as `tumorgen evaluate --config` takes it; null: what
            experiments/evaluate.yaml lists.
        features: Feature spaces, as of `tumorgen evaluate`; without any, metrics of features measure nothing.
        resampling: How intervals, tests and floors are taken.
        sheet_volumes: Volumes per class on a sheet.
        clock: Seconds since some moment.

    Raises:
        InputError: Numbers that make no evaluation, or a list that lists no metrics.
    """

    def __init__(
        self,
        per_class: int = 16,
        every_n_validations: int = 1,
        max_overhead: float | None = 0.1,
        metrics: list[Metric] | Path | None = None,
        features: str = "",
        resampling: Resampling | None = None,
        sheet_volumes: int = 4,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not 1 <= sheet_volumes <= per_class or every_n_validations < 1:
            raise InputError(
                f"GeneratorEvaluation: per_class {per_class}, sheet_volumes {sheet_volumes}, every_n_validations "
                f"{every_n_validations}; expected at least 1 each, and no more on a sheet than are sampled."
            )
        if max_overhead is not None and not 0 < max_overhead <= 1:
            raise InputError(
                f"GeneratorEvaluation: max_overhead is {max_overhead}; expected a share in (0, 1], or null."
            )
        self.per_class, self.every_n_validations, self.sheet_volumes = per_class, every_n_validations, sheet_volumes
        self.metrics = metrics if isinstance(metrics, list) else listed_metrics(metrics)
        self.features, self.resampling = features, resampling or Resampling()
        self.budget = Budget(max_overhead, clock)
        self.journal = EvaluationLog()
        self._validations = self._evaluations = 0
        self._due = False
        self._prepared: tuple[Real, list[Measure]] | None = None

    def state_dict(self) -> dict[str, Any]:
        """The schedule and the time spent: a resumed run goes on with them."""
        return {
            "validations": self._validations,
            "evaluations": self._evaluations,
            "due": self._due,
            "budget": self.budget.state_dict(),
            "table": self.journal.rows,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from there."""
        self._validations, self._evaluations = state_dict["validations"], state_dict["evaluations"]
        self._due, self.journal.rows = state_dict["due"], state_dict["table"]
        self.budget.load_state_dict(state_dict["budget"])

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuses what samples nothing or has nothing real to compare with; a trial run (`fast_dev_run`) has no limit."""
        if not isinstance(pl_module, Generator):
            raise InputError(
                f"GeneratorEvaluation: a {type(pl_module).__name__} samples nothing; it evaluates generators. Take it out "
                "of trainer.callbacks."
            )
        if self.metrics and not trainer.datamodule.train_real:
            raise InputError(
                "GeneratorEvaluation needs real training cases to compare samples with, and the data module has none. Take one "
                "that has, such as MixedDataModule, or take the callback out of trainer.callbacks."
            )
        if trainer.fast_dev_run:
            self.budget.share = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the clock."""
        self.budget.start()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Evaluates when it is time and there is time; logs what was found, and what evaluation has taken so far."""
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        assert isinstance(pl_module, Generator)
        progress, last = run_progress(trainer, pl_module)
        self._validations += 1
        self._due = self._due or last or self._validations % self.every_n_validations == 0
        if not trainer.is_global_zero:
            return
        values = {}
        if self._due and (last or self.budget.allows(progress)):
            with untouched(pl_module):
                values = self._evaluate(trainer, pl_module)
            self._due = False
            self._evaluations += 1
        log_values(trainer, {**values, f"{CURVES}/overhead": self.budget.overhead})

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Says what evaluation has taken, and warns where it was more than its share."""
        if not trainer.is_global_zero:
            return
        spent, overhead, share = self.budget.spent, self.budget.overhead, self.budget.share
        log_values(trainer, {f"{CURVES}/overhead": overhead, f"{CURVES}/seconds": spent})
        taken = f"{spent:.1f} s, {100 * overhead:.1f} % of the training time"
        print(f"evaluated {self._evaluations} times: {taken}", file=sys.stderr, flush=True)
        if share is not None and overhead > share:
            rank_zero_warn(
                f"evaluation took {taken}, more than max_overhead ({share:g}) allows: the first and the last one always happen. "
                "Lower per_class, or take the callback out of short runs."
            )

    def _evaluate(self, trainer: L.Trainer, model: Generator) -> dict[str, float]:
        """Values to log, by name."""
        if self._prepared is None and self.metrics:
            with self.budget.spending(once=True):
                self._prepared = self._prepare(trainer.datamodule)
        with self.budget.spending():
            volumes = draw(trainer, model, self.per_class)
            log_picture(trainer, "samples", gallery(sheet_rows(trainer, volumes, self.sheet_volumes)))
            if self._prepared is None:
                return {}
            real, measures = self._prepared
            classes = [real.class_names.index(name) for name in volumes for _ in range(self.per_class)]
            seeds = [seed for name in volumes for seed in seeds_of(model.class_names, name, self.per_class)]
            names = [f"{real.class_names[label]}, seed {seed}" for label, seed in zip(classes, seeds, strict=True)]
            generated = Volumes.of(list(torch.cat(list(volumes.values()))), classes, names)
            records = measured(real, measures, generated, f"epoch {trainer.current_epoch + 1}")
            return self.journal.write(trainer, records, generated, seeds)

    def _prepare(self, data: ROIDataModule) -> tuple[Real, list[Measure]]:
        real = real_volumes(data, self.resampling)
        if self.features:
            real = replace(real, extractors=extractors_for(self.features, real))
        return real, [metric.prepare(real) for metric in self.metrics]


def run_progress(trainer: L.Trainer, model: L.LightningModule) -> tuple[float, bool]:
    """The share of all training batches that is done, in (0, 1], and whether this validation is the last."""
    if trainer.max_epochs in (None, -1) and trainer.max_steps < 0:
        return 1.0, False  # a run without an end holds nothing back for it
    total = planned_batches(trainer, model)
    done = int(trainer.fit_loop.epoch_loop.total_batch_idx) + 1
    epochs = trainer.check_val_every_n_epoch
    between = trainer.val_check_batch if epochs in (None, 1) else epochs * trainer.num_training_batches
    return min(1.0, done / total), done + between > total
