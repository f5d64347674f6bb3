"""A benchmark in its folder: what is trained, what has been, and what is left."""

import logging
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from data_modules.errors import InputError
from tumorgen.benchmark.arms import Arm
from tumorgen.benchmark.data import Fold
from tumorgen.benchmark.plan import Training, selected
from tumorgen.benchmark.results import TrainingResult, read_result, result_path
from tumorgen.benchmark.training import ArmTrainer


class Session:
    """One benchmark.

    Args:
        output: Its folder.
        arms: Its arms.
        trainings: Its plan.
        folds: Every fold of the plan.
        trainer: Trains one of them.
    """

    def __init__(
        self,
        output: Path,
        arms: Sequence[Arm],
        trainings: Sequence[Training],
        folds: Mapping[int, Fold],
        trainer: ArmTrainer,
    ) -> None:
        self.output, self.arms, self.trainings = output, tuple(arms), tuple(trainings)
        self.folds, self.trainer = dict(folds), trainer

    def train(self, only: str | None = None, overwrite: bool = False) -> None:
        """Trains what is missing.

        Args:
            only: Part of the plan, see `plan.selected`.
            overwrite: Train again what was trained with other settings, instead of refusing to go on.

        Raises:
            InputError: An earlier result is of other settings, or damaged; nothing has been trained then.
        """
        chosen = selected(self.trainings, only)
        waiting = [training for training in chosen if self._result(training, replace=overwrite) is None]
        for number, training in enumerate(waiting, start=1):
            if self._result(training, replace=overwrite) is not None:  # another process has done it meanwhile
                continue
            with _quiet():
                result = self.trainer.train(training, self.folds[training.fold])
            result.write(result_path(self.output, training.name))
            auc = "undefined" if result.validation_auc is None else f"{result.validation_auc:.3f}"
            print(
                f"[{number}/{len(waiting)}] {training.name}: validation AUC {auc}, {result.seconds:.1f} s",
                file=sys.stderr,
                flush=True,
            )

    def missing(self) -> list[str]:
        """Names of trainings without a result."""
        return [training.name for training in self.trainings if not result_path(self.output, training.name).is_file()]

    def results(self) -> list[TrainingResult]:
        """All results, in the order of the plan.

        Raises:
            InputError: One is damaged or of other settings.
        """
        found = (self._result(training) for training in self.trainings)
        return [result for result in found if result is not None]

    def _result(self, training: Training, replace: bool = False) -> TrainingResult | None:
        settings = self.trainer.settings(training, self.folds[training.fold])
        try:
            return read_result(result_path(self.output, training.name), settings)
        except InputError:
            if replace:
                return None
            raise


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's remarks on small data sets and on hardware, once per training."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning.*")
        try:
            yield
        finally:
            logger.setLevel(level)
