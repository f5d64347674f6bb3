"""The site: built without network, without a warning, and showing what the code says of its metrics."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from front import ROOT

from tumorgen.metrics import kid

pytestmark = pytest.mark.ci


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make docs` builds."""
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    place = tmp_path_factory.mktemp("site")
    (target,) = re.findall(r"mkdocs build.*", (ROOT / "Makefile").read_text())
    assert "--strict" in target
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(place)]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return place


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    loaded = re.compile(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=\"?(?:https?:)?//[^>]*>")
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    assert {path.name: loaded.findall(path.read_text()) for path in pages if loaded.search(path.read_text())} == {}


def test_metrics_are_those_of_the_list(site: Path) -> None:
    page = (site / "metrics.html").read_text()
    listed = yaml.safe_load((ROOT / "experiments" / "evaluate.yaml").read_text())["metrics"]
    assert len(listed) > 5
    for metric in listed:
        assert page.count(f">{metric['class_path']}<") >= 1, metric
    assert kid.definition()["recipe"] in page
    assert "memorisation_share_voxels" in page


def test_the_reference_has_every_public_module(site: Path) -> None:
    text = "".join(path.read_text() for path in (site / "reference").glob("*.html"))
    paths = [path for package in ("tumorgen", "data_modules") for path in (ROOT / package).rglob("*.py")]
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths if path.stem[:2] != "__"}
    assert len(modules) > 100
    assert {name for name in modules if f'id="{name}"' not in text} == set()
    assert 'id="tumorgen.methods.generator.Generator.sample"' in text
