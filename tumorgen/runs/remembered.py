"""What a checkpoint remembers of its model, as the first words of a command line: whatever is typed comes later and wins."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from data_modules.errors import InputError
from tumorgen.methods.loading import architecture, find_class

_HELP = ("-h", "--help", "--print_config")


def checkpoint_named(args: Sequence[str]) -> str | None:
    """The `ckpt_path` that a command line names, itself or in a configuration file; the last one counts.

    Returns:
        None where there is none, for example because only help is asked for.
    """
    settings = OmegaConf.create()
    for word, following in zip(args, [*args[1:], ""], strict=True):
        option, equals, value = word.partition("=")
        value = value if equals else following
        if option == "--ckpt_path":
            settings.ckpt_path = value
        elif option in ("-c", "--config") and Path(value).is_file():
            try:
                settings.merge_with(OmegaConf.load(value))
            except (OSError, UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException):
                continue  # the parser reads the file too, and says what is wrong with it
    return cast(str | None, settings.get("ckpt_path"))


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
