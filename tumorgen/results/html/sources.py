"""What `tumorgen report` is given, recognised by content: evaluations, benchmarks, runs and folders of volumes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_modules.errors import InputError
from data_modules.volumes.folder import VolumeFolder
from data_modules.volumes.layout import read_manifest
from tumorgen.results.html.training import RunResult, is_run, read_run
from tumorgen.results.records import Results, read_results

RESULT_FILES = ("evaluation.json", "benchmark.json")
DEPTH = 4
LEFT_OUT = ("wandb", "checkpoints", "csv", "pictures", "cohort")


@dataclass
class Sources:
    """Everything a report is made from.

    Attributes:
        evaluations: Of `tumorgen evaluate`.
        benchmarks: Of `tumorgen benchmark`.
        runs: Of `tumorgen fit`.
        volumes: Folders of regions of interest by name; the names tell them apart.
    """

    evaluations: list[Results] = field(default_factory=list)
    benchmarks: list[Results] = field(default_factory=list)
    runs: list[RunResult] = field(default_factory=list)
    volumes: dict[str, VolumeFolder] = field(default_factory=dict)

    @property
    def of_phantoms(self) -> bool:
        """Whether anything in here was trained on, or compared with, phantoms."""
        return any(self._phantom)

    @property
    def mixed(self) -> bool:
        """Whether there are phantoms and something that does not say that it is of phantoms."""
        return self.of_phantoms and not all(self._phantom)

    @property
    def shows_real(self) -> bool:
        """Whether pictures of the real cohort are shown: any that are not said to be of phantoms may be of patients."""
        folders = (folder.kind == "real" and not folder.phantom for folder in self.volumes.values())
        runs = (bool(run.pictures) and not run.of_phantoms for run in self.runs)
        return not all(map(_evaluates_phantoms, self.evaluations)) or any(folders) or any(runs)

    @property
    def _phantom(self) -> list[bool]:
        """Of every source: whether it says that it is of phantoms. What cannot be told may be patients."""
        evaluations = map(_evaluates_phantoms, self.evaluations)
        benchmarks = (bool(results.extra.get("phantom")) for results in self.benchmarks)
        folders = (folder.phantom for folder in self.volumes.values())
        return [*evaluations, *benchmarks, *folders, *(run.of_phantoms for run in self.runs)]


def _evaluates_phantoms(results: Results) -> bool:
    """Whether an evaluation says of all its real volumes that they are phantoms."""
    inputs = results.extra.get("inputs") or {}
    return all(inputs.get(key, {}).get("phantom", False) for key in ("real", *({"training"} & inputs.keys())))


def find_sources(paths: Iterable[Path]) -> Sources:
    """Reads all results in and below `paths`; a folder that is a result itself is not searched further.

    Folders of volumes that an evaluation compared are taken along when they are still where it found them.

    Raises:
        InputError: A path is not there or holds no result, or a result is damaged.
    """
    sources = Sources()
    seen: set[Path] = set()
    for path in paths:
        if not path.exists():
            raise InputError(
                f"{path}: is not there. Give folders that tumorgen evaluate, benchmark, fit or predict wrote"
            )
        found = list(_results(path, DEPTH))
        if not found:
            raise InputError(
                f"{path}: holds no results; expected {' or '.join(RESULT_FILES)}, a run (config.yaml with csv or pictures) or "
                "a folder of volumes (manifest.json), here or in folders below"
            )
        for part in found:
            if part.resolve() not in seen:
                seen.add(part.resolve())
                _add(sources, part)
    for results in sources.evaluations:
        for folder in _compared(results.extra):
            if folder.is_dir() and folder.resolve() not in seen:
                seen.add(folder.resolve())
                _add_volumes(sources, folder)
    return sources


def _results(path: Path, depth: int) -> Iterator[Path]:
    """Result files, run folders and folders of volumes in `path`, or where it is none of these, below it."""
    if path.is_file():
        yield path
        return
    own = [path / name for name in RESULT_FILES if (path / name).is_file()]
    if is_run(path) or _holds_volumes(path):
        own.append(path)
    if own or depth == 0:
        yield from own
        return
    for child in sorted(path.iterdir()):
        if child.is_dir() and not child.name.startswith(".") and child.name not in LEFT_OUT:
            yield from _results(child, depth - 1)


def _holds_volumes(path: Path) -> bool:
    try:
        return read_manifest(path) is not None
    except InputError:
        return False


def _add(sources: Sources, path: Path) -> None:
    if path.is_file():
        results = read_results(path)
        kinds = {"evaluation": sources.evaluations, "benchmark": sources.benchmarks}
        if results.kind not in kinds:
            raise InputError(f"{path}: results of kind '{results.kind}', expected one of {', '.join(kinds)}")
        kinds[results.kind].append(results)
        return
    if is_run(path):
        sources.runs.append(read_run(path))
    if _holds_volumes(path):
        _add_volumes(sources, path)


def _add_volumes(sources: Sources, folder: Path) -> None:
    try:
        volumes = VolumeFolder(folder)
    except InputError as error:
        if read_manifest(folder) is None:
            return  # compared under options of that evaluation, which is shown without these pictures
        raise error
    name = folder.resolve().name
    if name in sources.volumes:
        name = f"{folder.resolve().parent.name}/{name}"
    sources.volumes[name if name not in sources.volumes else str(folder)] = volumes


def _compared(extra: Any) -> Iterator[Path]:
    """Folders that an evaluation's `inputs` name, however deep they stand."""
    if isinstance(extra, dict):
        for key, value in extra.items():
            if key == "folder" and isinstance(value, str):
                yield Path(value)
            else:
                yield from _compared(value)
