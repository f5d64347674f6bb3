"""Prepares a whole cohort: builds what is missing or changed, reports all unusable cases at once, keeps the manifest."""

import json
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from data_modules.cohort.discover import Case, Cohort, Problem, unusable
from data_modules.errors import InputError
from data_modules.files import write_json
from data_modules.roi.cache import FORMAT, RoiRecord, RoiStore

# Labels 3 and 4 together: in BraTS 2024 label 4 is the resection cavity, in BraTS 2015 the enhancing tumour.
_CAVITY_LABELS = {3, 4}


@dataclass(frozen=True)
class ManifestEntry:
    """A prepared case: who and what it is, and its region of interest."""

    case: str
    patient: str
    class_name: str
    label: int
    roi: RoiRecord

    def to_json(self) -> dict[str, Any]:
        """The entry as one flat JSON object."""
        identity = {"case": self.case, "class": self.class_name, "label": self.label, "patient": self.patient}
        return {**identity, **self.roi.to_json()}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "ManifestEntry":
        """The inverse of `to_json`."""
        return cls(
            content["case"], content["patient"], content["class"], content["label"], RoiRecord.from_json(content)
        )


@dataclass(frozen=True)
class Manifest:
    """All prepared cases of a cohort, sorted by identifier; a class's position in the names is its label."""

    class_names: tuple[str, ...]
    entries: tuple[ManifestEntry, ...]

    def write(self, path: Path, store: RoiStore) -> None:
        """Writes the manifest as JSON, with the settings the regions were made with."""
        content = {
            "format": FORMAT,
            "root": str(store.root),
            "settings": asdict(store.settings),
            "classes": list(self.class_names),
            "cases": [entry.to_json() for entry in self.entries],
        }
        write_json(path, content)

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """Reads a manifest.

        Raises:
            InputError: if it is missing or damaged.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            entries = tuple(ManifestEntry.from_json(entry) for entry in content["cases"])
            return cls(tuple(content["classes"]), entries)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}: no usable manifest of prepared cases ({error}); run `tumorgen prepare` first"
            ) from error

    def counts(self) -> dict[str, int]:
        """Cases per class."""
        return {name: sum(entry.class_name == name for entry in self.entries) for name in self.class_names}


def prepare(cohort: Cohort, store: RoiStore, *, skip_unusable: bool, workers: int, console: Console) -> Manifest:
    """Makes sure that every case of a cohort has a current region of interest.

    Work is spread over threads: inflating, hashing and array arithmetic run outside Python's lock, and threads start at
    once and safely wherever this is called from.

    Args:
        cohort: The cases.
        store: Where the regions go.
        skip_unusable: Leave unusable cases out instead of stopping.
        workers: Cases worked on at the same time.
        console: Where progress and notes are shown.

    Raises:
        InputError: with all unusable cases, unless told to skip them, or if no case is left.
    """
    records = {case.case: store.current(case) for case in cohort.cases}
    missing = [case for case in cohort.cases if records[case.case] is None]
    problems = list(cohort.problems)
    for case, outcome in _build_all(missing, store, workers, console):
        if isinstance(outcome, Problem):
            problems.append(outcome)
        else:
            records[case.case] = outcome
    total = len(cohort.cases) + len(cohort.problems)
    usable = [(case, record) for case in cohort.cases if (record := records[case.case]) is not None]
    if problems and (not skip_unusable or not usable):
        raise unusable(sorted(problems, key=lambda problem: str(problem.path)), total, skippable=bool(usable))
    for note in [*cohort.notes, *(f"left out {problem.path}: {problem.reason}" for problem in problems)]:
        console.print(note, style="yellow", markup=False, soft_wrap=True)
    if cavities := sum(record.label_voxels.keys() >= _CAVITY_LABELS for _, record in usable):
        console.print(
            f"{cavities} cases hold both labels 3 and 4. In BraTS 2024, 4 is the resection cavity; it counts as tumour here.",
            style="yellow",
        )
    entries = (ManifestEntry(case.case, case.patient, case.class_name, case.label, record) for case, record in usable)
    return Manifest(cohort.class_names, tuple(entries))


def _build_all(
    cases: list[Case], store: RoiStore, workers: int, console: Console
) -> list[tuple[Case, RoiRecord | Problem]]:
    """Builds cases in parallel and shows how far it is."""
    if not cases:
        return []
    columns = (
        TextColumn("Preparing regions of interest"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    outcomes = []
    with Progress(*columns, console=console) as progress, ThreadPoolExecutor(workers) as pool:
        task = progress.add_task("", total=len(cases))
        futures = {pool.submit(_build, case, store): case for case in cases}
        try:
            for future in as_completed(futures):
                outcomes.append((futures[future], future.result()))
                progress.advance(task)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return outcomes


def _build(case: Case, store: RoiStore) -> RoiRecord | Problem:
    # another process may have prepared it since this one looked
    if (record := store.current(case)) is not None:
        return record
    try:
        return store.build(case)
    except InputError as error:
        reason = str(error)
        for path in (case.mask, case.scan):
            if reason.startswith(f"{path}: "):
                return Problem(path, reason.removeprefix(f"{path}: "))
        return Problem(case.scan, reason)
