"""What a command line says of its checkpoint before it can be parsed: the checkpoint decides what model is parsed for."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from data_modules.errors import InputError
from tumorgen.methods.loading import path_of
from tumorgen.methods.method import Method
from tumorgen.options import unresolved

_HELP = ("-h", "--help", "--print_config")
_CLASS_PATH = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")


@dataclass(frozen=True)
class EarlySettings:
    """What has to be known first, from options and configuration files; the last one counts.

    Attributes:
        settings: What the configuration files say, and the options that are asked for below.
        classes: Every value that looks like the path of a class: a checkpoint may name what its user named.
    """

    settings: DictConfig
    classes: frozenset[str]

    @property
    def ckpt_path(self) -> str | None:
        """The checkpoint; None where none is named."""
        return cast(str | None, self._resolved("ckpt_path"))

    @property
    def trust(self) -> str | list[str]:
        """Packages that the user vouches for."""
        found = self._resolved("trust") or ""
        return found if isinstance(found, str) else list(found)

    def _resolved(self, name: str) -> Any:
        try:
            return self.settings.get(name)
        except OmegaConfBaseException as error:
            raise unresolved(error, name) from error


def early_settings(words: Sequence[str]) -> EarlySettings:
    """Reads them from the words after the command."""
    settings, classes = OmegaConf.create(), set[str]()
    for word, following in zip(words, [*words[1:], ""], strict=True):
        option, equals, value = word.partition("=")
        value = value if equals else following
        classes.update(_class_paths(value))
        if option in ("--ckpt_path", "--trust"):
            settings[option.removeprefix("--")] = value
        elif option in ("-c", "--config") and Path(value).is_file():
            try:
                settings.merge_with(OmegaConf.load(value))
            except (OSError, UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException):
                continue  # the parser reads the file too, and says what is wrong with it
    classes.update(_class_paths(OmegaConf.to_container(settings)))
    return EarlySettings(settings, frozenset(classes))


def _class_paths(value: Any) -> Iterator[str]:
    """The strings in nested data, or in YAML within a string, that are dotted names and nothing else."""
    if isinstance(value, str):
        if _CLASS_PATH.fullmatch(value):
            yield value
        elif value.lstrip()[:1] in ("{", "["):
            with suppress(yaml.YAMLError):
                yield from _class_paths(yaml.safe_load(value))
    elif isinstance(value, Mapping):
        yield from (path for item in value.values() for path in _class_paths(item))
    elif isinstance(value, list):
        yield from (path for item in value for path in _class_paths(item))


def asks_for_help(words: Sequence[str]) -> bool:
    """Whether nothing is going to run."""
    return any(word.startswith(_HELP) or word.partition("=")[0].endswith(".help") for word in words)


def check_typed(words: Sequence[str], kind: type[Method]) -> None:
    """Refuses `--model.X` where X is what was trained, not how it is used: silence would look like consent.

    Raises:
        InputError: Such an option was typed. In a configuration file it is passed over: those of `fit` can be given.
    """
    for word in words:
        if not word.startswith("--model."):
            continue
        parts = word.partition("=")[0].removeprefix("--model.").removeprefix("init_args.").split(".")
        if parts[0] not in kind.runtime_options:
            allowed = " and ".join(f"--model.{name}" for name in kind.runtime_options) or "nothing of the model"
            raise InputError(
                f"{word.partition('=')[0]}: the checkpoint's {kind.__name__} is built as it was trained; "
                f"this command may change {allowed}."
            )


def as_words(kind: type[Method], arguments: Mapping[str, Any]) -> list[str]:
    """The options that give the parser a model of this class with these constructor arguments."""
    return ["--model", json.dumps({"class_path": path_of(kind), "init_args": dict(arguments)}, default=str)]
