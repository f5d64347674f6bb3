"""Charts as small SVG without a library: their colours are those of the page, light, dark or printed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 320, 190
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 26
COLOURS = 6
MOST_POINTS = 400


@dataclass(frozen=True)
class Mark:
    """A value in an interval chart.

    Attributes:
        title: Of its row.
        value: Where the dot stands.
        low: End of the interval; equal to `value` when there is none.
        high: The other end.
        record: Id of the record.
        band: Range of the floor, shaded behind the dot.
        group: Index of its colour.
    """

    title: str
    value: float
    low: float
    high: float
    record: str
    band: tuple[float, float] | None = None
    group: int = 0


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """About `count` round numbers from `low` to `high`."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * min((1, 2, 5, 10), key=lambda factor: abs(factor * power - raw))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def line_chart(series: Mapping[str, Sequence[tuple[float, float]]], title: str) -> str:
    """Curves over optimizer steps; long ones are thinned to 400 points.

    Args:
        series: Points by name; the name is the legend.
        title: For those who hear the page.
    """
    points = [point for curve in series.values() for point in curve]
    across = _Scale([x for x, _ in points], LEFT, WIDTH - RIGHT)
    up = _Scale([y for _, y in points], HEIGHT - BOTTOM, TOP)
    parts = _axes(across, up)
    for index, curve in enumerate(series.values()):
        thin = curve[:: math.ceil(len(curve) / MOST_POINTS)]
        kind = f"c{index % COLOURS}"
        path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in thin)
        parts.append(f'<polyline class="{kind}" points="{path}"/>')
        if len(curve) <= 12:
            parts += [f'<circle class="{kind}" cx="{across(x):.1f}" cy="{up(y):.1f}" r="2.2"/>' for x, y in thin]
    return _svg(WIDTH, HEIGHT, title, parts)


def interval_chart(marks: Sequence[Mark], title: str, reference: float | None = None) -> str:
    """One row per mark: dot, interval as a whisker, the floor's range as a shaded band.

    Args:
        marks: From top to bottom, at least one; all in one unit.
        title: For those who hear the page.
        reference: Where a dashed line stands, for example no difference.
    """
    left, row = 20 + 6.1 * max(len(mark.title) for mark in marks), 24
    width, height = left + 420, TOP + row * len(marks) + BOTTOM
    values = [end for mark in marks for end in (mark.low, mark.high, mark.value, *(mark.band or ()))]
    across = _Scale([*values, *([] if reference is None else [reference])], left, width - RIGHT)
    parts = _grid(across, TOP, height - BOTTOM)
    if reference is not None:
        x = f"{across(reference):.1f}"
        parts.append(f'<line class="reference" x1="{x}" x2="{x}" y1="{TOP}" y2="{height - BOTTOM}"/>')
    for index, mark in enumerate(marks):
        y = TOP + row * index + row / 2
        parts.append(f'<text class="row" x="{left - 10}" y="{y + 4:.1f}">{escape(mark.title)}</text>')
        if mark.band:
            start, end = sorted(map(across, mark.band))
            parts.append(
                f'<rect class="floor" x="{start:.1f}" y="{y - 8:.1f}" width="{max(end - start, 2):.1f}" height="16"/>'
            )
        kind = f"c{mark.group % COLOURS}"
        parts.append(
            f'<g data-record="{mark.record}" class="{kind}"><line x1="{across(mark.low):.1f}" x2="{across(mark.high):.1f}" '
            f'y1="{y:.1f}" y2="{y:.1f}"/><circle cx="{across(mark.value):.1f}" cy="{y:.1f}" r="4"/></g>'
        )
    return _svg(width, height, title, parts)


class _Scale:
    """Maps values to pixels, with room at both ends."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        low, high = min(values), max(values)
        room = 0.04 * (high - low) or abs(low) * 0.05 or 1.0
        self.low, self.high, self.start, self.end = low - room, high + room, start, end

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def _axes(across: _Scale, up: _Scale) -> list[str]:
    parts = []
    for value in ticks(up.low, up.high):
        y = up(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="up" x="{LEFT - 6}" y="{y + 3.5:.1f}">{_tick(value)}</text>')
    return parts + [
        f'<text class="across" x="{across(value):.1f}" y="{HEIGHT - 8}">{_tick(value)}</text>'
        for value in ticks(across.low, across.high)
        if value >= 0
    ]


def _grid(across: _Scale, top: float, bottom: float) -> list[str]:
    parts = []
    for value in ticks(across.low, across.high, 6):
        x = f"{across(value):.1f}"
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{top}" y2="{bottom}"/>')
        parts.append(f'<text class="across" x="{x}" y="{bottom + 16}">{_tick(value)}</text>')
    return parts


def _tick(value: float) -> str:
    return f"{value:g}" if abs(value) < 1e4 or value % 1000 else f"{value / 1000:g}k"


def _svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )
