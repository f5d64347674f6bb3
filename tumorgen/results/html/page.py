"""The report's page: everything that was found, in one HTML file that needs no server and no network."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import jinja2

from data_modules.files import atomic_path
from data_modules.volumes.folder import VolumeFolder
from tumorgen import __version__
from tumorgen.methods.system import System
from tumorgen.results.html.charts import line_chart
from tumorgen.results.html.panels import Downstream, Evaluated, downstream, evaluated
from tumorgen.results.html.pictures import embedded, strip
from tumorgen.results.html.sources import Sources
from tumorgen.results.html.summary import Answer, answers
from tumorgen.results.html.training import RunResult
from tumorgen.results.html.viewer import Bundle, Scene, scenes
from tumorgen.results.records import Record
from tumorgen.results.tables import Table

IN_A_STRIP = 8
OPEN_PANELS = 6


@dataclass(frozen=True)
class Sheet:
    """Slices of some volumes of a folder, class by class.

    Attributes:
        folder: Its name.
        kind: `real` or `generated`, as its manifest says; empty without a manifest.
        method: What made the volumes; empty where nobody says.
        rows: Class, how many are shown, how many there are, picture as a `data:` URL.
        size: Edge length in voxels.
        spacing: Edge length of a voxel in mm.
    """

    folder: str
    kind: str
    method: str
    rows: Sequence[tuple[str, int, int, str]]
    size: int
    spacing: float


@dataclass(frozen=True)
class RunPart:
    """A run in the page: its tables, charts (title, SVG, legend) and pictures (name, file name, `data:` URL)."""

    run: RunResult
    tables: Sequence[Table]
    charts: Sequence[tuple[str, str, Sequence[str]]]
    pictures: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class Report:
    """Everything that the page shows.

    Attributes:
        answers: To the questions at its head.
        sheets: Slices of every folder of volumes.
        scenes: Volumes in the viewer.
        evaluations: One for each real data set that was compared with.
        benchmarks: One for each benchmark.
        trainings: One for each run.
        provenance: JSON texts by title.
        records: Every record a value of the page comes from, by id.
        of_phantoms: Whether phantoms had a part in it.
        mixed: Whether something else had, too.
        shows_real: Whether there are pictures of the real cohort, as far as nothing says that they are of phantoms.
    """

    answers: Sequence[Answer]
    sheets: Sequence[Sheet]
    scenes: Sequence[Scene]
    evaluations: Sequence[Evaluated]
    benchmarks: Sequence[Downstream]
    trainings: Sequence[RunPart]
    provenance: Mapping[str, str]
    records: Mapping[str, Record]
    of_phantoms: bool
    mixed: bool
    shows_real: bool

    @property
    def tables(self) -> list[Table]:
        """All tables, as they follow in the page."""
        compared = [[*part.tables, *part.memorisation] for part in self.evaluations]
        benchmarks = [part.tables for part in self.benchmarks]
        return [*chain(*compared, *benchmarks, *(part.tables for part in self.trainings))]


def build(sources: Sources, with_viewer: bool = True) -> Report:
    """Reads pictures and volumes, and derives tables, charts and answers from records.

    Raises:
        InputError: A picture or a volume that a result names cannot be read.
    """
    compared = evaluated(sources.evaluations)
    benchmarks = [downstream(results) for results in sources.benchmarks]
    trainings = [_training(run) for run in sources.runs]
    records = [record for part in compared for record in part.records]
    records += [record for part in benchmarks for record in part.records]
    records += [record for run in sources.runs for record in run.all_records()]
    labels = {record.id: part.label(record) for part in compared for record in part.records}
    return Report(
        answers=answers(
            [record for part in compared for record in part.records],
            [record for part in benchmarks for record in part.records],
            lambda record: labels[record.id],
        ),
        sheets=[_sheet(name, folder) for name, folder in sources.volumes.items()],
        scenes=scenes(sources.volumes) if with_viewer else [],
        evaluations=compared,
        benchmarks=benchmarks,
        trainings=trainings,
        provenance=_provenance(sources),
        records={record.id: record for record in records},
        of_phantoms=sources.of_phantoms,
        mixed=sources.mixed,
        shows_real=sources.shows_real,
    )


def write_page(path: Path, report: Report, bundle: Bundle | None, title: str) -> None:
    """Writes the page, atomically.

    Args:
        path: The HTML file.
        report: What it shows.
        bundle: The viewer; None leaves it out.
        title: Heading.
    """
    loader = jinja2.FileSystemLoader(Path(__file__).parent / "template")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    text = environment.get_template("report.html").render(
        report=report,
        bundle=bundle if report.scenes else None,
        title=title,
        version=__version__,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        records=_script_json({key: record.to_json() for key, record in report.records.items()}),
        volumes=_script_json([vars(scene) for scene in report.scenes]) if bundle else "[]",
        open_panels=OPEN_PANELS,
    )
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _sheet(name: str, folder: VolumeFolder) -> Sheet:
    """The first volumes of every class: nobody picked them."""
    stated = folder.manifest or {}
    system = System.of_manifest(stated)
    rows = []
    for label, class_name in enumerate(folder.class_names):
        own = folder.indices(label)
        if len(own):
            shown = own[:IN_A_STRIP]
            rows.append((class_name, len(shown), len(own), strip([folder.volume(int(index)) for index in shown])))
    made_by = system.title or system.name or str(stated.get("method", ""))
    return Sheet(name, folder.kind, made_by, rows, folder.roi_size, folder.spacing)


def _training(run: RunResult) -> RunPart:
    charts = []
    for panel in run.panels():
        series = {label: run.curves[name] for label, name in panel.names.items()}
        charts.append((panel.title, line_chart(series, f"{run.name}: {panel.title}"), list(series)))
    pictures = [(name, path.name, embedded(path)) for name, path in run.pictures.items()]
    return RunPart(run, run.tables(), charts, pictures)


def _provenance(sources: Sources) -> dict[str, str]:
    """Where everything comes from: inputs of results, manifests without their lists, configurations of runs."""
    told: dict[str, str] = {}
    for results in (*sources.evaluations, *sources.benchmarks):
        own = {key: value for key, value in results.extra.items() if key != "references"}
        told[f"{results.kind}: {results.path}"] = _pretty(own)
    for name, folder in sources.volumes.items():
        if folder.manifest:
            stated = {key: value for key, value in folder.manifest.items() if key != "volumes"}
            told[f"volumes: {name}"] = _pretty(_shortened({**stated, "volumes": len(folder)}))
    return told | {f"run: {run.name}": run.config_text for run in sources.runs}


def _shortened(value: Any) -> Any:
    """The same without long lists, such as the hashes of patients: their number stands for them."""
    if isinstance(value, dict):
        return {key: _shortened(part) for key, part in value.items()}
    return f"{len(value)} entries" if isinstance(value, list) and len(value) > 8 else value


def _pretty(content: Any) -> str:
    return json.dumps(_shortened(content), indent=2, ensure_ascii=False)


def _script_json(content: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(content, ensure_ascii=False).replace("<", "\\u003c")
