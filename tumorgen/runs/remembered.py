"""What a checkpoint remembers of its model, as the first words of a command line: whatever is typed comes later and wins."""

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import yaml

from data_modules.errors import InputError
from tumorgen.methods.loading import architecture, find_class

_HELP = ("-h", "--help", "--print_config")


def checkpoint_named(args: Sequence[str]) -> str | None:
    """The `ckpt_path` that a command line names, itself or in a configuration file; the last one counts.

    Returns:
        None where there is none, for example because only help is asked for.
    """
    found = None
    for word, following in zip(args, [*args[1:], ""], strict=True):
        option, equals, value = word.partition("=")
        value = value if equals else following
        if option == "--ckpt_path":
            found = value
        elif option in ("-c", "--config") and Path(value).is_file():
            try:
                content = yaml.safe_load(Path(value).read_text())
            except (OSError, UnicodeDecodeError, yaml.YAMLError):
                continue  # the parser reads the file too, and says what is wrong with it
            if isinstance(content, dict):
                found = content.get("ckpt_path") or found
    return found


def asks_for_help(args: Sequence[str]) -> bool:
    """Whether nothing is going to run."""
    return any(word.startswith(_HELP) or word.partition("=")[0].endswith(".help") for word in args)


def check_typed(args: Sequence[str], class_path: str, changeable: Sequence[str]) -> None:
    """Refuses `--model.X` where X is what was trained, not how it is used: silence would look like consent.

    Raises:
        InputError: Such an option was typed. In a configuration file it is passed over: those of `fit` can be given.
    """
    for word in args:
        if not word.startswith("--model."):
            continue
        parts = word.partition("=")[0].removeprefix("--model.").removeprefix("init_args.").split(".")
        if parts[0] not in changeable:
            allowed = " and ".join(f"--model.{name}" for name in changeable) or "nothing of the model"
            raise InputError(
                f"{word.partition('=')[0]}: the checkpoint's {class_path.rpartition('.')[2]} is built as it was trained; "
                f"this command may change {allowed}."
            )


def own_architecture(checkpoint: Mapping[str, Any], path: Path | str) -> tuple[str, dict[str, Any]]:
    """As `checkpoints.architecture`, but a tokenizer that the checkpoint carries is read from the checkpoint itself."""
    class_path, arguments = architecture(checkpoint)
    return class_path, arguments | dict.fromkeys(getattr(find_class(class_path), "self_contained", ()), str(path))


def as_words(class_path: str, arguments: Mapping[str, Any]) -> list[str]:
    """The options that give the parser a model of this class with these constructor arguments."""
    return ["--model", json.dumps({"class_path": class_path, "init_args": dict(arguments)}, default=str)]


def of_another_class(
    arguments: Mapping[str, Any], parsed: Mapping[str, Any], names: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Those of the arguments `names` that became objects of another class than the checkpoint's, with that class's defaults.

    jsonargparse carries options that both classes know over from one to the other; what the checkpoint says of its sampler
    says nothing about another one.
    """
    found = {}
    for name in names:
        chosen = _class(parsed.get(name))
        if chosen is not None and chosen != _class(arguments.get(name)):
            found[name] = {"class_path": chosen, "init_args": _defaults(chosen)}
    return found


def _class(value: Any) -> Any:
    return value.get("class_path") if hasattr(value, "get") else None


def _defaults(class_path: str) -> dict[str, Any]:
    """Constructor arguments of a class that have a default in plain data."""
    package, _, name = class_path.rpartition(".")
    parameters = signature(getattr(import_module(package), name)).parameters.values()
    plain = (bool, int, float, str, list, tuple, dict, type(None))
    return {parameter.name: parameter.default for parameter in parameters if isinstance(parameter.default, plain)}
