"""How good a generator's samples are while it trains, within a stated share of the training time."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng

from data_modules.errors import InputError
from tumorgen.callbacks.pictures import log_picture
from tumorgen.evaluation.budget import CAUTION, Budget
from tumorgen.evaluation.journal import EvaluationLog
from tumorgen.evaluation.measures import KernelMMD, Measure, Numbers, PaperMMD
from tumorgen.evaluation.measures_benchmark import ClassifierBenchmark
from tumorgen.evaluation.measures_similarity import Diversity, Memorisation
from tumorgen.evaluation.real_cases import Samples, datasets_of, read_real_cases, shrink
from tumorgen.evaluation.samples import draw, sheet_rows
from tumorgen.methods.generator import Generator
from tumorgen.methods.method import planned_batches
from tumorgen.results.sheets import gallery

LEAST_SECONDS = 1.0
"""Nothing is tried before this much may be spent: what a sample takes is unknown until one has been drawn."""


@dataclass
class Costs:
    """Seconds, predicted from a probe before the first evaluation and measured in the last one after that.

    Attributes:
        volume: Of sampling one volume.
        prepare: Of reading the real cases and taking what depends on them alone, once per process.
        figures: Of all measures.
        sheet: Of drawing.
        drawn: Volumes per class that `volume` was measured with; many at a time are cheaper than one.
    """

    volume: float
    prepare: float
    drawn: int = 1
    figures: float = 0.0
    sheet: float = 2.0


class GeneratorEvaluation(L.Callback):
    """Samples volumes of every class after some validations, draws a sheet of them and takes figures.

    An evaluation that would take more than its share of the training time is put off to a later validation; one is always
    held back for the end of the run. Where only a sheet is affordable, a sheet is drawn. Training goes on as if there had
    been no evaluation, bit by bit. Under several processes the first one evaluates and the others wait for it, at most as long
    as the strategy's `timeout` says (half an hour by default).

    Args:
        per_class: Volumes sampled of every class.
        every_n_validations: Validations between two evaluations; the last one is always due.
        max_overhead: Evaluation may take this share of the training time; null: any.
        measures: What is measured; null: MMD (RBF and paper), diversity, memorisation and a small downstream benchmark.
        sheet_volumes: Volumes per class on a sheet.
        clock: Seconds since some moment.

    Raises:
        InputError: Numbers that make no evaluation.
    """

    def __init__(
        self,
        per_class: int = 16,
        every_n_validations: int = 1,
        max_overhead: float | None = 0.1,
        measures: list[Measure] | None = None,
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
        self.measures = _standard() if measures is None else measures
        self.budget = Budget(max_overhead, clock)
        self.clock = clock
        self.journal = EvaluationLog()
        self._validations = self._evaluations = 0
        self._due = self._sheet_due = self._prepared = False
        self._costs: Costs | None = None

    def state_dict(self) -> dict[str, Any]:
        """The schedule, the time spent and what work costs: a resumed run goes on with them."""
        return {
            "validations": self._validations,
            "evaluations": self._evaluations,
            "due": self._due,
            "sheet_due": self._sheet_due,
            "budget": self.budget.state_dict(),
            "costs": None if self._costs is None else asdict(self._costs),
            "table": self.journal.rows,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from there."""
        self._validations, self._evaluations = state_dict["validations"], state_dict["evaluations"]
        self._due, self._sheet_due = state_dict["due"], state_dict["sheet_due"]
        self.journal.rows = state_dict["table"]
        self.budget.load_state_dict(state_dict["budget"])
        self._costs = None if state_dict["costs"] is None else Costs(**state_dict["costs"])

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuses what samples nothing or has nothing real to compare with; a trial run (`fast_dev_run`) has no limit."""
        if not isinstance(pl_module, Generator):
            raise InputError(
                f"GeneratorEvaluation: a {type(pl_module).__name__} samples nothing; it evaluates generators. Take it out "
                "of trainer.callbacks."
            )
        if self.measures and not len(datasets_of(trainer)[0]):
            raise InputError(
                "GeneratorEvaluation needs real training cases to compare samples with, and the data module has none. Take one "
                "that has, such as MixedDataModule, or take the callback out of trainer.callbacks."
            )
        if trainer.fast_dev_run:
            self.budget.share = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the clock."""
        self.budget.start()

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Evaluates when it is time and there is time."""
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        assert isinstance(pl_module, Generator)
        progress, last = run_progress(trainer, pl_module)
        self._validations += 1
        if last or self._validations % self.every_n_validations == 0:
            self._due = self._sheet_due = True
        if not trainer.is_global_zero:
            return
        while self._due and (number := self._worth_probing()):
            with self.budget.spending(), untouched(pl_module):
                self._costs = self._probe(trainer, pl_module, number)
        per_class = self._affordable(pl_module, progress, last) if self._due else 0
        if per_class:
            with self.budget.spending(), untouched(pl_module):
                self._evaluate(trainer, pl_module, per_class)
            self._due, self._sheet_due = per_class < self.per_class, False
            self._evaluations += not self._due
        pl_module.log("evaluation/overhead", self.budget.overhead, rank_zero_only=True)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Says what evaluation has taken, and warns where it was too much or too little."""
        if not trainer.is_global_zero:
            return
        spent, overhead, share = self.budget.spent, self.budget.overhead, self.budget.share
        for logger in trainer.loggers:
            logger.log_metrics({"evaluation/overhead": overhead, "evaluation/seconds": spent}, trainer.global_step)
        taken = f"{spent:.1f} s, {100 * overhead:.1f} % of the training time"
        print(f"evaluated {self._evaluations} times: {taken}", file=sys.stderr, flush=True)
        if not self.budget.kept:
            rank_zero_warn(f"evaluation took {taken}, more than max_overhead ({share:g}) allows.")
        elif self._due and self._costs is not None:
            needed = CAUTION * self._predicted(self.per_class, len(getattr(pl_module, "class_names", ())))
            rank_zero_warn(
                f"the last evaluation was left out: it needs about {needed:.0f} s, and max_overhead ({share:g}) allows "
                f"{max(0.0, self.budget.available(1.0)):.0f} s. Raise max_overhead, or lower per_class."
            )

    def _worth_probing(self) -> int:
        """Volumes to draw in order to know better what sampling takes: one at first, as many as a sheet has, or none."""
        if self.budget.share is None:
            return 0
        if self._costs is None:
            return int(self.budget.available(1.0) >= LEAST_SECONDS)
        needed = self._costs.volume * self.sheet_volumes
        return self.sheet_volumes if self._costs.drawn < self.sheet_volumes and self.budget.allows(needed) else 0

    def _probe(self, trainer: L.Trainer, model: Generator, number: int) -> Costs:
        """Draws volumes; the first time it also reads a case, and lets every measure try itself."""
        begin = self.clock()
        few = draw(trainer, model, label=0, number=number)
        sampled = self.clock()
        volume = (sampled - begin) / number
        if self._costs is not None:
            return replace(self._costs, volume=volume, drawn=number)
        training, generated, held_out = datasets_of(trainer)
        known = len(training) + len(generated)
        classes = len(model.class_names)
        numbers = Numbers(classes, self.per_class * classes, known, len(held_out))
        for dataset in (training, generated, held_out):
            if len(dataset):
                shrink(dataset[0]["volume"][None].float())
        reading = (self.clock() - sampled) * max(known, len(held_out))
        figures = sum(measure.seconds(few[:1], numbers, self.clock) for measure in self.measures)
        return Costs(volume, prepare=reading + figures, drawn=number)

    def _predicted(self, per_class: int, classes: int) -> float:
        """Seconds of an evaluation with so many volumes per class; fewer than `per_class` are for a sheet only."""
        assert self._costs is not None
        seconds = self._costs.volume * per_class * classes + self._costs.sheet
        if per_class < self.per_class:
            return seconds
        return seconds + self._costs.figures + (0.0 if self._prepared else self._costs.prepare)

    def _affordable(self, model: Generator, progress: float, last: bool) -> int:
        """Volumes per class that there is time for: all, those of a sheet if none was drawn since it was due, or none."""
        if self.budget.share is None:
            self._costs = self._costs or Costs(0.0, 0.0)
            return self.per_class
        if self._costs is None:
            return 0
        classes = len(model.class_names)
        reserve = 0.0 if last else self._predicted(self.per_class, classes)
        for per_class in (self.per_class, self.sheet_volumes if self._sheet_due else 0):
            if per_class and self.budget.allows(self._predicted(per_class, classes), progress, reserve):
                return per_class
        return 0

    def _evaluate(self, trainer: L.Trainer, model: Generator, per_class: int) -> None:
        assert self._costs is not None
        classes = len(model.class_names)
        begin = self.clock()
        volumes = [draw(trainer, model, label, per_class) for label in range(classes)]
        self._costs.volume, self._costs.drawn = (self.clock() - begin) / (per_class * classes), per_class
        begin = self.clock()
        log_picture(trainer, "samples", gallery(sheet_rows(trainer, model, volumes, self.sheet_volumes)))
        self._costs.sheet = self.clock() - begin
        if per_class < self.per_class:
            return
        if not self._prepared:
            begin = self.clock()
            real = read_real_cases(trainer, classes)
            for measure in self.measures:
                measure.prepare(real, model.class_names)
            self._prepared = True
            self._costs.prepare = self.clock() - begin
        begin = self.clock()
        samples = Samples(volumes, [shrink(some) for some in volumes], f"epoch {trainer.current_epoch + 1}")
        records = [record for measure in self.measures for record in measure.records(samples)]
        self.journal.write(trainer, model, records, samples)
        self._costs.figures = self.clock() - begin


@contextmanager
def untouched(model: L.LightningModule) -> Iterator[None]:
    """Afterwards all random generators, and every module's training mode, are as they were before."""
    modes = [(module, module.training) for module in model.modules()]
    with isolate_rng():
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training


def run_progress(trainer: L.Trainer, model: L.LightningModule) -> tuple[float, bool]:
    """The share of all training batches that is done, in (0, 1], and whether this validation is the last."""
    if trainer.max_epochs in (None, -1) and trainer.max_steps < 0:
        return 1.0, False  # a run without an end holds nothing back for it
    total = planned_batches(trainer, getattr(model, "steps_per_batch", 1 / trainer.accumulate_grad_batches))
    done = int(trainer.fit_loop.epoch_loop.total_batch_idx) + 1
    epochs = trainer.check_val_every_n_epoch
    between = trainer.val_check_batch if epochs in (None, 1) else epochs * trainer.num_training_batches
    return min(1.0, done / total), done + between > total


def _standard() -> list[Measure]:
    return [KernelMMD(), PaperMMD(), Diversity(), Memorisation(), ClassifierBenchmark()]
