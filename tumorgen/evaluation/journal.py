"""Where the records of an evaluation during training go: curves, tables with their definitions, and a result file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import wandb
from jaxtyping import Float
from lightning.pytorch.loggers import WandbLogger

from tumorgen.metrics.metric import Volumes
from tumorgen.results.layouts import curve
from tumorgen.results.records import Record, write_results
from tumorgen.results.sheets import centre, planes

CURVES = "evaluation"
TABLE = "tables/evaluation"
SAMPLES = "tables/samples"
COLUMNS = ["epoch", "metric", "class", "value", "low", "high", "floor", "p", "better", "real", "generated", "record"]
"""And last, the definition of the metric, as JSON."""


class EvaluationLog:
    """Writes records of samples.

    Attributes:
        rows: Of the table on the dashboard, all evaluations so far.
    """

    def __init__(self) -> None:
        self.rows: list[list[Any]] = []

    def write(
        self, trainer: L.Trainer, records: Sequence[Record], generated: Volumes, seeds: Sequence[int]
    ) -> dict[str, float]:
        """Logs tables and writes `evaluations/epoch_0020.json` of the run's folder.

        Args:
            trainer: Has the loggers and the run's folder.
            records: Of this evaluation.
            generated: The volumes sampled for it.
            seeds: What to give to `predict` for the same ones.

        Returns:
            Values of curves by name: `evaluation/NAME` (see `curve`), and the floor of each, `evaluation/floor/NAME`.
        """
        epoch = trainer.current_epoch + 1
        path = Path(trainer.default_root_dir) / "evaluations" / f"epoch_{epoch:04d}.json"
        write_results(path, "evaluation", records, run=trainer.default_root_dir, epoch=epoch)
        self.rows += [_row(epoch, record) for record in records]
        pictures = [
            [epoch, generated.name(i).partition(",")[0], seed, _slice(generated[i][0].numpy())]
            for i, seed in enumerate(seeds)
        ]
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_table(TABLE, columns=[*COLUMNS, "definition"], data=self.rows)
                logger.log_table(SAMPLES, columns=["epoch", "class", "seed", "picture"], data=pictures)
        floors = {f"{CURVES}/floor/{curve(record)}": record.floor.value for record in records if record.floor}
        return {f"{CURVES}/{curve(record)}": record.value for record in records} | floors


def log_values(trainer: L.Trainer, values: Mapping[str, float]) -> None:
    """Sends values to all loggers; a module cannot log where a validation has ended."""
    for logger in trainer.loggers:
        logger.log_metrics({**values, "epoch": trainer.current_epoch}, trainer.global_step)
        logger.save()


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


def _slice(volume: Float[np.ndarray, "D H W"]) -> wandb.Image:
    return wandb.Image(np.clip(127.5 * (planes(volume, centre(volume))[0] + 1), 0, 255).astype(np.uint8))
