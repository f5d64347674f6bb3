"""Which tables an evaluation and a benchmark are shown in: one statement for files, terminal and report."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tumorgen.results.records import POOLED, Record
from tumorgen.results.tables import Cell, Table, floor, p_value, value_cell

NAMES = {
    "auc": "AUC",
    "f1": "F1",
    "accuracy": "accuracy",
    "auc_difference": "AUC − real only",
    "auc_difference_same_share": "AUC − real only, same share",
}
"""Of a benchmark's scores; metrics of generated volumes bring their titles."""
BETTER = {"lower": "lower", "higher": "higher", "real": "near floor"}
DIGITS = 8
SCORES = ("auc", "f1", "accuracy", "precision", "recall")
DIFFERENCES = ("auc_difference", "auc_difference_same_share")


def name_of(record: Record) -> str:
    """The metric's title, with the feature extractor where features play a part."""
    name = str(record.definition.get("title", record.metric.replace("_", " ")))
    extractor = extractor_of(record)
    return f"{name} ({extractor})" if extractor else name


def curve(record: Record) -> str:
    """The name of a record's curve: metric, extractor where features play a part, class where it is not all pooled."""
    name = record.group["class"]
    parts = (record.metric, extractor_of(record), "" if name == POOLED else name)
    return "_".join(part for part in parts if part)


def names_of(records: Iterable[Record]) -> dict[str, str]:
    """Names by id, told apart where extractors of one name differ: by the first digits of their weights' SHA-256.

    Values under different names do not compare, and must not stand in one row.
    """
    records = list(records)
    weights: dict[str, set[str]] = {}
    for record in records:
        weights.setdefault(name_of(record), set()).add(_weights_of(record))
    names = {}
    for record in records:
        name = name_of(record)
        several = len(weights[name]) > 1
        names[record.id] = f"{name}, {_weights_of(record)[:DIGITS] or 'unknown weights'}" if several else name
    return names


def extractor_of(record: Record) -> str:
    """The name of the feature extractor in the record's definition; empty where features play no part."""
    found: Any = record.definition.get("extractor", record.group.get("extractor", ""))
    return str(found.get("name", "")) if isinstance(found, dict) else str(found or "")


def closest_pairs(records: Iterable[Record]) -> list[dict[str, Any]]:
    """The closest pairs of generated and training volumes that records of memorisation tell, with the space they are in."""
    return [
        {**pair, "space": extractor_of(record) or "voxels"}
        for record in records
        for pair in record.details.get("closest_pairs", ())
    ]


def _weights_of(record: Record) -> str:
    """SHA-256 of the feature extractor's weights; empty where features play no part, or nobody says it."""
    found: Any = record.definition.get("extractor")
    return str(found.get("sha256", "")) if isinstance(found, dict) else ""


def label_of(record: Record) -> str:
    """The label of the generated folder that was measured; empty where none took part."""
    return record.group.get("generated", "")


def evaluation_tables(records: Iterable[Record], label: Callable[[Record], str] = label_of) -> list[Table]:
    """One table for each class, pooled first: a row per metric, a column per generated folder, the floor beside them.

    Args:
        records: Of one evaluation, or of several against the same real data.
        label: Heading of the column that a record belongs to.
    """
    records = [record for record in records if "class" in record.group]
    classes = sorted(dict.fromkeys(record.group["class"] for record in records), key=lambda name: name != POOLED)
    return [_class_table(name, [r for r in records if r.group["class"] == name], label) for name in classes]


def benchmark_tables(records: Iterable[Record]) -> list[Table]:
    """One table for each network: a row per arm and generated folder; scores, and what each arm adds to real data only."""
    records = [record for record in records if "arm" in record.group]
    networks = list(dict.fromkeys(record.group.get("network", "") for record in records))
    return [
        _network_table(network, [r for r in records if r.group.get("network", "") == network]) for network in networks
    ]


def rows_of(records: Iterable[Record], label: Callable[[Record], str] = label_of) -> dict[str, dict[str, Record]]:
    """Records by row (the metric's name, and what else the group tells) and by label of the generated folder."""
    known = ("class", "generated", "extractor")
    records = list(records)
    names = names_of(records)
    rows: dict[str, dict[str, Record]] = {}
    for record in records:
        rest = [f"{key}: {value}" for key, value in record.group.items() if key not in known]
        rows.setdefault(", ".join((names[record.id], *rest)), {})[label(record)] = record
    return rows


def _class_table(name: str, records: Sequence[Record], label: Callable[[Record], str]) -> Table:
    labels = list(dict.fromkeys(map(label, records)))
    rows = rows_of(records, label)
    shared = all(len({repr(record.floor) for record in row.values()}) == 1 for row in rows.values())  # nan is not nan
    tested = {label(record) for record in records if record.p_value is not None}
    columns, counts = ["metric", "better"], [Cell("volumes, most metrics"), Cell("–")]
    for own in labels:
        measured = [record for record in records if label(record) == own]
        columns.append(own)
        counts.append(_count(measured, "generated"))
        if not shared:
            columns.append(f"floor of {own}")
            counts.append(_count(measured, "real"))
        if own in tested:
            columns.append("p" if len(labels) == 1 else f"p, {own}")
            counts.append(Cell("–"))
    cells = [counts + ([_count(records, "real")] if shared else [])]
    columns += ["real against real"] if shared else []
    for metric, row in rows.items():
        first = next(iter(row.values()))
        line = [Cell(metric), Cell(BETTER.get(str(first.definition.get("better", "")), "–"))]
        for own in labels:
            record = row.get(own)
            line.append(value_cell(record) if record else Cell("–"))
            line += [] if shared else [floor(record) if record else Cell("–")]
            line += [p_value(record) if record else Cell("–")] if own in tested else []
        cells.append([*line, floor(first)] if shared else line)
    title = "All classes pooled" if name == POOLED else f"Class {name}"
    return Table(f"{title}: generated against real", columns, cells, _notes(records))


