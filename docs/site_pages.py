"""Hooks of mkdocs: the definitions on the page Metrics and the pages of Reference are written from the code."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
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
    """The definitions of all metrics, as records of a few random volumes carry them."""
    from tumorgen.evaluation.evaluate import evaluate
    from tumorgen.evaluation.listed import listed_metrics
    from tumorgen.metrics.metric import Real, Resampling, Volumes

    drawn = 2 * torch.rand(16, 1, 32, 32, 32, generator=torch.Generator().manual_seed(0)) - 1
    volumes = Volumes.of(list(drawn), [0, 1] * 8)
    training, held_out = volumes.select(torch.arange(8)), volumes.select(torch.arange(8, 16))
    quick = Resampling(resamples=20, permutations=20, splits=4)
    real = Real(("LGG", "HGG"), 4.0, held_out, volumes, training, held_out, [Means()], quick)
    seen = set()
    for record in evaluate(real, training, listed_metrics(), "samples"):
        title = record.definition["title"]
        if title not in seen:
            seen.add(title)
            yield {
                key: value for key, value in record.definition.items() if key not in ("extractor", "seed", "pooling")
            }


class Means:
    """Features that need no network: the definitions are the same for every extractor."""

    name = "means"

    def __call__(self, volume: torch.Tensor) -> torch.Tensor:
        """Means over eighths of the volumes."""
        return torch.nn.functional.adaptive_avg_pool3d(volume, 2).flatten(1)

    def description(self) -> dict[str, Any]:
        """The name."""
        return {"name": self.name}


def section(definition: Mapping[str, Any]) -> str:
    """A definition as a heading and a table."""
    rows = "\n".join(
        f"| {key.replace('_', ' ')} | {cell(value)} |" for key, value in definition.items() if key != "title"
    )
    return f"## {definition['title']}\n\n| | |\n|---|---|\n{rows}\n"


def cell(value: object) -> str:
    """A value as the text of a table's cell."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    for character in "\\|*_<>":
        text = text.replace(character, f"\\{character}")
    return text
