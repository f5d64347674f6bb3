"""Tables of values, each cell with the id of the record it shows: as Markdown, LaTeX, HTML and for the terminal.

`layouts.py` says which tables an evaluation and a benchmark are shown in; this file knows nothing of their meaning.
"""

import html
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import rich.box
import rich.markup
import rich.table
from rich.console import Console

from data_modules.files import atomic_path
from tumorgen.results import latex
from tumorgen.results.records import Record

TEXT_WIDTH = 180
# decimals of values that are at least so large
DECIMALS = ((100, 0), (20, 1), (2, 2), (0.05, 3), (0.005, 4), (0.0005, 5))


@dataclass(frozen=True)
class Cell:
    """One cell: its text, and the id of the record whose value it shows (None: it holds no value)."""

    text: str
    record: str | None = None


@dataclass(frozen=True)
class Table:
    """A table that can be written in any form; values stand to the right.

    Attributes:
        title: Says what is shown, without a full stop.
        columns: Headings.
        rows: As many cells as there are columns; a plain string is a cell without a value.
        notes: Sentences below the table: definitions, counts, what to beware of.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table '{self.title}': row of {len(row)} cells under {len(self.columns)} columns")

    @property
    def cells(self) -> list[list[Cell]]:
        """Rows with every cell as a `Cell`."""
        return [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in self.rows]

    @property
    def records(self) -> list[str]:
        """Ids of all records whose values are shown, in reading order, each once."""
        return list(dict.fromkeys(cell.record for row in self.cells for cell in row if cell.record))

    def to_markdown(self) -> str:
        """GitHub's form; the ids of each row's records follow in a comment, which is not rendered."""
        aligned = [" ---: " if self._is_value(index) else " --- " for index in range(len(self.columns))]
        lines = [f"**{_markdown(self.title)}**", "", _bars(map(_markdown, self.columns)), f"|{'|'.join(aligned)}|"]
        lines += [_bars(_markdown(cell.text) for cell in row) for row in self.cells]
        for note in self.notes:
            lines += ["", _markdown(note)]
        return "\n".join([*lines, "", f"<!-- records by row: {self._ids('; ')} -->", ""])

    def to_latex(self) -> str:
        """A `table` float, no wider than the text, for the packages in `latex.PACKAGES`; ids of records as comments."""
        right = [self._is_value(index) for index in range(len(self.columns))]
        rows = [([cell.text for cell in row], _row_ids(row)) for row in self.cells]
        return latex.table_float(self.title, self.columns, right, rows, self.notes)

    def to_html(self) -> str:
        """A `<table>` with caption; cells that show a value have the attribute `data-record`."""
        head = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in self.columns)
        body = "".join(f"<tr>{_html_row(row)}</tr>\n" for row in self.cells)
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        return (
            f'<figure class="table"><div class="scroll"><table><caption>{html.escape(self.title)}</caption>\n'
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n"
            f"<figcaption>{notes}</figcaption></figure>\n"
        )

    def to_rich(self) -> rich.table.Table:
        """For the terminal."""
        table = rich.table.Table(
            title=rich.markup.escape(self.title),
            caption=rich.markup.escape("\n".join(self.notes)) or None,
            box=rich.box.SIMPLE_HEAD,
            title_justify="left",
            caption_justify="left",
        )
        for index, column in enumerate(self.columns):
            table.add_column(rich.markup.escape(column), justify="right" if self._is_value(index) else "left")
        for row in self.cells:
            table.add_row(*(rich.markup.escape(cell.text) for cell in row))
        return table

    def to_text(self) -> str:
        """As in the terminal, without colours, 180 characters wide."""
        stream = io.StringIO()
        Console(file=stream, width=TEXT_WIDTH, no_color=True).print(self.to_rich())
        return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"

    def _is_value(self, column: int) -> bool:
        return any(row[column].record for row in self.cells)

    def _ids(self, separator: str) -> str:
        return separator.join(_row_ids(row) for row in self.cells)


def write_tables(folder: Path, tables: Iterable[Table], name: str = "table") -> list[Path]:
    """Writes all tables into `<name>.md`, `<name>.tex` and `<name>.txt` in `folder`; returns the three paths."""
    tables = list(tables)
    contents = {
        "md": "\n".join(table.to_markdown() for table in tables),
        "tex": f"% needs \\usepackage{{{latex.PACKAGES}}}\n" + "\n".join(table.to_latex() for table in tables),
        "txt": "\n".join(table.to_text() for table in tables),
    }
    paths = []
    for suffix, content in contents.items():
        paths.append(folder / f"{name}.{suffix}")
        with atomic_path(paths[-1]) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return paths


def number(value: float, *beside: float) -> str:
    """A value with about three digits; those that stand `beside` it, such as its interval, decide with it how many decimals.

    Not-a-number is written as `undefined`.
    """
    if not math.isfinite(value):
        return "undefined"
    size = max(abs(one) for one in (value, *beside) if math.isfinite(one))
    if size >= 1e5 or 0 < size < 5e-4:
        return f"{value:.2e}"
    decimals = next((count for least, count in DECIMALS if size >= least), 3)
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def value_cell(record: Record, interval: bool = True) -> Cell:
    """The record's value, its standard deviation where `details` has one (`sd`), and its interval."""
    shown = record.interval if interval else None
    ends = (shown.low, shown.high) if shown else ()
    text = number(record.value, *ends)
    spread = record.details.get("sd")
    if isinstance(spread, int | float) and math.isfinite(spread):
        text += f" ± {number(spread, record.value, *ends)}"
    return Cell(text + (_range(shown.low, shown.high, record.value) if shown else ""), record.id)


def floor(record: Record) -> Cell:
    """The same metric between two halves of the real data: mean and the range of 95 % of the splits."""
    if record.floor is None:
        return Cell("–")
    value, low, high = record.floor.value, record.floor.low, record.floor.high
    return Cell(number(value, low, high) + _range(low, high, value), record.id)


def _range(low: float, high: float, value: float) -> str:
    return f" [{number(low, high, value)}, {number(high, low, value)}]"


def p_value(record: Record) -> Cell:
    """The p-value of the record's test."""
    if record.p_value is None:
        return Cell("–")
    return Cell("< 0.001" if record.p_value < 0.001 else f"{record.p_value:.3f}", record.id)


def _html_row(row: Sequence[Cell]) -> str:
    """The first cell is the heading of its row, unless it shows a value."""
    first, rest = row[0], row[1:]
    heading = _html_cell(first) if first.record else f'<th scope="row">{html.escape(first.text)}</th>'
    return heading + "".join(map(_html_cell, rest))


def _html_cell(cell: Cell) -> str:
    if cell.record is None:
        return f"<td>{html.escape(cell.text)}</td>"
    # a line may end between a value and its interval, nowhere else
    text = html.escape(cell.text).replace(" ", "&nbsp;").replace("&nbsp;[", " [")
    return f'<td class="figure" data-record="{html.escape(cell.record)}">{text}</td>'


def _row_ids(row: Sequence[Cell]) -> str:
    return " ".join(dict.fromkeys(cell.record for cell in row if cell.record))


def _bars(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _markdown(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
