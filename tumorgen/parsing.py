"""How classes are composed from YAML, options and checkpoints: a newly chosen class starts afresh, `${...}` is resolved."""

from argparse import Action
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jsonargparse._typehints as typehints
from jsonargparse import ArgumentParser, Namespace
from jsonargparse._common import lenient_check
from lightning.pytorch.cli import LightningArgumentParser
from omegaconf.errors import OmegaConfBaseException

from data_modules.errors import InputError


class Parser(LightningArgumentParser):
    """Lightning's parser, in which a changed `class_path` keeps nothing of the class that it replaces.

    `${trainer.max_steps}` and `${oc.env:NAME}` are resolved over the complete configuration, typed options and defaults
    included. Abbreviated options are refused: a misspelled one would be taken for another.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(
            *args, **{"exit_on_error": False, "allow_abbrev": False, "parser_mode": "omegaconf+", **kwargs}
        )

    def parse_args(self, args: Sequence[str] | None = None, *rest: Any, **kwargs: Any) -> Namespace:
        """As jsonargparse does.

        Raises:
            ArgumentError: An option is unknown or its value is not of its type.
            InputError: A `${...}` cannot be resolved, or an option of a class is typed before the class.
        """
        _check_order(args or ())
        try:
            with _new_classes_start_afresh():
                return super().parse_args(args, *rest, **kwargs)
        except OmegaConfBaseException as error:
            raise unresolved(error, str(error.full_key)) from error

    def parse_object(self, *args: Any, **kwargs: Any) -> Namespace:
        """As jsonargparse does.

        Raises:
            ArgumentError: An option is unknown or its value is not of its type.
        """
        with _new_classes_start_afresh():
            return super().parse_object(*args, **kwargs)

    def _check_value_key(self, action: Action, value: Any, *rest: Any, **kwargs: Any) -> Any:
        """Lets `{LGG: ${oc.env:COUNT}}` pass until it is resolved; jsonargparse does so for a `${...}` that stands alone."""
        try:
            return super()._check_value_key(action, value, *rest, **kwargs)
        except TypeError:
            if lenient_check.get() and "${" in str(value):
                return value
            raise


def unresolved(error: OmegaConfBaseException, key: str) -> InputError:
    """What there is to say of a `${...}` that cannot be resolved."""
    reason = str(error).splitlines()[0]
    return InputError(
        f"{key}: {reason}; expected the name of another option in full, as in ${{trainer.max_steps}}, or "
        "${oc.env:NAME} with NAME set."
    )


def add_trust(parser: ArgumentParser) -> None:
    """Adds the option of all commands that take a checkpoint."""
    parser.add_argument(
        "--trust",
        type=str | list[str],
        default="",
        help="packages, with commas, whose classes a checkpoint may name beside those of tumorgen: your own",
    )


@contextmanager
def _new_classes_start_afresh() -> Iterator[None]:
    """Within this, a changed `class_path` drops all options of the earlier class, wherever they came from.

    jsonargparse itself carries over what the new class has an option of the same name for, also the earlier class's
    defaults: `--model.optimizer torch.optim.AdamW` would get the learning rate of the optimizer that it replaces. All its
    ways of merging (a second YAML, the command line, nested classes) ask one function what to discard; this replaces it.
    """
    original = typehints.discard_init_args_on_class_path_change

    def discard_all(_: Any, earlier: Any, chosen: Any) -> None:
        if earlier and earlier.get("init_args") and earlier["class_path"] != chosen["class_path"]:
            earlier["init_args"] = Namespace()

    typehints.discard_init_args_on_class_path_change = discard_all
    try:
        yield
    finally:
        typehints.discard_init_args_on_class_path_change = original


def _check_order(words: Sequence[str]) -> None:
    """Refuses `--model.optimizer.lr 0.1 --model.optimizer CLASS`: the value would be dropped with the class it was typed for."""
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    for position, option in enumerate(options):
        for earlier in options[:position]:
            if earlier.startswith(f"{option}."):
                raise InputError(
                    f"{earlier}: stands before {option}, which chooses a class that starts from its own defaults; type "
                    f"{option} first."
                )
