"""Weights & Biases (offline unless told otherwise) and CSV, side by side in the run's folder."""

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import yaml
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_only

from data_modules.base import ROIDataModule
from data_modules.errors import InputError
from tumorgen.runs.folder import Run

STEP, EPOCH = "trainer/global_step", "epoch"
PER_STEP = ("train/", "learning_rate")
"""Figures drawn over optimizer steps; all others, which come once per validation, over epochs."""

_STAGING = "WANDB_DATA_DIR"


def _told(variable: str, otherwise: Any = None) -> Any:
    """A variable of the environment, where it is set to something."""
    return os.environ.get(variable) or otherwise


def _told_mode() -> Any:
    """Raises InputError: WANDB_MODE is none of Weights & Biases' words."""
    told = _told("WANDB_MODE", "offline")
    modes = {"offline": "offline", "online": "online", "disabled": "disabled", "dryrun": "offline", "run": "online"}
    if told not in modes:
        raise InputError(f"WANDB_MODE: found {told}, expected offline, online or disabled.")
    return modes[told]


def _told_tags() -> list[str]:
    return [tag for tag in _told("WANDB_TAGS", "").split(",") if tag]


@dataclass
class WandbOptions:
    """What Weights & Biases is told; its own variables WANDB_MODE, WANDB_PROJECT, ... count where no option is given.

    Attributes:
        mode: `offline` writes the run to disk and needs no account; `online` also uploads it; `disabled` leaves it out.
        project: Project that holds all experiments.
        entity: User or team; None is the account's default.
        group: Name shared by all stages, folds and seeds of one experiment (WANDB_RUN_GROUP). None takes over the group of the
            run whose checkpoint this one builds on (its tokenizer, the model it samples from or continues), else the
            experiment's name.
        name: Name that is shown; None is the run's id.
        dir: Folder of the record; None is the run's.
        tags: Tags beside those of the system, the data, the fold and the seed.
        artifacts: `predict` also keeps the volumes and their manifest as an artifact; leave the folder in place until an
            offline run is synchronised, it is uploaded from there.
    """

    mode: Literal["offline", "online", "disabled"] = field(default_factory=_told_mode)
    project: str = field(default_factory=partial(_told, "WANDB_PROJECT", "tumorgen"))
    entity: str | None = field(default_factory=partial(_told, "WANDB_ENTITY"))
    group: str | None = field(default_factory=partial(_told, "WANDB_RUN_GROUP"))
    name: str | None = field(default_factory=partial(_told, "WANDB_NAME"))
    dir: Path | None = field(default_factory=partial(_told, "WANDB_DIR"))
    tags: list[str] = field(default_factory=_told_tags)
    artifacts: bool = False


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


class RunRecord(WandbLogger):
    """A record of one run: every figure with its axis and its minimum, maximum and last value.

    It is closed with the job; left open, the next job of the same process would write into it. The pictures of tables are
    staged in the run's folder, so that a folder that was copied elsewhere can still be synchronised.
    """

    def __init__(self, save_dir: Path, **options: Any) -> None:
        super().__init__(save_dir=save_dir, **options)
        self._staging, self._staged_before = save_dir / "wandb", os.environ.get(_STAGING)
        self._defined: set[str] = {STEP, EPOCH}

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Sends figures, pictures and tables; each is described when it first comes.

        By its whole name: Lightning describes `*` first, and wandb takes the first pattern that fits.
        """
        for name in metrics.keys() - self._defined:
            axis = STEP if name.startswith(PER_STEP) else EPOCH
            figure = not isinstance(metrics[name], list) and hasattr(metrics[name], "__float__")
            summary = {"summary": "min,max,last"} if figure else {}
            self.experiment.define_metric(name, step_metric=axis, step_sync=True, **summary)
        self._defined |= metrics.keys()
        os.environ[_STAGING] = self._staged_before or str(self._staging.resolve())
        super().log_metrics(metrics, step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Called by the trainer at the end, also at a bad one."""
        super().finalize(status)
        if self._experiment is not None:
            self._experiment.finish(exit_code=0 if status == "success" else 1)
        if self._staged_before is None:
            os.environ.pop(_STAGING, None)


def run_loggers(run: Run, job: str, options: WandbOptions, tags: Sequence[str] = ()) -> list[Logger]:
    """The loggers of one run.

    Args:
        run: The run; its id becomes the name.
        job: `fit`, `validate`, `test` or `predict`.
        options: Of Weights & Biases; its group is the experiment's name unless it says otherwise.
        tags: What the run is about; the first, the system, names the type of the job.
    """
    folder = "csv" if job == "fit" else f"csv-{job}"
    loggers: list[Logger] = [ContinuedCSVLogger(save_dir=run.folder, name="", version=folder)]
    if options.mode != "disabled":
        identity = f"{run.experiment}-{run.id}" if job == "fit" else f"{run.experiment}-{run.id}-{job}"
        # mode goes in by name: with `offline=True` a resumed run would go online (wandb 0.31)
        loggers.append(
            RunRecord(
                save_dir=options.dir or run.folder,
                project=options.project,
                entity=options.entity,
                group=options.group or run.experiment,
                name=options.name or run.id,
                id=os.environ.get("WANDB_RUN_ID") or identity,  # the agent of a sweep knows its run by it
                job_type=" ".join([job, *tags[:1]]),
                tags=[*tags, *options.tags],
                mode=options.mode,
            )
        )
    return loggers


def run_tags(system: str, data: object, seed: object) -> list[str]:
    """The system, the data's class, the seed and, where the data have folds, the fold."""
    tags = [system, type(data).__name__, f"seed {seed}"]
    return [*tags, f"fold {data.fold}"] if isinstance(data, ROIDataModule) and data.folds > 1 else tags


def group_of(checkpoint: Path | str | None) -> str | None:
    """The group of the run that a checkpoint lies in; None where it was taken out of its run's folder."""
    if checkpoint is None:
        return None
    try:
        config = yaml.safe_load((Path(checkpoint).resolve().parents[1] / "config.yaml").read_text(encoding="utf-8"))
        group = config["wandb"]["group"] or config["experiment"]
    except (OSError, IndexError, KeyError, TypeError, ValueError, yaml.YAMLError):
        return None
    return group if isinstance(group, str) else None
