"""The benchmark's table, in the poster's columns, with the poster's own figures below: marked, and never tested against."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tumorgen.results.layouts import NAMES, SCORES, benchmark_tables
from tumorgen.results.records import Record
from tumorgen.results.tables import Cell, Table


def tables(records: Iterable[Record], references: Sequence[Mapping[str, Any]], notes: Sequence[str]) -> list[Table]:
    """One table per network.

    Args:
        records: Of the benchmark.
        references: Published figures, see `references`.
        notes: Sentences about this benchmark, to stand below.
    """
    sources = sorted({str(reference["source"]) for reference in references})
    said = [
        f"Rows 'published': {source}. Other data and another classifier: not comparable, not tested."
        for source in sources
    ]
    return [
        replace(
            table,
            rows=[*table.rows, *(_reference_row(reference, table.columns) for reference in references)],
            notes=[*table.notes, *notes, *said],
        )
        for table in benchmark_tables(records)
    ]


def _reference_row(reference: Mapping[str, Any], columns: Sequence[str]) -> list[Cell | str]:
    """A published method's figures under the headings they belong to."""
    printed = {
        NAMES.get(name, name): f"{reference['figures'][name]['value']:.2f} ± {reference['figures'][name]['spread']:.2f}"
        for name in SCORES
    }
    return [f"published: {reference['method']}", *(printed.get(column, "–") for column in columns[1:])]
