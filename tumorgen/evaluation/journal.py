"""Where the figures of an evaluation during training go: curves, tables with their definitions, and a result file."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import wandb
from lightning.pytorch.loggers import WandbLogger

from tumorgen.evaluation.real_cases import Samples
from tumorgen.evaluation.samples import seeds_of
from tumorgen.methods.generator import Generator
from tumorgen.results.records import Record, write_results
from tumorgen.results.sheets import centre, planes

TABLE = "tables/evaluation"
SAMPLES = "tables/samples"
COLUMNS = ["epoch", "figure", "class", "value", "low", "high", "floor", "p", "better", "real", "generated", "record"]
"""And last, the definition of the figure, as JSON."""


class EvaluationLog:
    """Writes records of samples.

    Attributes:
        rows: Of the table on the dashboard, all evaluations so far.
    """

    def __init__(self) -> None:
        self.rows: list[list[Any]] = []

    def write(self, trainer: L.Trainer, model: Generator, records: Sequence[Record], samples: Samples) -> None:
        """Logs curves, tables and `evaluations/epoch_0020.json` of the run's folder.

        Curves are called `evaluation/<metric>_<class>`, without a class where all are pooled; the real-versus-real floor of
        each is `evaluation/floor/<metric>_<class>`.
        """
        epoch = trainer.current_epoch + 1
        figures = {}
        for record in records:
            figures[f"evaluation/{curve(record)}"] = record.value
            if record.floor is not None:
                figures[f"evaluation/floor/{curve(record)}"] = record.floor.value
        model.log_dict(figures, rank_zero_only=True)
        path = Path(trainer.default_root_dir) / "evaluations" / f"epoch_{epoch:04d}.json"
        write_results(path, "evaluation", records, run=trainer.default_root_dir, epoch=epoch)
        self.rows += [_row(epoch, record) for record in records]
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_table(TABLE, columns=[*COLUMNS, "definition"], data=self.rows)
                logger.log_table(
                    SAMPLES, columns=["epoch", "class", "seed", "picture"], data=_pictures(epoch, model, samples)
                )


def curve(record: Record) -> str:
    """The name of a record's curve."""
    name = record.group["class"]
    return record.metric if name == "pooled" else f"{record.metric}_{name}"


def _row(epoch: int, record: Record) -> list[Any]:
    interval, floor = record.interval, record.floor
    return [
        epoch,
        record.metric,
        record.group["class"],
        record.value,
        None if interval is None else interval.low,
        None if interval is None else interval.high,
        None if floor is None else floor.value,
        record.p_value,
        record.definition.get("better"),
        record.counts.get("real"),
        record.counts.get("generated"),
        record.id,
        json.dumps(dict(record.definition), sort_keys=True),
    ]


def _pictures(epoch: int, model: Generator, samples: Samples) -> list[list[Any]]:
    """One row per sampled volume: what to give to `predict` for the same one, and a slice through it."""
    rows = []
    for label, (name, volumes) in enumerate(zip(model.class_names, samples.volumes, strict=True)):
        seeds = seeds_of(label, len(model.class_names), len(volumes))
        for seed, volume in zip(seeds, volumes[:, 0].numpy(), strict=True):
            grey = np.clip(127.5 * (planes(volume, centre(volume))[0] + 1), 0, 255).astype(np.uint8)
            rows.append([epoch, name, seed, wandb.Image(grey)])
    return rows
