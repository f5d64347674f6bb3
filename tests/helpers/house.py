"""The rules of the house as functions over a source tree, so that they can be held against the code and against misdeeds.

Every rule looks at the tree of `root` alone: what is a method, a room or an experiment is found there, never listed by hand.
"""

import ast
import importlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

LONGEST_FILE, LONGEST_FUNCTION = 300, 60
NO_METHODS = ("published", "__pycache__")
"""Folders under methods/ that are none: the import of the authors' checkpoints."""
MODULES = ("module.py", "stage1/module.py", "stage2/module.py")
"""The LightningModules of a method, in its folder."""
SHARED = (
    "tumorgen.types",
    "tumorgen.nn",
    "tumorgen.pretrained",
    "tumorgen.metrics",
    "tumorgen.methods.vqgan.tokenizer",
)
"""What any file of any method may import of tumorgen, beside its own folder."""
BASES = ("tumorgen.__version__", "tumorgen.methods.method", "tumorgen.methods.generator")
"""What a method's LightningModule may import besides."""
LOADERS = ("tumorgen.methods.loading",)
"""What `vqgan/tokenizer.py`, which reads a checkpoint, may import besides."""
TRAINERS = ("lightning", "pytorch_lightning", "lightning_fabric")
FOREIGN = {
    "as_dict": "jsonargparse tells a section from a plain value by nothing else",
    "_compiled_call_impl": "torch.nn.Module, compiled or not",
    "__float__": "what Lightning gives a logger: tensors, numbers, lists",
    "get": "a section of a configuration, Namespace or dictionary",
}
"""Attributes of other people's objects that may be asked for without knowing whether they are there, and why."""
LEAST_STATEMENTS = 2
"""Bodies of one statement may be alike by chance."""
SMALL = 10
"""Whole numbers below it may be equal by chance: versions of two formats."""


@dataclass(frozen=True)
class Source:
    """A Python file: `name` is its path below the root, `module` its dotted name."""

    name: str
    module: str
    lines: int
    tree: ast.Module

    def where(self, node: ast.AST) -> str:
        """File and line."""
        return f"{self.name}:{node.lineno}"  # type: ignore[attr-defined]


class House:
    """The source tree below `root`, read once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sources = [
            self._read(path)
            for package in ("tumorgen", "data_modules")
            for path in sorted(root.glob(f"{package}/**/*.py"))
        ]
        self.modules = {source.module for source in self.sources}
        self.packages = {
            ".".join(parts[:n]) for m in self.modules if (parts := m.split(".")) for n in range(1, len(parts))
        }

    def _read(self, path: Path) -> Source:
        name, text = path.relative_to(self.root).as_posix(), path.read_text()
        return Source(name, name.removesuffix(".py").replace("/", "."), len(text.splitlines()), ast.parse(text))

    @cached_property
    def methods(self) -> dict[str, tuple[str, ...]]:
        """Folders of all methods below the root, and the files of their LightningModules in them."""
        folders = (path for path in sorted(self.root.glob("tumorgen/methods/*/")) if path.name not in NO_METHODS)
        found = {
            folder.relative_to(self.root).as_posix(): tuple(name for name in MODULES if (folder / name).is_file())
            for folder in folders
        }
        return {folder: modules for folder, modules in found.items() if modules}

    @cached_property
    def lightning_modules(self) -> set[str]:
        """Files of all methods' LightningModules."""
        return {f"{folder}/{name}" for folder, names in self.methods.items() for name in names}

    @cached_property
    def experiments(self) -> dict[str, dict[str, Any]]:
        """All YAML files under experiments/."""
        paths = sorted(self.root.glob("experiments/**/*.yaml"))
        return {path.relative_to(self.root).as_posix(): yaml.safe_load(path.read_text()) for path in paths}

    def imports(self, source: Source) -> Iterator[tuple[ast.AST, str]]:
        """Every module that a file imports, wherever the statement stands and whatever form it has, by its full name."""
        here = source.module.split(".")
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield node, alias.name
            elif isinstance(node, ast.ImportFrom):
                start = ".".join(here[: len(here) - node.level]) if node.level else ""
                base = ".".join(part for part in (start, node.module) if part)
                for alias in node.names:
                    whole = f"{base}.{alias.name}"
                    yield node, whole if whole in self.modules | self.packages or base == "tumorgen" else base
            elif isinstance(node, ast.Call) and called(node) in ("import_module", "__import__"):
                yield from ((node, str(word.value)) for word in node.args[:1] if isinstance(word, ast.Constant))

    def exists(self, class_path: str) -> bool:
        """Whether there is such a class: here, or in an installed package."""
        module, _, name = class_path.rpartition(".")
        if inside(module, "tumorgen", "data_modules"):
            return self.class_of(class_path) is not None
        return hasattr(importlib.import_module(module), name)

    def class_of(self, class_path: str) -> ast.ClassDef | None:
        """A class of this tree."""
        module, _, name = class_path.rpartition(".")
        bodies = (source.tree.body for source in self.sources if source.module == module)
        return next((n for body in bodies for n in body if isinstance(n, ast.ClassDef) and n.name == name), None)

    def defaults(self, class_path: str) -> dict[str, Any]:
        """Defaults of a class of this tree that are plain values."""
        found = {}
        for node in self.class_of(class_path).body if self.class_of(class_path) else ():
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                names = node.args.args[len(node.args.args) - len(node.args.defaults) :]
                given = zip([*names, *node.args.kwonlyargs], [*node.args.defaults, *node.args.kw_defaults], strict=True)
                for argument, default in given:
                    with suppress(ValueError, TypeError):
                        found[argument.arg] = ast.literal_eval(default)
        return found


