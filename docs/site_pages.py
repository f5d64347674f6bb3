"""Hooks of mkdocs: the definitions on the page Metrics and the pages of Reference are written from the code."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("tumorgen", "data_modules")
SIDE, CASES = 16, 8


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
    return markdown + "\n" + metrics() if page.file.src_uri == "metrics.md" else markdown


def modules() -> dict[str, list[str]]:
    """Public modules by package."""
    found: dict[str, list[str]] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if not path.stem.startswith("__"):
                found.setdefault(".".join(parts[:-1]), []).append(".".join(parts))
    return dict(sorted(found.items()))


def metrics() -> str:
    """A section per metric of the shipped list: the definitions that its records carry, taken of a few volumes of noise."""
    import torch

    from tumorgen.evaluation.listed import listed_metrics
    from tumorgen.metrics.metric import Real, Resampling, Volumes

    generator = torch.Generator().manual_seed(0)

    def volumes() -> Volumes:
        cube = torch.full((2 * CASES, 1, SIDE, SIDE, SIDE), -1.0)
        inside = slice(SIDE // 4, 3 * SIDE // 4)
        cube[:, :, inside, inside, inside] = torch.rand(2 * CASES, 1, *(SIDE // 2,) * 3, generator=generator)
        return Volumes.of(list(cube), [case % 2 for case in range(2 * CASES)])

    real, training, generated = volumes(), volumes(), volumes()
    facts = {"real_volumes": "as `--reference` says"}
    real = Real(("LGG", "HGG"), 4.0, real, real, training, real, [Extractor()], Resampling(0, 2, 2, 2), facts)
    found = ((metric, metric.prepare(real)(generated)) for metric in listed_metrics())
    return "\n".join(
        section(type(metric), {record.metric: record.definition for record in records}) for metric, records in found
    )


def section(kind: type, definitions: dict[str, dict[str, Any]]) -> str:
    """What the records of one metric have in common as a table, and what they have not as another one."""
    titles = "; ".join(str(definition["title"]) for definition in definitions.values())
    path = f"{kind.__module__}.{kind.__name__}"
    first, *others = definitions.values()
    common = {key: value for key, value in first.items() if all(one.get(key) == value for one in others)}
    lines = [f"## {titles}\n", f"[`{path}`][{path}]\n", "| | |", "|---|---|"]
    if not others:
        lines.append(f"| record | `{next(iter(definitions))}` |")
    lines += [f"| {key.replace('_', ' ')} | {cell(value)} |" for key, value in common.items() if key != "title"]
    if others:
        keys = [key for key in first if key not in common]
        lines += ["", f"| record | {' | '.join(keys)} |", "|---" * (len(keys) + 1) + "|"]
        for name, one in definitions.items():
            lines.append(f"| `{name}` | {' | '.join(cell(one.get(key, '')) for key in keys)} |")
    return "\n".join(lines) + "\n"


class Extractor:
    """Stands for a feature space."""

    name = "mri"

    def __call__(self, volume: "torch.Tensor") -> "torch.Tensor":
        """Means of blocks."""
        from torch.nn.functional import adaptive_avg_pool3d

        return adaptive_avg_pool3d(volume, 4).flatten(1)

    def description(self) -> dict[str, Any]:
        """What stands in the definition."""
        return {"name": "feature space", "sha256": "checksum of its weights"}


def cell(value: object) -> str:
    """A value as the text of a table's cell."""
    if isinstance(value, dict):
        return "; ".join(f"{key}: {cell(part)}" for key, part in value.items())
    if isinstance(value, float):
        return f"{value:.3g}"
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    for character in "\\|*_<>":
        text = text.replace(character, f"\\{character}")
    return text
