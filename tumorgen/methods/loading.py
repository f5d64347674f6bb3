"""The way from a checkpoint to a method: read without running code, held against what may be imported, built, filled.

Every command and `tumorgen.load_generator` come here; nothing else builds what a checkpoint describes.
"""

import json
import re
import sys
from argparse import ArgumentError
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from jsonargparse import Namespace

from data_modules.errors import InputError, input_error_behind
from tumorgen.methods.method import Method
from tumorgen.methods.trust import RefusedClassError, trusted_classes_only
from tumorgen.option_errors import one_line
from tumorgen.parsing import Parser

Kind = TypeVar("Kind", bound=Method)


def read_tensors(path: Path | str, expected: str, **options: Any) -> Any:
    """Reads what `torch.save` wrote, tensors on the CPU, without executing anything in it.

    Args:
        path: The file.
        expected: What it should be, for the message.
        **options: Of `torch.load`.

    Raises:
        InputError: The file is missing or unreadable, or would run code when it is loaded.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected {expected}.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True, **options)
    except Exception as error:
        # torch's own words recommend to load the file without the protection
        called = re.search(r"GLOBAL ([\w.]+)", str(error))
        if called:
            raise InputError(
                f"{path}: would run code when it is loaded (it calls {called[1]}); expected {expected}, which holds tensors and "
                "plain data only. Do not load it."
            ) from None
        reason = "no data that torch.save wrote" if "weights_only" in str(error) else str(error).partition("\n")[0]
        raise InputError(
            f"{path}: not readable ({reason}); expected {expected}. A file cut short by a full disk or a copy looks like this: "
            "copy it again or take another one."
        ) from None


def read_checkpoint(path: Path | str) -> dict[str, Any]:
    """Reads a checkpoint that `tumorgen fit` wrote, as plain data.

    Raises:
        InputError: As `read_tensors`; also when it is no checkpoint of tumorgen.
    """
    checkpoint = read_tensors(path, "a checkpoint written by `tumorgen fit`")
    stored = checkpoint.get("hyper_parameters") if isinstance(checkpoint, dict) else None
    if not isinstance(stored, dict) or not isinstance(stored.get("_class_path"), str):
        raise InputError(f"{path}: holds no hyperparameters of a tumorgen model; was it written by `tumorgen fit`?")
    return cast(dict[str, Any], checkpoint)


def load_method(path: Path | str, base: type[Kind], **options: Any) -> Kind:
    """Reads a checkpoint and restores its method; see `read_checkpoint` and `restore`."""
    return restore(read_checkpoint(path), path, base, **options)


def restore(checkpoint: Mapping[str, Any], path: Path | str, base: type[Kind], **options: Any) -> Kind:
    """Builds the method of a checkpoint with its weights, in evaluation mode on the CPU.

    Args:
        checkpoint: As read.
        path: Where it is from.
        base: Class that the method has to be.
        **options: Replace what the checkpoint says of its `runtime_options`.

    Raises:
        InputError: As `architecture`; also when an option is none of those, or the weights do not fit.
    """
    kind, arguments = architecture(checkpoint, path, base)
    unknown = sorted(set(options) - set(kind.runtime_options))
    if unknown:
        raise InputError(
            f"{unknown[0]}: is built as it was trained; of a {kind.__name__} may be replaced: "
            f"{', '.join(kind.runtime_options) or 'nothing'}."
        )
    method = build(path_of(kind), arguments | options, kind)
    load_weights(method, checkpoint, path)
    return method.eval()


def architecture(section: Mapping[str, Any], path: Path | str, base: type[Kind]) -> tuple[type[Kind], dict[str, Any]]:
    """The class and the constructor arguments that a method was built with, held against what may be imported.

    Args:
        section: A checkpoint, or what it carries of another one: `hyper_parameters` as Lightning saves them.
        path: Where it is from. Arguments that named a checkpoint which this one carries are replaced by it.
        base: Class that the method has to be.

    Raises:
        InputError: The method is of another class, its arguments are not those of this version, or something is named that
            the user has not vouched for.
    """
    stored = section["hyper_parameters"]
    class_path = stored["_class_path"]
    arguments = {key: value for key, value in stored.items() if not key.startswith("_")}
    try:
        with trusted_classes_only() as check:
            check(class_path)
            kind = find_class(class_path)
            if not issubclass(kind, base):
                raise InputError(
                    f"{path}: holds a {class_path}, expected a {path_of(base)}; give the checkpoint of "
                    "the right run, or the experiment that belongs to this one."
                )
            arguments |= dict.fromkeys(kind.self_contained, str(path))
            parser, section = _section(class_path, arguments, base)
            understood = parser.dump(section, format="json", skip_unset=False)
    except RefusedClassError as refused:
        package = str(refused).partition(".")[0]
        advice = f"If you know the package {package} and where the file is from, add --trust {package}; in Python, "
        advice += f'load_generator(..., trust="{package}").'
        raise InputError(
            f"{path}: names {refused}, which is no class of tumorgen; a checkpoint may not choose what is imported and run. "
            + (advice if package not in (*sys.stdlib_module_names, "tumorgen", "torch") else "Do not load it.")
        ) from None
    except ArgumentError as error:
        raise InputError(f"{path}: no method can be built from its hyperparameters: {one_line(str(error))}") from error
    model = json.loads(understood)["model"]
    # only what was understood is handed on: the command line reads it again, and is not as strict
    arguments = {**model.get("init_args", {}), **model.get("dict_kwargs", {})}
    if "${" in understood or not all(name.isidentifier() for name in arguments):
        raise InputError(f"{path}: its hyperparameters are not what `tumorgen fit` writes. Do not load it.")
    return kind, arguments


def build(class_path: str, arguments: Mapping[str, Any], base: type[Kind]) -> Kind:
    """Builds a method as the command line does: nested `class_path` sections become objects.

    Args:
        class_path: For example `tumorgen.methods.vqgan.VQGAN`.
        arguments: Constructor arguments, plain data.
        base: Class that it has to be.

    Raises:
        InputError: The constructor refuses its arguments.
    """
    try:
        parser, section = _section(class_path, arguments, base)
        return cast(Kind, parser.instantiate_classes(section).model)
    except Exception as error:
        refused = input_error_behind(error)
        if refused is None:
            raise
        raise refused from error


def load_weights(module: Method, checkpoint: Mapping[str, Any], path: Path | str) -> None:
    """Copies the weights of a checkpoint into a module, all of them or none.

    Raises:
        InputError: Names or shapes differ; the first of them are listed.
    """
    own, stored = module.state_dict(), checkpoint["state_dict"]
    differing = sorted(set(own) ^ set(stored)) + sorted(
        name for name in set(own) & set(stored) if own[name].shape != stored[name].shape
    )
    if differing:
        first = ", ".join(differing[:4]) + (f" and {len(differing) - 4} more" if len(differing) > 4 else "")
        raise InputError(
            f"{path}: its weights do not fit this {type(module).__name__}: {first}. The checkpoint is of a run with "
            "other settings; use the config.yaml that lies beside it."
        )
    module.on_load_checkpoint(cast(dict[str, Any], checkpoint))
    module.load_state_dict(stored)


def path_of(kind: type[Method]) -> str:
    """Where a class can be imported from."""
    return f"{kind.__module__}.{kind.__qualname__}"


def find_class(class_path: str) -> type[Method]:
    """The class of a method, imported.

    Raises:
        InputError: There is no such class in this version of tumorgen.
    """
    package, _, name = class_path.rpartition(".")
    try:
        found: type[Method] = getattr(import_module(package), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{class_path}: no such method in this version of tumorgen ({error}).") from error
    return found


def _section(class_path: str, arguments: Mapping[str, Any], base: type[Method]) -> tuple[Parser, Namespace]:
    """What the command line would make of a model's section, and the parser that builds it."""
    parser = Parser(parser_mode="yaml")  # a checkpoint refers to nothing outside of itself
    parser.add_subclass_arguments(base, "model", fail_untyped=False)
    # as keywords, those that a constructor passes on are welcome too
    return parser, parser.parse_object({"model": {"class_path": class_path, "dict_kwargs": dict(arguments)}})