def called(node: ast.Call) -> str:
    """Last name of what is called."""
    return (
        node.func.attr
        if isinstance(node.func, ast.Attribute)
        else node.func.id
        if isinstance(node.func, ast.Name)
        else ""
    )


def inside(module: str, *rooms: str) -> bool:
    """Whether a module is one of the rooms or lies in one."""
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def rule_methods_have_a_module(house: House) -> Iterator[str]:
    """A folder under methods/ is a method, and its LightningModule is in module.py (two stages: stage1/, stage2/)."""
    for folder in {
        Path(source.name).parts[:3] for source in house.sources if source.name.startswith("tumorgen/methods/")
    }:
        name = "/".join(folder)
        if not name.endswith(".py") and folder[2] not in NO_METHODS and name not in house.methods:
            yield f"{name}: no module.py, and no stage1/module.py"


def rule_methods_live_under_methods(house: House) -> Iterator[str]:
    """No LightningModule elsewhere; the downstream classifier is the only one that generates nothing."""
    allowed = house.lightning_modules | {
        "tumorgen/methods/method.py",
        "tumorgen/methods/generator.py",
        "tumorgen/classifier/module.py",
    }
    for source in house.sources:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ClassDef) and source.name not in allowed:
                bases = {ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases}
                if bases & {"LightningModule", "Method", "Generator", "PerClass"}:
                    yield f"{source.where(node)}: {node.name} belongs into the module.py of a folder under methods/"


def rule_only_modules_import_lightning(house: House) -> Iterator[str]:
    """Networks, losses and samplers of a method, nn/ and metrics/ are pure torch."""
    folders = (*house.methods, "tumorgen/classifier", "tumorgen/nn", "tumorgen/metrics")
    for source in house.sources:
        pure = source.name.startswith(tuple(f"{folder}/" for folder in folders))
        if pure and source.name not in house.lightning_modules | {"tumorgen/classifier/module.py"}:
            for node, module in house.imports(source):
                if inside(module, *TRAINERS):
                    yield f"{source.where(node)}: imports {module}"


