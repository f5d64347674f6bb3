"""Evaluations and benchmarks as parts of the page: tables, charts, pictures, definitions."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tumorgen.results.html.charts import Mark, interval_chart
from tumorgen.results.html.pictures import embedded
from tumorgen.results.layouts import (
    arm_title,
    benchmark_tables,
    closest_pairs,
    evaluation_tables,
    label_of,
    names_of,
    published_table,
    rows_of,
)
from tumorgen.results.records import Record, Results
from tumorgen.results.tables import Cell, Table, number, value_cell

Charts = Sequence[tuple[str, str]]
Pictures = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Evaluated:
    """All evaluations against the same real data.

    Attributes:
        records: Of all of them, and of the closest pairs.
        labels: Heading by id of the record: labels of generated folders, told apart by the evaluation where they collide.
        tables: Per class, pooled first.
        memorisation: Shares of near copies and closest pairs, where the evaluations have them.
        charts: Metric and SVG: values beside the floor.
        pictures: Name and `data:` URL; those of closest pairs have `pairs` in their names.
        definitions: JSON by name of the metric.
    """

    records: Sequence[Record]
    labels: Mapping[str, str]
    tables: Sequence[Table]
    memorisation: Sequence[Table]
    charts: Charts
    pictures: Pictures
    definitions: Mapping[str, str]

    def label(self, record: Record) -> str:
        """Heading of the record's column."""
        return self.labels[record.id]

    @property
    def memorisation_pictures(self) -> Pictures:
        """Pictures of closest pairs."""
        return [picture for picture in self.pictures if "pairs" in picture[0]]

    @property
    def other_pictures(self) -> Pictures:
        """All others."""
        return [picture for picture in self.pictures if "pairs" not in picture[0]]


@dataclass(frozen=True)
class Downstream:
    """One benchmark.

    Attributes:
        records: Of the benchmark, and of published values.
        tables: Per network; published values last.
        charts: Title and SVG.
        pictures: Name and `data:` URL.
        definitions: JSON by name of the metric.
    """

    records: Sequence[Record]
    tables: Sequence[Table]
    charts: Charts
    pictures: Pictures
    definitions: Mapping[str, str]


def evaluated(results: Sequence[Results]) -> list[Evaluated]:
    """Evaluations against the same real data side by side; others apart, since their values are not comparable."""
    together: dict[str, list[Results]] = {}
    for result in results:
        real = (result.extra.get("inputs") or {}).get("real") or str(result.path)
        together.setdefault(json.dumps(real, sort_keys=True), []).append(result)
    return [_evaluated(group) for group in together.values()]


def downstream(results: Results) -> Downstream:
    """Tables and charts of a benchmark."""
    records = list(results.records)
    said = [str(note) for note in results.extra.get("notes") or ()]
    tables = [replace(table, notes=[*table.notes, *said]) for table in benchmark_tables(records)]
    if published := published_table(results.extra.get("references") or ()):
        tables.append(published[0])
        records += published[1]
    own = [record for record in results.records if "arm" in record.group]
    charts = []
    for metric, title, reference in (("auc", "AUC", None), ("auc_difference", "AUC minus AUC of real data only", 0.0)):
        if found := [record for record in own if record.metric == metric]:
            marks = _marks(found, [_titled(record) for record in found], [label_of(record) for record in found])
            charts += [(title, interval_chart(marks, title, reference))] if marks else []
    return Downstream(records, tables, charts, _pictures([results]), _definitions(own))


def _evaluated(group: Sequence[Results]) -> Evaluated:
    records = [record for result in group for record in result.records]
    labels = _labels(group)
    pairs = [record for result in group for record in _pair_records(result)]
    names = names_of(records)
    charts = []
    for name in rows_of(records, lambda record: labels[record.id]):
        found = [record for record in records if names[record.id] == name and record.floor is not None]
        if found:
            titles = [f"{labels[record.id]}, {record.group.get('class', '')}" for record in found]
            marks = _marks(found, titles, [labels[record.id] for record in found])
            charts += [(name, interval_chart(marks, name))] if marks else []
    return Evaluated(
        records=[*records, *pairs],
        labels=labels | {record.id: label_of(record) for record in pairs},
        tables=evaluation_tables(records, lambda record: labels[record.id]),
        memorisation=[*_shares_table(records, labels), *_pairs_table(pairs)],
        charts=charts,
        pictures=_pictures(group),
        definitions=_definitions(records),
    )


