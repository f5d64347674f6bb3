"""What stands in a page of the report, read with the standard library's parser."""

import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

NUMBER = re.compile(r"(?<![\w.])[-−]?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\w.])")
VOID = ("meta", "img", "br", "input", "link", "line", "circle", "rect", "polyline")


@dataclass
class Element:
    """A part of the page: its tag, attributes and the text inside of it."""

    tag: str
    attributes: dict[str, str]
    parents: tuple[str, ...]
    text: str = ""


@dataclass
class Page(HTMLParser):
    """All elements of a page, in the order in which they begin."""

    elements: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._open: list[Element] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {key: value or "" for key, value in attrs}, tuple(part.tag for part in self._open))
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {key: value or "" for key, value in attrs}, ()))

    def handle_endtag(self, tag: str) -> None:
        if any(part.tag == tag for part in self._open):
            while self._open.pop().tag != tag:
                pass

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def of(self, tag: str) -> list[Element]:
        """Elements of one tag."""
        return [element for element in self.elements if element.tag == tag]

    def json(self, name: str) -> object:
        """Content of a JSON script element."""
        return json.loads(next(part.text for part in self.of("script") if part.attributes.get("id") == name))


def read_page(text: str) -> Page:
    """Parses a whole page, or a part of one."""
    page = Page()
    page.feed(text)
    page.close()
    return page


def figures_in(record: dict) -> list[float]:
    """Every figure that a record holds and that a page may print: value, interval, floor, p, counts, deviation."""
    found = [record["value"], record["p_value"], record["details"].get("sd"), *record["counts"].values()]
    found += [record["interval"][end] for end in ("low", "high") if record["interval"]]
    found += [record["floor"][key] for key in ("value", "low", "high") if record["floor"]]
    return [float(value) for value in found if value is not None]


def is_shown(text: str, figures: list[float]) -> bool:
    """Whether a printed number is one of the figures, rounded to the digits that are printed."""
    printed = text.replace("−", "-")
    decimals = len(printed.partition(".")[2].partition("e")[0])
    form = f".{decimals}e" if "e" in printed else f".{decimals}f"
    return any(float(format(figure, form)) == float(printed) for figure in figures)
