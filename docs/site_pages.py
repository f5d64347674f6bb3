"""Hooks of mkdocs: the definitions on the page Metrics and the pages of Reference are written from the code."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("tumorgen", "data_modules")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Adds the packages to the navigation."""
    assert config.nav is not None
    config.nav.append({"Reference": [{package: f"reference/{package}.md"} for package in modules()]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds a page per package, with all that its public modules say of themselves."""
    for package, names in modules().items():
        text = "\n".join([f"# {package}\n", *(f"::: {name}\n" for name in names)])
        files.append(File.generated(config, f"reference/{package}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Adds the definitions to the page Metrics."""
    if page.file.src_uri != "metrics.md":
        return markdown
    return markdown + "\n" + "\n".join(section(definition) for definition in definitions())


def modules() -> dict[str, list[str]]:
    """Public modules by package."""
    found: dict[str, list[str]] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if not path.stem.startswith("__"):
                found.setdefault(".".join(parts[:-1]), []).append(".".join(parts))
    return dict(sorted(found.items()))


def definitions() -> Iterator[dict[str, Any]]:
    """The definitions of all metrics; what depends on the data has an example's value."""
    from tumorgen.metrics import frechet, kid, manifold, memorisation, mmd, ms_ssim, shape

    yield mmd.definition(bandwidth=1.0)
    yield mmd.definition(bandwidth=1.0, inputs="means of 8^3 blocks of voxels in [-1, 1]")
    yield mmd.paper_definition(batch_size=4)
    yield kid.definition()
    yield frechet.definition(shrink=True, width=128)
    yield manifold.definition()
    yield {"name": "MS-SSIM diversity", **ms_ssim.definition("standard", 128)}
    yield {"name": "MS-SSIM diversity, paper", **ms_ssim.definition("paper", 128)}
    for figure in shape.FIGURES:
        yield {"name": f"Plausible {figure}", **shape.definition(figure)}
    yield {"name": "Memorisation share, voxels", **memorisation.definition("voxels", "held-out", size=64)}
    yield {"name": "Memorisation share, features", **memorisation.definition("features", "held-out")}


def section(definition: Mapping[str, Any]) -> str:
    """A definition as a heading and a table."""
    rows = "\n".join(
        f"| {key.replace('_', ' ')} | {cell(value)} |" for key, value in definition.items() if key != "name"
    )
    return f"## {definition['name']}\n\n| | |\n|---|---|\n{rows}\n"


def cell(value: object) -> str:
    """A value as the text of a table's cell."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    for character in "\\|*_<>":
        text = text.replace(character, f"\\{character}")
    return text