def _labels(group: Sequence[Results]) -> dict[str, str]:
    """By id: the label of the generated folder, with the evaluation's folder where several evaluations use it."""
    users: dict[str, set[str]] = {}
    for result in group:
        for record in result.records:
            users.setdefault(label_of(record), set()).add(str(result.path))
    labels = {}
    for result in group:
        folder = result.path.resolve().parent.name if result.path else ""
        for record in result.records:
            label = label_of(record)
            labels[record.id] = f"{label} ({folder})" if len(users[label]) > 1 else label
    return labels


def _pair_records(results: Results) -> list[Record]:
    """The closest pairs of an evaluation as records, so that their distances have ids as well."""
    return [
        Record(
            metric="nearest_training_distance",
            value=pair["distance"],
            definition={
                "space": pair["space"],
                "source": "closest pairs of the record of memorisation",
                "better": "higher",
            },
            group={key: pair[key] for key in ("generated", "training", "space")},
            counts={},
        )
        for pair in closest_pairs(results.records)
    ]


def _shares_table(records: Sequence[Record], labels: Mapping[str, str]) -> list[Table]:
    """Shares of generated volumes that are nearer to a training patient than nearly all held-out patients are."""
    own = [record for record in records if record.metric.startswith("memorisation_share")]
    if not own:
        return []
    names = names_of(own)
    rows: list[list[Cell | str]] = [
        [
            labels[record.id],
            record.group.get("class", ""),
            names[record.id],
            value_cell(record),
            Cell(str(record.counts.get("generated", "–")), record.id),
        ]
        for record in own
    ]
    notes = ["New volumes show about the share that the definition names, 0.05 unless it says otherwise."]
    return [Table("Share of near copies", ["generated", "class", "space", "share", "volumes"], rows, notes)]


def _pairs_table(records: Sequence[Record]) -> list[Table]:
    if not records:
        return []
    rows: list[list[Cell | str]] = [
        [
            record.group.get("generated", ""),
            record.group.get("training", ""),
            record.group.get("space", ""),
            Cell(number(record.value), record.id),
        ]
        for record in records
    ]
    notes = ["Distances of different spaces have different units and are not comparable."]
    return [Table("Closest pairs", ["generated", "nearest training volume", "space", "distance"], rows, notes)]


def _marks(records: Sequence[Record], titles: Sequence[str], groups: Sequence[str]) -> list[Mark]:
    order = list(dict.fromkeys(groups))
    return [
        Mark(
            title=title,
            value=record.value,
            low=record.interval.low if record.interval else record.value,
            high=record.interval.high if record.interval else record.value,
            record=record.id,
            band=(record.floor.low, record.floor.high) if record.floor else None,
            group=order.index(group),
        )
        for record, title, group in zip(records, titles, groups, strict=True)
        if number(record.value) != "undefined"
    ]


def _titled(record: Record) -> str:
    label = label_of(record)
    return f"{arm_title(record)} · {label}" if label else arm_title(record)


def _pictures(group: Sequence[Results]) -> list[tuple[str, str]]:
    """Pictures that result files name, relative to them."""
    found = []
    for result in group:
        folder = result.path.parent if result.path else Path()
        for name, file in _flat(result.extra.get("pictures") or {}):
            origin = f", {folder.resolve().name}" if len(group) > 1 else ""
            found.append((f"{name.replace('_', ' ')}{origin}", embedded(folder / file)))
    return found


def _flat(pictures: Any, name: str = "") -> list[tuple[str, str]]:
    """Names and files, however the file nests them."""
    if isinstance(pictures, str):
        return [(name, pictures)]
    items = pictures.items() if isinstance(pictures, dict) else ((str(i + 1), part) for i, part in enumerate(pictures))
    return [pair for key, part in items for pair in _flat(part, f"{name} {key}".strip())]


def _definitions(records: Sequence[Record]) -> dict[str, str]:
    """Every definition once, by the metric's name; what differs between groups has a text of its own."""
    found: dict[str, str] = {}
    names = names_of(records)
    for record in records:
        content = {key: value for key, value in record.definition.items() if key != "title"}
        text = json.dumps(content, indent=2, ensure_ascii=False)
        name = names[record.id]
        if text not in found.values():
            while name in found:
                name += " ·"
            found[name] = text
    return found
