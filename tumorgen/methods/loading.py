"""Checkpoints as plain data: read without running code, checked for what they hold, built into a module again."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from lightning import LightningModule
from lightning.pytorch.cli import instantiate_module

from data_modules.errors import InputError

TRUSTED_PACKAGES = ("tumorgen.", "torch.optim.")

Module = TypeVar("Module", bound=LightningModule)


def read_checkpoint(path: Path | str) -> dict[str, Any]:
    """Reads a checkpoint that `tumorgen fit` wrote, tensors on the CPU, without executing anything in it.

    Raises:
        InputError: The file is missing, is no checkpoint of tumorgen, or names classes outside `TRUSTED_PACKAGES`.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint; expected a .ckpt file written by `tumorgen fit`.")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path}: not readable as a checkpoint ({reason}); expected a file written by `tumorgen fit`. "
            "A file cut short by a full disk or a copy looks like this: copy it again or take another one."
        ) from error
    if not isinstance(checkpoint, dict) or "_class_path" not in checkpoint.get("hyper_parameters", {}):
        raise InputError(f"{path}: holds no hyperparameters of a tumorgen model; was it written by `tumorgen fit`?")
    for class_path in _class_paths([checkpoint["hyper_parameters"], checkpoint.get("tokenizer", {})]):
        if not class_path.startswith(TRUSTED_PACKAGES):
            raise InputError(
                f"{path}: names the class {class_path}, which is outside {' and '.join(TRUSTED_PACKAGES)}; a checkpoint "
                "may not choose what is imported. If you wrote that class, append its package to "
                "tumorgen.methods.loading.TRUSTED_PACKAGES before you load."
            )
    return checkpoint


def architecture(checkpoint: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The class path and the constructor arguments that the model of a checkpoint was built with."""
    arguments = {key: value for key, value in checkpoint["hyper_parameters"].items() if not key.startswith("_")}
    return checkpoint["hyper_parameters"]["_class_path"], arguments


def build(class_path: str, arguments: Mapping[str, Any], base: type[Module] = LightningModule) -> Module:
    """Builds a module as the command line does: nested `class_path` sections become objects, and are remembered.

    Args:
        class_path: For example `tumorgen.methods.vqgan.VQGAN`.
        arguments: Constructor arguments, plain data.
        base: Class that the module has to be.

    Raises:
        InputError: The constructor refuses its arguments.
    """
    try:
        return cast(Module, instantiate_module(base, {"_class_path": class_path, **arguments}))
    except Exception as error:
        refused = input_error_behind(error)
        if refused is None:
            raise
        raise refused from error


def load_module(path: Path | str, base: type[Module], **replaced: Any) -> Module:
    """Builds the module of a checkpoint with its weights, in evaluation mode on the CPU.

    Args:
        path: A checkpoint written by `tumorgen fit`.
        base: Class that the module has to be.
        **replaced: Constructor arguments that replace those of the checkpoint.

    Raises:
        InputError: As `read_checkpoint`; also when the model is of another class, or the weights do not fit.
    """
    checkpoint = read_checkpoint(path)
    check_class(path, checkpoint, base)
    class_path, arguments = architecture(checkpoint)
    arguments |= dict.fromkeys(getattr(find_class(class_path), "self_contained", ()), str(path))
    module = build(class_path, {**arguments, **replaced}, base)
    load_weights(module, checkpoint, path)
    return module.eval()


def load_weights(module: LightningModule, checkpoint: Mapping[str, Any], path: Path | str) -> None:
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


def check_class(path: Path | str, checkpoint: Mapping[str, Any], base: type[LightningModule]) -> None:
    """Makes sure that a checkpoint holds the expected kind of model.

    Raises:
        InputError: It holds another one.
    """
    class_path, _ = architecture(checkpoint)
    if not issubclass(find_class(class_path), base):
        raise InputError(
            f"{path}: holds a {class_path}, expected a {base.__module__}.{base.__qualname__}; give the checkpoint of the "
            "right run, or the experiment that belongs to this one."
        )


def input_error_behind(error: BaseException | None) -> InputError | None:
    """The `InputError` that jsonargparse wrapped into errors of its own, if there is one."""
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__ or error.__context__
    return error


def find_class(class_path: str) -> type[LightningModule]:
    """The class of a model, imported.

    Raises:
        InputError: There is no such class in this version of tumorgen.
    """
    package, _, name = class_path.rpartition(".")
    try:
        found: type[LightningModule] = getattr(import_module(package), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{class_path}: no such model in this version of tumorgen ({error}).") from error
    return found


def _class_paths(value: Any, key: str = "") -> list[str]:
    """Every class named in nested hyperparameters."""
    if isinstance(value, Mapping):
        return [path for name, item in value.items() for path in _class_paths(item, name)]
    if isinstance(value, list | tuple):
        return [path for item in value for path in _class_paths(item)]
    return [value] if key in ("class_path", "_class_path") and isinstance(value, str) else []
