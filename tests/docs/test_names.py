"""What README and the pages name is there: files, overlays, classes, links, targets; and README stays short."""

import re
import tomllib
from itertools import pairwise
from pydoc import locate

import pytest
from documents import blocks, commands, pages, prose, spans
from front import ROOT
from stage2 import tokenizer

from tumorgen.methods.transformer.decoding import Sampler
from tumorgen.methods.transformer.masking import MaskingStrategy
from tumorgen.methods.vqgan.quantizers.base import Quantizer

WRITTEN_BY_RUNS = {"config.yaml", "metrics.csv", "manifest.json", "name_mapping.csv"}


def test_readme_is_short() -> None:
    assert len(pages()["README.md"].splitlines()) <= 130


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {command[1] for command in commands() if command[0] == "make"}
    named |= {span.split()[1] for span in spans() if span.startswith("make ")}
    assert {"demo", "docs", "test-real", "bench", "check"} <= named <= targets


def test_extras_and_files_of_the_installation_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"tumorgen\[(\w+)\]", "".join(pages().values()))) <= set(extras)
    constraints = [word for command in commands() for flag, word in pairwise(command) if flag == "-c"]
    assert constraints
    assert all((ROOT / name).is_file() for name in constraints)


@pytest.mark.parametrize("page", pages())
def test_links_and_pictures_exist(page: str) -> None:
    place = (ROOT / page).parent
    missing = []
    for target in re.findall(r"\]\(([^)\s]+)\)", pages()[page]):
        file, _, heading = target.partition("#")
        if target.startswith("https://"):
            continue
        path = (place / file).resolve() if file else ROOT / page
        if not path.is_file() or (heading and heading not in headings(path.read_text())):
            missing.append(target)
    assert missing == []


def headings(text: str) -> set[str]:
    """Anchors of a page."""
    titles = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def test_every_page_is_within_two_clicks_of_readme() -> None:
    """Readers of the repository have no navigation but README's links."""
    linked = set(re.findall(r"\]\((docs/[\w/-]+\.md)", pages()["README.md"]))
    for page in list(linked):
        names = re.findall(r"\]\(([\w./-]+\.md)", pages()[page])
        linked |= {((ROOT / page).parent / name).resolve().relative_to(ROOT).as_posix() for name in names}
    assert set(pages()) - linked - {"README.md", "docs/index.md"} == set()


def test_files_that_are_named_exist() -> None:
    named = [span for span in spans() if re.fullmatch(r"[\w./-]+\.(yaml|py|md|txt|cff|toml)", span)]
    places = (ROOT, ROOT / "experiments", ROOT / "tumorgen")
    own = {block.title for block in [*blocks("python"), *blocks("yaml")]}
    assert len(named) > 10
    assert [
        name for name in named if name not in WRITTEN_BY_RUNS | own and not any((at / name).is_file() for at in places)
    ] == []


def test_every_overlay_is_named() -> None:
    named = set()
    for line in prose().splitlines():
        for name in re.findall(r"overlays/(\w+)\.yaml", line):
            named |= {name} | {name.rpartition("_")[0] + ending for ending in re.findall(r"`(_\w+)`", line)}
    assert named == {path.stem for path in (ROOT / "experiments" / "overlays").glob("*.yaml")}


def test_classes_that_are_named_exist() -> None:
    text = re.sub(r"tumorgen\[\w+\]", "", "".join(pages().values()))
    named = set(re.findall(r"\b(?:tumorgen|data_modules)(?:\.\w+)+", text))
    assert len(named) > 5
    assert [name for name in named if locate(name) is None] == []


def test_the_layout_is_the_layout() -> None:
    (layout,) = (block.text for block in blocks("") if "cli.py" in block.text)
    named = re.findall(r"(?:^|\s\s)(\w+(?:\.py|/))(?=\s\s)", layout)
    packages = [ROOT / "tumorgen", ROOT / "data_modules"]
    rooms = {f"{path.parent.name}/" for package in packages for path in package.glob("*/__init__.py")}
    assert rooms - set(named) == set()
    assert [name for name in named if not any((at / name).exists() for at in (ROOT, *packages))] == []


@pytest.mark.parametrize(("part", "number"), [(Quantizer, "two"), (MaskingStrategy, "one"), (Sampler, "two")])
def test_a_part_of_one_s_own_has_as_many_methods_as_is_said(part: type, number: str) -> None:
    (said,) = re.findall(rf"subclass of `{part.__name__}`[^(]*\((\w+) methods?\b", prose())
    assert said == number
    assert len(part.__abstractmethods__) == {"one": 1, "two": 2}[number]


def test_no_placeholder_is_left() -> None:
    text = "".join(pages().values())
    assert re.findall(r"^[A-Z0-9]+(?:_[A-Z0-9]+)+$|\bTODO\b|\bTBD\b|lorem", text, re.MULTILINE) == []


def test_what_a_run_leaves_is_what_is_listed() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|", pages()["docs/concepts/run_folder.md"], re.MULTILINE)
    run = tokenizer().parents[1]
    left = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file() and path.name[0] != "."}
    assert {name for name in rows if not (run / name).exists()} <= {"pictures/", "wandb/"}  # asked for, or turned off
    assert left - set(rows) == {"csv/hparams.yaml"}
