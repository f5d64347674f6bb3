"""What a reader of the dashboard sees, in which order: everything that runs of a project have logged."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_modules.errors import InputError
from tumorgen.results.html.training import EVALUATION, RunResult, is_run, read_run
from tumorgen.runs.loggers import EPOCH, PER_STEP, STEP

TABLES = {"tables/samples": "Sampled volumes", "tables/evaluation": "All values with their definitions"}
"""Tables that an evaluation during training logs."""


@dataclass(frozen=True)
class Curves:
    """Values over time in one panel.

    Attributes:
        title: What is seen.
        metrics: Names as logged.
        x: `EPOCH` or `STEP`.
        better: `lower`, `higher`, or empty where nobody says.
    """

    title: str
    metrics: tuple[str, ...]
    x: str = EPOCH
    better: str = ""


@dataclass(frozen=True)
class Pictures:
    """Picture sheets to leaf through, one per evaluation or validation."""

    title: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class RunTable:
    """A table that runs log."""

    title: str
    key: str


Panel = Curves | Pictures | RunTable


@dataclass(frozen=True)
class Section:
    """A group of panels.

    Attributes:
        name: Heading.
        text: How to read it; for the report.
        panels: In reading order.
        method: Class of the model whose runs log these panels.
    """

    name: str
    text: str
    panels: tuple[Panel, ...]
    method: str


_PICTURES = (
    "Sheets of samples: real validation cases above, samples of the same class below; the seeds stay the same, so a sheet shows "
    "how the same volumes develop. `tumorgen predict` with a seed of the table and the checkpoint writes that volume."
)
_QUALITY = (
    "Each value beside its floor: the same metric between real volumes, which no generator can be expected to beat. Numbers of "
    "volumes are small during training and belong to the meaning of a value; the definitions are in the table."
)
_CURVES = "What was logged while training (over steps) and validating (over epochs)."


def find_runs(folder: Path) -> list[RunResult]:
    """All runs in a folder and below it.

    Raises:
        InputError: There is none, or one is damaged.
    """
    found = [path.parent for path in sorted(folder.rglob("config.yaml")) if is_run(path.parent)]
    if not found:
        raise InputError(
            f"--runs_dir: {folder} holds no run of `tumorgen fit`; the dashboard shows what runs have logged. Train first, or "
            "name the folder of your runs"
        )
    return [read_run(path) for path in found]


def sections(runs: Iterable[RunResult]) -> list[Section]:
    """Pictures, quality of samples, and curves of every method that has runs."""
    methods: dict[str, list[RunResult]] = {}
    for run in runs:
        methods.setdefault(run.system, []).append(run)
    return [section for method, own in methods.items() for section in _of_method(method, own) if section.panels]


def logged_names(parts: Iterable[Section], method: str | None = None) -> set[str]:
    """Names of all curves, pictures and tables in these sections.

    Args:
        parts: Sections.
        method: Only of sections that this class of model logs.
    """
    return {
        name
        for section in parts
        if method in (None, section.method)
        for panel in section.panels
        for name in names_of(panel)
    }


def names_of(panel: Panel) -> tuple[str, ...]:
    """What a panel shows."""
    if isinstance(panel, Curves):
        return panel.metrics
    return panel.keys if isinstance(panel, Pictures) else (panel.key,)


def _of_method(method: str, runs: Sequence[RunResult]) -> list[Section]:
    pictures = dict.fromkeys(name for run in runs for name in run.pictures)
    panels: dict[str, tuple[dict[str, None], str]] = {}
    for run in runs:
        for panel in run.panels():
            names, _ = panels.setdefault(panel.title, ({}, panel.better))
            names.update(dict.fromkeys(panel.names.values()))
    curves = [
        Curves(title, own, STEP if all(name.startswith(PER_STEP) for name in own) else EPOCH, better)
        for title, (names, better) in panels.items()
        if (own := tuple(names))
    ]
    quality = [panel for panel in curves if panel.metrics[0].startswith(EVALUATION)]
    tables = [RunTable(title, key) for key, title in TABLES.items()] if any(run.evaluations for run in runs) else []
    sheets = [Pictures(name.replace("_", " "), (f"pictures/{name}",)) for name in pictures]
    return [
        Section(f"{method}: pictures", _PICTURES, (*sheets, *tables[:1]), method),
        Section(f"{method}: quality of samples", _QUALITY, (*quality, *tables[1:]), method),
        Section(f"{method}: curves", _CURVES, tuple(panel for panel in curves if panel not in quality), method),
    ]