def rule_methods_meet_in_the_tokenizer_only(house: House) -> Iterator[str]:
    """A method imports its own folder, the base classes, what is shared - and of another method vqgan/tokenizer.py."""
    for folder in house.methods:
        own = folder.replace("/", ".")
        for source in house.sources:
            if not source.name.startswith(f"{folder}/"):
                continue
            allowed = (own, *SHARED)
            allowed += BASES if source.name in house.lightning_modules else ()
            allowed += LOADERS if source.name == "tumorgen/methods/vqgan/tokenizer.py" else ()
            for node, module in house.imports(source):
                if inside(module, "tumorgen") and not inside(module, *allowed):
                    yield f"{source.where(node)}: imports {module}"


def rule_shared_rooms_know_no_method(house: House) -> Iterator[str]:
    """nn/ and metrics/ are below the methods and everything that runs them."""
    for source in house.sources:
        if source.name.startswith(("tumorgen/nn/", "tumorgen/metrics/")):
            for node, module in house.imports(source):
                if inside(module, "tumorgen") and not inside(
                    module,
                    "tumorgen.nn",
                    "tumorgen.metrics",
                    "tumorgen.types",
                    "tumorgen.pretrained",
                    "tumorgen.results.records",
                ):
                    yield f"{source.where(node)}: imports {module}"


def rule_data_modules_never_import_tumorgen(house: House) -> Iterator[str]:
    """The data serve other projects too."""
    for source in house.sources:
        if source.name.startswith("data_modules/"):
            for node, module in house.imports(source):
                if inside(module, "tumorgen"):
                    yield f"{source.where(node)}: imports {module}"


