"""How classes are composed from YAML, options and checkpoints: a newly chosen class starts afresh."""

from argparse import Action
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jsonargparse._typehints as typehints
from jsonargparse import Namespace
from jsonargparse._common import lenient_check
from lightning.pytorch.cli import LightningArgumentParser

from data_modules.errors import InputError
from tumorgen.options import OptionParser


class Parser(OptionParser, LightningArgumentParser):
    """Lightning's parser, in which a changed `class_path` keeps nothing of the class that it replaces."""

    def parse_args(self, args: Sequence[str] | None = None, *rest: Any, **kwargs: Any) -> Namespace:
        """As every command does.

        Raises:
            ArgumentError: An option is unknown or its value is not of its type.
            InputError: A `${...}` cannot be resolved, or an option of a class is typed before the class.
        """
        _check_order(args or ())
        with _new_classes_start_afresh():
            return super().parse_args(args, *rest, **kwargs)

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
