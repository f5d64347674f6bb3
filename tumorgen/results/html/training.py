"""Runs in the report: values of validation as records, evaluations of samples, curves, and the newest pictures."""

import csv
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from data_modules.errors import InputError
from data_modules.phantom import PhantomDataModule
from data_modules.phantoms.cohort import SETTINGS_FILE
from tumorgen.results.layouts import curve, evaluation_tables, name_of
from tumorgen.results.records import POOLED, Record, Results, read_results
from tumorgen.results.tables import Cell, Table, value_cell

Curve = list[tuple[float, float]]
EVALUATION = "evaluation"
LEADING = (
    "total",
    "loss",
    "pixel",
    "l1",
    "psnr",
    "dice",
    "importance_auc",
    "codebook_perplexity",
    "auc",
)
SUMMARIES = {"last": lambda curve: curve[-1], "lowest": lambda curve: min(curve, key=lambda point: point[1])}
SUMMARIES["highest"] = lambda curve: max(curve, key=lambda point: point[1])


@dataclass(frozen=True)
class Panel:
    """Curves that belong into one chart.

    Attributes:
        title: What is seen.
        names: As logged, by what to call the curve.
        better: `lower`, `higher`, or empty where nobody says.
    """

    title: str
    names: dict[str, str]
    better: str = ""


@dataclass(frozen=True)
class RunResult:
    """What a run left behind.

    Attributes:
        folder: `runs/<experiment>/<id>`.
        config_text: `config.yaml` as written.
        config: The same, read.
        curves: By metric: optimizer step and value of every time it was logged.
        pictures: By name, the newest of each.
        evaluations: Of samples while it trained, in order.
    """

    folder: Path
    config_text: str
    config: dict[str, Any]
    curves: dict[str, Curve]
    pictures: dict[str, Path]
    evaluations: tuple[Results, ...] = ()

    @property
    def name(self) -> str:
        """Experiment and id."""
        folder = self.folder.resolve()
        return f"{folder.parent.name}/{folder.name}"

    @property
    def system(self) -> str:
        """Name of what was trained; empty where the configuration does not say it."""
        return str((self.config.get("system") or {}).get("name") or "")

    @property
    def of_phantoms(self) -> bool:
        """Whether the data are phantoms, as far as the configuration and the cohort's folder tell."""
        section = self.config.get("data") or {}
        options = section.get("init_args") or {}
        section, options = (
            (options["real"], options["real"].get("init_args") or {}) if "real" in options else (section, options)
        )
        drawn = str(section.get("class_path", "")).rpartition(".")[2] == PhantomDataModule.__name__
        return drawn or bool(options.get("root") and (Path(options["root"]) / SETTINGS_FILE).is_file())

    def records(self) -> dict[str, dict[str, Record]]:
        """Last, lowest and highest value of every metric of validation and test, as records, by metric."""
        return {
            metric: {name: self._record(metric, name, *choose(curve)) for name, choose in SUMMARIES.items()}
            for metric, curve in self.curves.items()
            if metric.startswith(("val/", "test/"))
        }

    def _record(self, metric: str, summary: str, step: float, value: float) -> Record:
        return Record(
            metric=metric,
            value=value,
            definition={"source": "csv/metrics.csv of the run", "summary": f"{summary} value logged"},
            group={"run": self.name},
            counts={"step": int(step), "logged": len(self.curves[metric])},
        )

    def all_records(self) -> list[Record]:
        """Every record that the page shows something of."""
        latest = self.evaluations[-1].records if self.evaluations else ()
        return [*(record for own in self.records().values() for record in own.values()), *latest]

    def tables(self) -> list[Table]:
        """Values of validation, a row each; and the latest evaluation of samples, per class."""
        rows: list[list[Cell | str]] = [
            [
                metric,
                *(value_cell(own[name]) for name in SUMMARIES),
                Cell(str(own["last"].counts["step"]), own["last"].id),
            ]
            for metric, own in sorted(self.records().items())
        ]
        notes = [
            "Single values of one run: without interval, and chosen among the values logged where lowest or highest."
        ]
        columns = ["metric", *SUMMARIES, "last step"]
        tables = [Table(f"Run {self.name}: validation", columns, rows, notes)] if rows else []
        for results in self.evaluations[-1:]:
            tables += [
                replace(table, title=f"Run {self.name}, epoch {results.extra['epoch']}: {table.title}")
                for table in evaluation_tables(results.records)
            ]
        return tables

    def panels(self) -> list[Panel]:
        """Curves that belong into one chart: training, validation and parts (class, tumour) of a metric; leading ones first."""
        measured = {curve(record): record for results in self.evaluations for record in results.records}
        panels: dict[str, Panel] = {}
        for metric in self.curves:
            stage, _, name = metric.rpartition("/")
            record = measured.get(name) if stage.startswith(EVALUATION) else None
            if record is None:
                base, part = _split(metric, self.curves)
                title, better = base.rpartition("/")[2], ""
                series = " ".join(filter(None, (stage, part)))
            else:
                title, better = name_of(record), str(record.definition["better"])
                group = "" if record.group["class"] == POOLED else record.group["class"]
                series = " ".join(filter(None, (group or POOLED, stage.removeprefix(EVALUATION).lstrip("/"))))
            panels.setdefault(title, Panel(title, {}, better)).names[series] = metric
        rank = {name: index for index, name in enumerate(LEADING)}
        order = {name_of(record): index for index, record in enumerate(measured.values())}
        return sorted(
            panels.values(),
            key=lambda panel: (rank.get(panel.title, len(rank)), order.get(panel.title, len(order)), panel.title),
        )


def is_run(folder: Path) -> bool:
    """Whether a folder is what `tumorgen fit` leaves behind: a configuration with curves or pictures."""
    return (folder / "config.yaml").is_file() and (
        (folder / "csv" / "metrics.csv").is_file() or any((folder / "pictures").glob("*.png"))
    )


def read_run(folder: Path) -> RunResult:
    """Reads configuration, curves, evaluations and names of pictures.

    Raises:
        InputError: A file is damaged.
    """
    text = (folder / "config.yaml").read_text(encoding="utf-8")
    try:
        config = yaml.safe_load(text)
        if not isinstance(config, dict):
            raise ValueError("no sections")
        curves = _curves(folder / "csv" / "metrics.csv")
    except (yaml.YAMLError, ValueError, KeyError, csv.Error) as error:
        raise InputError(
            f"{folder}: config.yaml or csv/metrics.csv is damaged ({error}); leave this run out"
        ) from error
    pictures: dict[str, Path] = {}
    for path in sorted((folder / "pictures").glob("*.png")):
        pictures[re.sub(r"_\d+$", "", path.stem)] = path
    evaluations = tuple(read_results(path) for path in sorted((folder / "evaluations").glob("epoch_*.json")))
    return RunResult(folder, text, config, curves, pictures, evaluations)


def _curves(path: Path) -> dict[str, Curve]:
    """Columns with a stage in their name, such as `val/l1`, as (step, value); what is not finite is left out."""
    curves: dict[str, Curve] = {}
    if not path.is_file():
        return curves
    with path.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            for name, text in row.items():
                if text and name and "/" in name and math.isfinite(float(text)):
                    curves.setdefault(name, []).append((float(row["step"]), float(text)))
    return curves


def _split(metric: str, names: dict[str, Curve]) -> tuple[str, str]:
    """`val/l1_HGG` as (`val/l1`, `HGG`) where there is a `val/l1`; others as they are."""
    bases = [name for name in names if metric.startswith(f"{name}_")]
    base = min(bases, key=len, default=metric)
    return base, metric[len(base) + 1 :]