def _count(records: Sequence[Record], what: str) -> Cell:
    """How many volumes most of the metrics are of; some take more (shapes), some fewer: each record tells its own."""
    counted = [record for record in records if what in record.counts]
    if not counted:
        return Cell("–")
    most, _ = Counter(record.counts[what] for record in counted).most_common(1)[0]
    return Cell(str(most), next(record.id for record in counted if record.counts[what] == most))


def _notes(records: Sequence[Record]) -> list[str]:
    notes = _intervals(records)
    if floors := [record.floor for record in records if record.floor]:
        sizes = sorted({f"{f.splits} half splits of {f.size} volumes each" for f in floors})
        notes.append(f"Real against real: the same metric between halves of the real data ({'; '.join(sizes)}).")
    if any("sd" in record.details for record in records):
        notes.append("±: standard deviation, over passes or pairs as the definition says.")
    notes.append("Values of other definitions, sizes or extractors are not comparable with these.")
    return notes


def arm_title(record: Record) -> str:
    """What to call the arm of a benchmark's record."""
    return str(record.definition.get("title", record.group["arm"]))


def published_table(references: Iterable[Mapping[str, Any]]) -> tuple[Table, list[Record]] | None:
    """Published values as a table of their own, and the records that it refers to; None when there are none.

    Args:
        references: As a benchmark's file holds them: `method`, `source`, and per metric its `value` and `spread`.
    """
    records = [
        Record(
            metric=metric,
            value=values["value"],
            definition={"source": reference["source"], "better": "higher"},
            group={"arm": reference["method"], "published": "yes"},
            counts={},
            details={"sd": values["spread"]},
        )
        for reference in references
        for metric, values in reference["figures"].items()
    ]
    if not records:
        return None
    metrics = [metric for metric in SCORES if any(record.metric == metric for record in records)]
    own: dict[str, dict[str, Cell]] = {}
    for record in records:
        printed = f"{record.value:.2f} ± {record.details['sd']:.2f}"  # not more digits than were published
        own.setdefault(record.group["arm"], {})[record.metric] = Cell(printed, record.id)
    rows = [[Cell(method), *(cells.get(metric, Cell("–")) for metric in metrics)] for method, cells in own.items()]
    sources = dict.fromkeys(str(record.definition["source"]) for record in records)
    notes = [
        *(f"{source}." for source in sources),
        "Other data and another classifier: for orientation, never for a test.",
    ]
    columns = ["method", *(NAMES.get(metric, metric) for metric in metrics)]
    return Table("Published values", columns, rows, notes), records


def _network_table(network: str, records: Sequence[Record]) -> Table:
    scores = [metric for metric in SCORES if any(record.metric == metric for record in records)]
    differences = [metric for metric in DIFFERENCES if any(record.metric == metric for record in records)]
    columns = ["arm", "generated", *(NAMES.get(metric, metric) for metric in scores)]
    columns += [heading for metric in differences for heading in (NAMES[metric], "p (Holm)")]
    rows: list[list[Cell | str]] = []
    own: dict[tuple[str, str], dict[str, Record]] = {}
    for record in records:
        own.setdefault((record.group["arm"], label_of(record)), {})[record.metric] = record
    for (_, label), found in own.items():
        line: list[Cell | str] = [arm_title(next(iter(found.values()))), label or "–"]
        line += [value_cell(found[metric]) if metric in found else "–" for metric in scores]
        for metric in differences:
            line += [value_cell(found[metric]), p_value(found[metric])] if metric in found else ["–", "–"]
        rows.append(line)
    positive = sorted({str(r.definition["positive_class"]) for r in records if "positive_class" in r.definition})
    notes = [f"Positive class: {', '.join(positive)}."] if positive else []
    return Table(f"Downstream classifier{f' {network}' if network else ''}", columns, rows, notes + _spread(records))


def _spread(records: Sequence[Record]) -> list[str]:
    """What stands behind standard deviations and intervals."""
    said = _intervals(records)
    if any("sd" in record.details for record in records):
        said.append("±: standard deviation over folds and seeds.")
    return said


def _intervals(records: Sequence[Record]) -> list[str]:
    """How the intervals were found, each way once: counts belong to the values, whose records tell them."""
    stated = (f"{r.interval.level:.0%} {r.interval.method}" for r in records if r.interval)
    methods = sorted({re.sub(r", \d+ of \d+$", "", method) for method in stated})
    return [f"In brackets: confidence interval ({'; '.join(methods)})."] if methods else []
