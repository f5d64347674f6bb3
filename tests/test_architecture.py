"""The rules of the house, held against the code."""

import ast
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted([*ROOT.glob("tumorgen/**/*.py"), *ROOT.glob("data_modules/**/*.py")])
METHODS = ("methods/vqgan", "methods/transformer", "classifier")


def imports(path: Path) -> set[str]:
    """Absolute names of every module that a file imports, wherever the statement stands."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_sizes_stay_readable(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 300, "no file over 300 lines: is there a second room in it?"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno + 1 <= 60, f"{node.name}: no function over 60 lines"


def test_data_modules_never_import_tumorgen() -> None:
    guilty = [
        name(path)
        for path in ROOT.glob("data_modules/**/*.py")
        if any(m.split(".")[0] == "tumorgen" for m in imports(path))
    ]
    assert guilty == []


def test_networks_and_metrics_do_not_import_lightning() -> None:
    pure = [*ROOT.glob("tumorgen/nn/*.py"), *ROOT.glob("tumorgen/metrics/*.py")]
    for method in METHODS:
        pure += [
            path for path in ROOT.glob(f"tumorgen/{method}/**/*.py") if path.name not in ("module.py", "__init__.py")
        ]
    assert len(pure) > 10
    guilty = [name(path) for path in pure if any(m.split(".")[0] == "lightning" for m in imports(path))]
    assert guilty == []


def test_methods_meet_only_in_the_frozen_tokenizer() -> None:
    """Another method may be imported only by `tokenizer.py` and `module.py`, and only stage 1 of it."""
    for method in METHODS:
        for path in ROOT.glob(f"tumorgen/{method}/**/*.py"):
            foreign = {
                m
                for m in imports(path)
                for other in METHODS
                if other != method and m.startswith(f"tumorgen.{other}".replace("/", "."))
            }
            allowed = path.name in ("module.py", "tokenizer.py")
            assert not foreign or (allowed and all(m.startswith("tumorgen.methods.vqgan") for m in foreign)), (
                name(path),
                foreign,
            )


def test_checkpoints_are_read_without_executing_them() -> None:
    for path in SOURCES:
        for call in re.findall(r"torch\.load\((?:[^()]|\([^()]*\))*\)", path.read_text()):
            assert "weights_only=True" in call, name(path)


def test_nothing_in_the_tree_names_this_machine() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for file in listed:
        path = ROOT / file
        if path.suffix in (".py", ".yaml", ".yml", ".toml", ".md", ".cff", ".txt") or path.name in ("Makefile", "run"):
            text = path.read_text()
            assert not re.search(r"(?<![\w.])/(work|root|home)/\w", text), file


def test_help_imports_no_torch_and_is_fast() -> None:
    seconds = []
    for _ in range(5):
        begin = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "tumorgen", "--help"]
        out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        end = resource.getrusage(resource.RUSAGE_CHILDREN)
        # processor time: the clock on the wall also counts the tests that run beside this one
        seconds.append(end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime)
    assert "fit" in out.stdout
    assert "reconstruct" in out.stdout
    assert min(seconds) < 0.1, seconds
    probe = "import sys, tumorgen.__main__ as m; m.main(['--help']); assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, check=True)


def test_front_door_is_standard_library_only() -> None:
    tree = ast.parse((ROOT / "tumorgen/__main__.py").read_text())
    top = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    top |= {node.module for node in tree.body if isinstance(node, ast.ImportFrom) and node.module}
    assert {module.split(".")[0] for module in top} <= set(sys.stdlib_module_names)
