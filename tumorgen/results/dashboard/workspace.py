"""The layout as a workspace and a report of Weights & Biases, through its package `wandb-workspaces`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from data_modules.errors import InputError
from tumorgen.results.dashboard.layout import Curves, Panel, Pictures, Section, logged_names
from tumorgen.results.html.training import EVALUATION
from tumorgen.results.tables import Table

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2 import Report
    from wandb_workspaces.workspaces import Workspace

_WIDTH, _HEIGHT = 24, 8


@dataclass(frozen=True)
class Place:
    """Where a dashboard belongs.

    Attributes:
        project: Project in Weights & Biases.
        entity: User or team; empty where it is not known yet.
    """

    project: str
    entity: str = ""


def workspace(place: Place, parts: Sequence[Section]) -> "Workspace":
    """The interactive view: all panels, runs grouped by experiment and kind of job.

    Raises:
        InputError: `wandb-workspaces` is not installed.
    """
    _require()
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces import expr

    return ws.Workspace(
        entity=place.entity,
        project=place.project,
        name="tumorgen",
        sections=[
            ws.Section(name=part.name, panels=[_panel(panel) for panel in part.panels], is_open=True) for part in parts
        ],
        runset_settings=ws.RunsetSettings(
            groupby=[expr.Metric("Group"), expr.Metric("JobType")],
            pinned_columns=["run:displayName", "tags:__ALL__", *(f"summary:{name}.last" for name in columns(parts))],
        ),
    )


def report(place: Place, parts: Sequence[Section], tables: Sequence[Table] = ()) -> "Report":
    """The same panels with a text on how to read each section, and tables of results.

    Raises:
        InputError: `wandb-workspaces` is not installed.
    """
    _require()
    import wandb_workspaces.reports.v2 as wr

    blocks: list[Any] = [wr.TableOfContents()]
    for part in parts:
        # without entity and project, runs are those of the report's own project
        runs = wr.Runset(name=part.method, filters=f"Metric('JobType') == 'fit {part.method}'", groupby=["group"])
        blocks += [wr.H2(part.name), wr.P(part.text), wr.PanelGrid(runsets=[runs], panels=_placed(part.panels))]
    for table in tables:
        blocks += [wr.H2(table.title or "Results"), wr.MarkdownBlock(table.to_markdown())]
    return wr.Report(
        project=place.project,
        entity=place.entity,
        title="tumorgen",
        description="Class-conditional generation of 3D brain tumour regions: samples, their quality, and how models train.",
        blocks=blocks,
        width="fluid",
    )


def specification(place: Place, parts: Sequence[Section], tables: Sequence[Table] = ()) -> dict[str, Any]:
    """Workspace and report as a server would get them, and the names they count on.

    Raises:
        InputError: `wandb-workspaces` is not installed.
    """
    view = workspace(place, parts)._to_model()
    page = report(place, parts, tables)._to_model()
    return {
        "project": place.project,
        "entity": place.entity,
        "names": sorted(logged_names(parts)),
        "workspace": json.loads(view.model_dump_json(by_alias=True, exclude_none=True)),
        "report": json.loads(page.model_dump_json(by_alias=True, exclude_none=True)),
    }


def save(place: Place, parts: Sequence[Section], tables: Sequence[Table] = ()) -> list[str]:
    """Creates workspace and report on the server; returns their addresses.

    Raises:
        InputError: Nobody is logged in, or `wandb-workspaces` is not installed.
    """
    _require()
    import wandb

    try:
        entity = place.entity or wandb.Api().default_entity or ""
    except wandb.errors.UsageError as error:
        raise InputError(
            "tumorgen dashboard: Weights & Biases has no account here; log in with `wandb login`, or write the "
            "specification to a file with --output spec.json."
        ) from error
    place = Place(place.project, entity)
    page, view = report(place, parts, tables), workspace(place, parts)
    page.save()  # creates the project where there is none yet
    view.save()
    return [view.url, page.url]


def columns(parts: Sequence[Section]) -> list[str]:
    """What stands beside the names of the runs: every metric of samples, of all classes, that says what is better."""
    curves = [panel for part in parts for panel in part.panels if isinstance(panel, Curves)]
    pooled = [min(panel.metrics, key=len) for panel in curves if panel.better in ("lower", "higher")]
    return [name for name in pooled if name.startswith(EVALUATION)]


def _panel(panel: Panel, **options: Any) -> Any:
    import wandb_workspaces.reports.v2 as wr

    if isinstance(panel, Curves):
        arrow = {"lower": " (lower is better)", "higher": " (higher is better)"}.get(panel.better, "")
        return wr.LinePlot(title=panel.title + arrow, x=panel.x, y=list(panel.metrics), **options)
    if isinstance(panel, Pictures):
        return wr.MediaBrowser(title=panel.title, media_keys=list(panel.keys), num_columns=1, **options)
    return wr.WeavePanelSummaryTable(table_name=panel.key, **options)


def _placed(panels: Sequence[Panel]) -> list[Any]:
    """Curves three in a row; pictures and tables over the whole width, below each other."""
    import wandb_workspaces.reports.v2 as wr

    placed, x, y = [], 0, 0
    for panel in panels:
        width = _WIDTH // 3 if isinstance(panel, Curves) else _WIDTH
        height = _HEIGHT if isinstance(panel, Curves) else 2 * _HEIGHT
        if x and x + width > _WIDTH:
            x, y = 0, y + _HEIGHT
        placed.append(_panel(panel, layout=wr.Layout(x=x, y=y, w=width, h=height)))
        x = x + width
        if width == _WIDTH:
            x, y = 0, y + height
    return placed


def _require() -> None:
    try:
        import wandb_workspaces.workspaces  # noqa: F401
    except ImportError as error:
        raise InputError(
            "tumorgen dashboard: needs the package wandb-workspaces, which is not installed; "
            "pip install 'tumorgen[dashboard]'."
        ) from error
