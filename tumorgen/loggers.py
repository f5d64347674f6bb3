"""Weights & Biases (offline unless told otherwise) and CSV, side by side in the run's folder."""

import csv
from pathlib import Path

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_only

from tumorgen.runs import Run


class _ContinuedWriter(ExperimentWriter):
    """Goes on in the file that is there; Lightning's own writer deletes it."""

    def _check_log_dir_exists(self) -> None:
        if Path(self.metrics_file_path).is_file():
            with open(self.metrics_file_path, newline="") as stream:
                self.metrics_keys = next(csv.reader(stream), [])


class ContinuedCSVLogger(CSVLogger):
    """`metrics.csv` of a run and of everything that resumed it.

    Steps between the last checkpoint and an interruption were taken twice, and stand in the file twice.
    """

    _experiment: ExperimentWriter | None

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:
        """The writer, made when it is first needed."""
        if self._experiment is None:
            self._experiment = _ContinuedWriter(log_dir=self.log_dir)
        return self._experiment


class ClosingWandbLogger(WandbLogger):
    """Closes its record with the job; left open, the next job of the same process would write into it."""

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Called by the trainer at the end, also at a bad one."""
        super().finalize(status)
        if self._experiment is not None:
            self._experiment.finish(exit_code=0 if status == "success" else 1)


def run_loggers(run: Run, job: str, mode: str, project: str, entity: str | None) -> list[Logger]:
    """The loggers of one run.

    Args:
        run: The run; its experiment becomes the group, its id the name.
        job: `fit`, `validate`, `test` or `predict`.
        mode: `offline`, `online` or `disabled`.
        project: Project in Weights & Biases.
        entity: User or team; None is the account's default.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    folder = "csv" if job == "fit" else f"csv-{job}"
    loggers: list[Logger] = [ContinuedCSVLogger(save_dir=run.folder, name="", version=folder)]
    if mode != "disabled":
        # mode goes in by name: with `offline=True` a resumed run would go online (wandb 0.31)
        loggers.append(
            ClosingWandbLogger(
                save_dir=run.folder,
                project=project,
                entity=entity,
                group=run.experiment,
                name=run.id,
                id=f"{run.experiment}-{run.id}" if job == "fit" else f"{run.experiment}-{run.id}-{job}",
                job_type=job,
                mode=mode,
            )
        )
    return loggers
