"""Tables as LaTeX, ready for a page: escaped, and scaled down where they are wider than the text."""

import re
from collections.abc import Iterable, Sequence

PACKAGES = "booktabs,graphicx,rotating"
_ESCAPES = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": "$<$",
        ">": "$>$",
        "±": r"$\pm$",
        "−": "$-$",
        "–": "--",
        "×": r"$\times$",
        "²": "$^2$",
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
    }
)
_MINUS = re.compile(r"(?<![\w-])-(?=\d)")  # a hyphen before a number that it belongs to
# tables of so many columns lie on their side, with intervals below values and a first column whose lines break
_WIDE = 7
_FIRST_COLUMN = r"p{4.2cm}"
_FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"


def escape(text: str) -> str:
    """The text as LaTeX shows it."""
    return _MINUS.sub("−", text).translate(_ESCAPES)


def table_float(
    title: str,
    columns: Sequence[str],
    right: Sequence[bool],
    rows: Iterable[tuple[Sequence[str], str]],
    notes: Sequence[str],
) -> str:
    """A `table` environment, turned sideways where it is wide.

    Args:
        title: Caption without a full stop.
        columns: Headings.
        right: Per column, whether it stands to the right.
        rows: Texts of the cells, and a comment for the end of the line.
        notes: Sentences below the table.
    """
    wide = len(columns) >= _WIDE
    alignment = "".join("r" if values else "l" for values in right)
    if wide and alignment[0] == "l":
        alignment = _FIRST_COLUMN + alignment[1:]
    environment = "sidewaystable" if wide else "table"
    lines = [rf"\begin{{{environment}}}", r"\centering", rf"\caption{{{escape(title)}.}}", _FIT]
    lines += [rf"\begin{{tabular}}{{{alignment}}}", r"\toprule"]
    if wide:
        columns = [heading.replace(", ", ",\n") for heading in columns]
        rows = [([text.replace(" [", "\n[") for text in texts], comment) for texts, comment in rows]
    lines += [rf"{_line(columns)} \\", r"\midrule"]
    lines += [rf"{_line(texts)} \\ % {comment}".rstrip(" %") for texts, comment in rows]
    lines += [r"\bottomrule", r"\end{tabular}}"]
    lines += [rf"\par\raggedright\footnotesize {escape(note)}" for note in notes]
    return "\n".join([*lines, rf"\end{{{environment}}}", ""])


def _line(texts: Iterable[str]) -> str:
    return " & ".join(map(_cell, texts))


def _cell(text: str) -> str:
    """The text, in as many lines as it has."""
    # braces: a bracket or a star after a line break would be read as an option of it
    lines = [f"{{{line}}}" if line[:1] in ("[", "*") else line for line in map(escape, text.split("\n"))]
    stacked = r"\\".join(lines)
    return stacked if len(lines) == 1 else rf"\begin{{tabular}}[t]{{@{{}}r@{{}}}}{stacked}\end{{tabular}}"
