"""What is packaged: experiments travel with the wheel, dependencies have reasons and pins, versions agree."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from front import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import tumorgen
from tumorgen.commands.init import shipped_experiments

TEXT = (ROOT / "pyproject.toml").read_text()
PYPROJECT = tomllib.loads(TEXT)
PROJECT = PYPROJECT["project"]
WHEEL = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
EXTRAS = PROJECT["optional-dependencies"]
SHIPPED = {path.relative_to(ROOT / "experiments") for path in (ROOT / "experiments").rglob("*.yaml")}


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in requirements}


# ---------------------------------------------------------------------- the wheel


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel puts into site-packages, by the rules in pyproject.toml."""
    site = tmp_path_factory.mktemp("site")
    for package in WHEEL["packages"]:
        shutil.copytree(ROOT / package, site / package, ignore=shutil.ignore_patterns("__pycache__"))
    for source, target in WHEEL["force-include"].items():
        shutil.copytree(ROOT / source, site / target)
    return site


def run(site: Path, code: str, cwd: Path) -> str:
    # -P: the folder that it is started in would come before the site
    words, environment = [sys.executable, "-P", "-c", code], os.environ | {"PYTHONPATH": str(site)}
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=True).stdout.strip()


def test_the_wheel_holds_every_experiment(installed: Path) -> None:
    assert len(SHIPPED) > 10
    found = installed / "tumorgen" / "experiments"
    assert {path.relative_to(found) for path in found.rglob("*.yaml")} == SHIPPED


def test_an_installed_tumorgen_finds_and_copies_its_own_experiments(installed: Path, tmp_path: Path) -> None:
    code = (
        "import sys, tumorgen.__main__ as m; from tumorgen.commands.init import shipped_experiments as s; print(s());"
    )
    out = run(installed, f"{code} sys.exit(m.main(['init']))", tmp_path)
    assert Path(out).resolve() == (installed / "tumorgen" / "experiments").resolve()
    assert {path.relative_to(tmp_path / "experiments") for path in tmp_path.rglob("*.yaml")} == SHIPPED


def test_installed_experiments_win_over_a_folder_beside_the_package(installed: Path, tmp_path: Path) -> None:
    """`experiments` in site-packages may be another project's."""
    beside = installed / "experiments"
    beside.mkdir()
    try:
        out = run(installed, "from tumorgen.commands.init import shipped_experiments as s; print(s())", tmp_path)
    finally:
        beside.rmdir()
    assert Path(out).resolve() == (installed / "tumorgen" / "experiments").resolve()


def test_a_checkout_uses_its_own_experiments() -> None:
    assert shipped_experiments() == ROOT / "experiments"


def test_the_entry_point_is_the_front_door() -> None:
    assert PROJECT["scripts"] == {"tumorgen": "tumorgen.__main__:main"}


def test_nothing_of_the_packages_is_ignored_by_git() -> None:
    """The build leaves out what .gitignore names: /demo/ without its first slash would take tumorgen/studies/demo/ along."""
    if not (ROOT / ".git").exists():
        pytest.skip("no checkout, so there is no git to ask")
    folders = [*WHEEL["packages"], *WHEEL["force-include"]]
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".yaml")]
    listed = "\n".join(path.relative_to(ROOT).as_posix() for path in paths)
    words = ["git", "check-ignore", "--no-index", "--stdin"]
    done = subprocess.run(words, cwd=ROOT, input=listed, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 1), "1: none of the paths is ignored"


# ---------------------------------------------------------------------- dependencies


@pytest.mark.parametrize("group", ["dependencies", "dev", "docs"])
def test_every_dependency_has_a_reason(group: str) -> None:
    (section,) = re.findall(rf"^{group} = \[\n(.*?)^\]", TEXT, re.MULTILINE | re.DOTALL)
    lines = [line.strip() for line in section.splitlines()]
    assert len(lines) == len(PROJECT["dependencies"] if group == "dependencies" else EXTRAS[group])
    assert [line for line in lines if not re.fullmatch(r'"[^"]+",\s+# \S.{3,}', line)] == []


def test_every_other_extra_has_a_reason_above_it() -> None:
    for extra in set(EXTRAS) - {"dev"}:
        assert re.search(rf"^# .{{10,}}\n{extra} = \[", TEXT, re.MULTILINE), extra


def test_every_dependency_has_a_range() -> None:
    every = [*PROJECT["dependencies"], *(line for extra in EXTRAS.values() for line in extra)]
    assert [line for line in every if ">=" not in line] == []


def test_direct_dependencies_are_pinned_within_their_ranges() -> None:
    lines = [line.split("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    pins = dict(line.split("==") for line in lines if line)
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    for line in [*PROJECT["dependencies"], *EXTRAS["dev"], *EXTRAS["docs"]]:
        wanted = Requirement(line)
        assert canonicalize_name(wanted.name) in pins, line
        assert wanted.specifier.contains(pins[canonicalize_name(wanted.name)], prereleases=True), line


def test_what_is_imported_is_declared() -> None:
    """A package that only comes along with another one may be gone with that one's next version."""
    imported = set()
    for package in WHEEL["packages"]:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    imported |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    imported.add(node.module.split(".")[0])
    foreign = imported - set(sys.stdlib_module_names) - set(WHEEL["packages"])
    declared = names([*PROJECT["dependencies"], *EXTRAS["lpips"], *EXTRAS["dashboard"]])
    owners = packages_distributions()
    undeclared = {name for name in foreign if not {canonicalize_name(o) for o in owners.get(name, [name])} & declared}
    assert undeclared == set()


# ---------------------------------------------------------------------- papers


def test_versions_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert PROJECT["version"] == tumorgen.__version__ == str(citation["version"])
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(rf"^## \[({re.escape(PROJECT['version'])}|Unreleased)\]", changes, re.MULTILINE)


def test_licence_and_citation_agree() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert PROJECT["license"] == citation["license"] == "Apache-2.0"
    assert PROJECT["license-files"] == ["LICENSE"]
    assert "Apache License" in (ROOT / "LICENSE").read_text()[:200]
    titles = " ".join(reference["title"] for reference in citation["references"])
    for part in ("Temporal-Agnostic Masked Transformer", "BRATS", "BraTS 2021"):
        assert part in titles
