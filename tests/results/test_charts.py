"""Charts: round ticks, points where their values belong, and SVG that a browser parses."""

import xml.etree.ElementTree as ElementTree

import pytest

from tumorgen.results.html.charts import MOST_POINTS, Mark, interval_chart, line_chart, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-0.5, 10.5, [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]),
        (0.91, 0.99, [0.92, 0.94, 0.96, 0.98]),
        (3, 3, [3]),
    ],
)
def test_ticks_are_round(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_curves_run_as_their_values_do():
    svg = ElementTree.fromstring(line_chart({"train": [(0, 4.0), (10, 2.0), (20, 1.0)]}, "a <title> & more"))
    points = [tuple(map(float, pair.split(","))) for pair in svg.find("polyline").get("points").split()]
    across, up = zip(*points, strict=True)
    assert across[1] - across[0] == pytest.approx(across[2] - across[1], abs=0.11)
    assert up[1] - up[0] == pytest.approx(2 * (up[2] - up[1]), abs=0.2)  # down the page by 2, then by 1
    assert svg.get("aria-label") == "a <title> & more"
    assert len(svg.findall("circle")) == 3


def test_long_curves_are_thinned_and_single_points_drawn():
    long = ElementTree.fromstring(line_chart({"train": [(i, i % 7) for i in range(5000)]}, "t"))
    assert len(long.find("polyline").get("points").split()) <= MOST_POINTS
    single = ElementTree.fromstring(line_chart({"val": [(3, 0.5)]}, "t"))
    assert len(single.findall("circle")) == 1


def test_dots_lie_between_the_ends_of_their_intervals_and_keep_their_records():
    marks = [Mark("a & b", 0.2, 0.1, 0.4, "r1", band=(0.0, 0.1)), Mark("c", 0.5, 0.5, 0.5, "r2", group=1)]
    svg = ElementTree.fromstring(interval_chart(marks, "t", reference=0.0))
    groups = svg.findall("g")
    assert [group.get("data-record") for group in groups] == ["r1", "r2"]
    line, dot = groups[0].find("line"), groups[0].find("circle")
    low, high, value = float(line.get("x1")), float(line.get("x2")), float(dot.get("cx"))
    assert (value - low) / (high - low) == pytest.approx(1 / 3, abs=0.01)
    band = svg.find("rect")
    zero = float(svg.find("line[@class='reference']").get("x1"))
    assert float(band.get("x")) == pytest.approx(zero, abs=0.1)
    assert float(band.get("x")) + float(band.get("width")) == pytest.approx(low, abs=0.2)
    assert "a & b" in [text.text for text in svg.findall("text")]
