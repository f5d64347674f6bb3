"""Figures that stand twice agree: README's table with the notes, what was wanted with the limits of the check."""

import re

import pytest
from documents import pages

from tumorgen.studies.demo.plans import PLANS

ROWS = {
    "shape Dice": "shape_dice",
    "importance": "importance_auc",
    "CNN's AUC on reconstructions": "reconstruction_auc_ratio",
    "CNN's AUC on generated": "generated_auc",
    "percentiles": "plausible_share",
}


def table(page: str) -> dict[str, list[str]]:
    """Cells of a page's table of figures, by a part of the row's name."""
    lines = [line for line in pages()[page].splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    found = {part: [row[1:] for row in cells if part in row[0]] for part in [*ROWS, "equal samples", "lower end"]}
    assert {len(rows) for rows in found.values()} == {1}, found
    return {part: rows[0] for part, rows in found.items()}


@pytest.mark.parametrize("name", PLANS)
def test_what_was_wanted_is_what_the_check_asks_for(name: str) -> None:
    found = table(f"docs/notes/{name}.md")
    for part, key in ROWS.items():
        wanted, reached = map(float, found[part])
        assert wanted == PLANS[name].thresholds[key], part
        assert reached >= wanted, part


def test_readme_repeats_the_notes() -> None:
    readme = table("README.md")
    demo, showcase = (table(f"docs/notes/{name}.md") for name in PLANS)
    assert list(PLANS) == ["demo", "showcase"]
    assert readme == {part: demo[part] + showcase[part] for part in demo}


def test_the_times_are_the_same_everywhere() -> None:
    for pattern in (r"9 to 17\s+minutes", r"37\s+minutes"):
        assert re.search(pattern, pages()["README.md"])
        assert sum(bool(re.search(pattern, text)) for text in pages().values()) >= 2
