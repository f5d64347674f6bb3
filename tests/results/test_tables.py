"""Tables: numbers as people read them, the same content in every form, and the ids that follow each figure."""

import re
import shutil
import subprocess

import pytest
from html_page import read_page

from tumorgen.results import latex
from tumorgen.results.records import Floor, Interval, Record
from tumorgen.results.tables import Cell, Table, floor, number, p_value, value_cell, write_tables

RECORD = Record(
    metric="kid",
    value=0.03149,
    definition={"better": "lower"},
    group={"class": "LGG", "generated": "a"},
    counts={"real": 20},
    interval=Interval(0.0209, 0.0431, "bootstrap"),
    floor=Floor(0.004, -0.0061, 0.0212, splits=200, size=10),
    p_value=0.0004,
)
TABLE = Table(
    "A 50% share & more",
    ["metric", "samples_1", "note"],
    [["kid|mri", value_cell(RECORD), "<b>"], ["[bold]x[/bold]", Cell("1.5 ± 0.2", "abc"), "a_b"]],
    ["Notes & such."],
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.8149, "0.815"),
        (-0.5, "-0.500"),
        (0.03149, "0.0315"),
        (0.00213, "0.00213"),
        (1.234, "1.234"),
        (7.891, "7.89"),
        (32.34, "32.3"),
        (1024.4, "1024"),
        (123456.0, "1.23e+05"),
        (0.00012, "1.20e-04"),
        (0.0, "0.000"),
        (float("nan"), "undefined"),
        (float("inf"), "undefined"),
    ],
)
def test_about_three_digits(value, text):
    assert number(value) == text


def test_figures_that_stand_together_have_the_same_decimals():
    assert number(0.04, 0.02, 0.06) == "0.040"
    assert [number(one, 0.3, 41.0) for one in (0.3, 41.0)] == ["0.3", "41.0"]
    assert number(-0.0001, 0.5) == "0.000"  # never a negative zero
    assert number(0.5, float("nan")) == "0.500"


def test_a_figure_brings_its_interval_floor_and_p_with_the_id():
    assert value_cell(RECORD) == Cell("0.0315 [0.0209, 0.0431]", RECORD.id)
    assert value_cell(RECORD, interval=False).text == "0.0315"
    assert floor(RECORD) == Cell("0.0040 [-0.0061, 0.0212]", RECORD.id)
    assert p_value(RECORD) == Cell("< 0.001", RECORD.id)
    plain = Record("auc", 0.8, {}, {}, {}, details={"sd": 0.021})
    assert value_cell(plain).text == "0.800 ± 0.021"
    assert floor(plain).text == p_value(plain).text == "–"
    assert value_cell(Record("auc", 0.8, {}, {}, {}, details={"sd": float("nan")})).text == "0.800"


def test_rows_have_as_many_cells_as_there_are_columns():
    with pytest.raises(ValueError, match="row of 1 cells under 2 columns"):
        Table("t", ["a", "b"], [["x"]])


def test_markdown_has_a_row_per_row_and_bars_only_between_cells():
    lines = TABLE.to_markdown().splitlines()
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if line.startswith("|")]
    assert [len(row) for row in rows] == [3] * 4
    assert rows[1] == [" --- ", " ---: ", " --- "]  # figures stand to the right
    assert rows[2][0].strip() == r"kid\|mri"
    assert rows[2][2].strip() == "&lt;b>"
    assert lines[-1] == f"<!-- records by row: {RECORD.id}; abc -->"


def test_latex_escapes_everything_that_is_special_and_names_records():
    text = TABLE.to_latex()
    assert r"A 50\% share \& more" in text
    assert r"samples\_1" in text
    assert r"1.5 $\pm$ 0.2" in text
    assert r"\begin{tabular}{lrl}" in text
    rows = [line for line in text.splitlines() if r"\\" in line]
    assert [len(re.findall(r"(?<!\\)&", row.partition(r"\\")[0])) for row in rows] == [2, 2, 2]
    assert rows[1].endswith(f"% {RECORD.id}")
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


WIDE = Table(
    "Nine columns",
    ["arm", *(f"figure {i}, same share" for i in range(8))],
    [[f"a name {'that is long ' * 6}", *(Cell("0.917 ± 0.012 [0.828, 0.982]", "abc") for _ in range(8))]] * 3,
    ["A note below it."],
)


def test_latex_has_minus_signs_where_they_are_meant():
    assert latex.escape("-0.033 [-0.1, 2], 2018-2023, a-1") == "$-$0.033 [$-$0.1, 2], 2018-2023, a-1"


def test_wide_latex_tables_have_intervals_below_their_figures():
    row = WIDE.to_latex().splitlines()[8]
    inner = r"\begin{tabular}[t]{@{}r@{}}0.917 $\pm$ 0.012\\{[0.828, 0.982]}\end{tabular}"
    assert row.count(inner) == 8
    assert WIDE.to_latex().startswith(r"\begin{sidewaystable}")
    assert inner not in TABLE.to_latex()


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex (texlive-latex-recommended)")
def test_latex_compiles_and_stays_on_the_page(tmp_path):
    _, tex, _ = write_tables(tmp_path, [TABLE, WIDE])
    packages = re.match(r"% needs (.*)", tex.read_text())[1]
    document = rf"\documentclass{{article}}{packages}\begin{{document}}\input{{table.tex}}\end{{document}}"
    (tmp_path / "document.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "document.tex"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120)
    assert said.returncode == 0, said.stdout[-2000:]
    assert "Overfull" not in said.stdout
    assert (tmp_path / "document.pdf").stat().st_size > 0


def test_html_marks_figures_with_their_record_and_nothing_else():
    page = read_page(TABLE.to_html())
    cells = page.of("td")
    assert [cell.attributes.get("data-record") for cell in cells] == [RECORD.id, None, "abc", None]
    assert cells[0].text.replace("\xa0", " ") == "0.0315 [0.0209, 0.0431]"
    assert cells[1].text == "<b>"  # text, not a tag
    assert [head.text for head in page.of("th")] == ["metric", "samples_1", "note", "kid|mri", "[bold]x[/bold]"]
    assert page.of("caption")[0].text == TABLE.title


def test_the_terminal_shows_all_texts_as_they_are():
    text = TABLE.to_text()
    for row in TABLE.cells:
        for cell in row:
            assert cell.text in text  # also brackets that rich would take for markup
    assert TABLE.title in text
    assert "Notes & such." in text


def test_all_forms_are_written(tmp_path):
    paths = write_tables(tmp_path / "new", [TABLE, TABLE], "table")
    assert [path.name for path in paths] == ["table.md", "table.tex", "table.txt"]
    assert all(path.read_text().count("samples") == 2 for path in paths)
    assert TABLE.records == [RECORD.id, "abc"]