def rule_files_are_read_without_executing_them(house: House) -> Iterator[str]:
    """torch.load with weights_only=True, and no other reader that runs what it reads."""
    for source in house.sources:
        names = {
            alias.asname or alias.name: f"{node.module}.{alias.name}"
            for node in ast.walk(source.tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        for node in ast.walk(source.tree):
            if not isinstance(node, ast.Call):
                continue
            words = {word.arg: word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)}
            function = ast.unparse(node.func)
            function = names.get(function, function)
            if function == "torch.load" and words.get("weights_only") is not True:
                yield f"{source.where(node)}: torch.load without weights_only=True"
            if words.get("allow_pickle") or function in (
                "pickle.load",
                "pickle.loads",
                "yaml.load",
                "yaml.unsafe_load",
            ):
                yield f"{source.where(node)}: {function} runs what it reads"


def rule_no_contract_by_getattr(house: House) -> Iterator[str]:
    """What another room reads is declared in a base class, typed, with its default."""
    for source in house.sources:
        modules = {
            (alias.asname or alias.name).split(".")[0]
            for node in ast.walk(source.tree)
            if isinstance(node, ast.Import)
            for alias in node.names
            if not inside(alias.name, "tumorgen", "data_modules")
        }
        for node in ast.walk(source.tree):
            if (
                isinstance(node, ast.ExceptHandler)
                and isinstance(node.type, ast.Name)
                and node.type.id == "AttributeError"
            ):
                yield f"{source.where(node)}: except AttributeError"
            if not isinstance(node, ast.Call) or called(node) not in ("getattr", "hasattr"):
                continue
            if called(node) == "getattr" and len(node.args) + len(node.keywords) < 3:
                continue  # fails where there is no such attribute
            asked = node.args[1].value if isinstance(node.args[1], ast.Constant) else None
            of_package = ast.unparse(node.args[0]).split(".")[0] in modules
            if asked not in FOREIGN and not of_package:
                yield f"{source.where(node)}: {ast.unparse(node)}"


def rule_sizes_stay_readable(house: House) -> Iterator[str]:
    """No file over 300 lines, no function over 60: is there a second room in it?"""
    for source in house.sources:
        if source.lines > LONGEST_FILE:
            yield f"{source.name}: {source.lines} lines"
        for node in ast.walk(source.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                if lines > LONGEST_FUNCTION:
                    yield f"{source.where(node)}: {node.name} has {lines} lines"


def rule_no_function_stands_twice(house: House) -> Iterator[str]:
    """Bodies that are alike word for word have one home."""
    bodies: dict[str, list[str]] = defaultdict(list)
    for source in house.sources:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                if (
                    sum(isinstance(part, ast.stmt) for statement in body for part in ast.walk(statement))
                    >= LEAST_STATEMENTS
                ):
                    dump = "\n".join(ast.dump(statement) for statement in body)
                    bodies[dump].append(f"{source.where(node)} {node.name}")
    for places in bodies.values():
        if len(places) > 1:
            yield f"{places[0]}: the same as {', '.join(places[1:])}"


def rule_no_constant_stands_twice(house: House) -> Iterator[str]:
    """A number, a text or a shape that two files define under one name is one fact."""
    places: dict[tuple[str, str], list[str]] = defaultdict(list)
    for source in house.sources:
        for node in source.tree.body:
            target = (
                node.targets[0]
                if isinstance(node, ast.Assign)
                else node.target
                if isinstance(node, ast.AnnAssign)
                else None
            )
            if isinstance(target, ast.Name) and node.value is not None:
                value = ast.unparse(node.value)
                stated = any(isinstance(part, ast.Constant) for part in ast.walk(node.value))
                if stated and not (value.isdigit() and int(value) < SMALL):
                    places[target.id.lstrip("_"), value].append(source.where(node))
    for (name, value), found in places.items():
        if len(found) > 1:
            yield f"{found[0]}: {name} = {value} also stands in {', '.join(found[1:])}"


def rule_every_method_has_an_experiment(house: House) -> Iterator[str]:
    """Each module.py of a method is the model of some YAML under experiments/."""
    named = {module for _, module, _ in trained(house)}
    for name in sorted(house.lightning_modules):
        if name.removesuffix(".py").replace("/", ".") not in named:
            yield f"{name}: no experiment names it as its model"


def rule_every_system_has_one_name(house: House) -> Iterator[str]:
    """What trains a method says what it is called, and no two are called the same."""
    names: dict[str, str] = {}
    for name, module, content in trained(house):
        system = content.get("system") or {}
        if inside(module, "tumorgen.methods") and set(system) != {"name", "title", "source"}:
            yield f"{name}: has no `system` of name, title and source"
        elif system and names.setdefault(system["name"], name) != name:
            yield f"{name}: its system is called {system['name']}, as in {names[system['name']]}"


def trained(house: House) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Name, module of the model and content of every experiment that names its model."""
    for name, content in house.experiments.items():
        model = content.get("model")
        if isinstance(model, dict) and "class_path" in model:
            yield name, model["class_path"].rpartition(".")[0], content


def rule_experiments_name_classes_that_exist(house: House) -> Iterator[str]:
    """Every class_path of every YAML, however deep."""
    for name, content in house.experiments.items():
        for section in sections(content):
            if not house.exists(section["class_path"]):
                yield f"{name}: there is no {section['class_path']}"


def rule_experiments_hold_differences_only(house: House) -> Iterator[str]:
    """Defaults live in signatures; a YAML that changes another one (in a folder below experiments/) may return to them."""
    for name, content in house.experiments.items():
        for section in sections(content) if name.count("/") == 1 else ():
            defaults = house.defaults(section["class_path"])
            for key, value in (section.get("init_args") or {}).items():
                if key in defaults and (type(value), value) == (type(defaults[key]), defaults[key]):
                    yield f"{name}: {key} = {value} is the default of {section['class_path']}"


def sections(value: Any) -> Iterator[dict[str, Any]]:
    """All sections of a YAML that name a class, however deep."""
    if isinstance(value, dict):
        if isinstance(value.get("class_path"), str):
            yield value
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        yield from sections(item)


RULES: dict[str, Callable[[House], Iterator[str]]] = {
    name.removeprefix("rule_"): rule for name, rule in list(globals().items()) if name.startswith("rule_")
}


def violations(root: Path) -> dict[str, list[str]]:
    """What breaks a rule, by rule; rules that are kept are absent."""
    house = House(root)
    found = {name: list(rule(house)) for name, rule in RULES.items()}
    return {name: places for name, places in found.items() if places}
