"""How options are read, by every command alike; without torch and Lightning, so that `--help` answers at once."""

from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from jsonargparse._typehints import ActionTypeHint
from omegaconf.errors import OmegaConfBaseException

from data_modules.errors import InputError

_BOOLEANS = ("true", "false")


class OptionParser(ArgumentParser):
    """jsonargparse's parser with the rules of this program.

    A yes-or-no option can stand alone: `--overwrite` is `--overwrite true`. `${trainer.max_steps}` and `${oc.env:NAME}` are
    resolved over the complete configuration, typed options and defaults included. Abbreviated options are refused: a
    misspelled one would be taken for another.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        rules = {"exit_on_error": False, "allow_abbrev": False, "parser_mode": "omegaconf+"}
        super().__init__(*args, **{**rules, **kwargs})

    def parse_args(self, args: Sequence[str] | None = None, *rest: Any, **kwargs: Any) -> Namespace:
        """As jsonargparse does.

        Raises:
            ArgumentError: An option is unknown or its value is not of its type.
            InputError: A `${...}` cannot be resolved.
        """
        try:
            return super().parse_args(None if args is None else self._with_values(args), *rest, **kwargs)
        except OmegaConfBaseException as error:
            raise unresolved(error, str(error.full_key)) from error

    def _with_values(self, words: Sequence[str]) -> list[str]:
        """Gives options of type bool that stand alone their value."""
        written = []
        free = any(not action.option_strings for action in self._actions)  # the next word may be a path
        for word, following in zip(words, [*words, "--"][1:], strict=True):
            action = self._option_string_actions.get(word)
            alone = following.startswith("--") or (free and following.lower() not in _BOOLEANS)
            is_flag = isinstance(action, ActionTypeHint) and action._typehint is bool
            written.append(f"{word}=true" if is_flag and alone else word)
        return written


def command_parser(
    command: str, description: str | None, kind: type[OptionParser] = OptionParser, **options: Any
) -> OptionParser:
    """The parser of a command other than Lightning's four, with `--config`.

    Args:
        command: Its name.
        description: What `--help` says of it.
        kind: `tumorgen.parsing.Parser` where classes are composed.
        **options: Of the parser.
    """
    parser = kind(prog=f"tumorgen {command}", description=description, **options)
    parser.add_argument("-c", "--config", action="config", help="YAML file with options; those typed after it win")
    return parser


def add_trust(parser: ArgumentParser) -> None:
    """Adds the option of all commands that take a checkpoint."""
    parser.add_argument(
        "--trust",
        type=str | list[str],
        default="",
        help="packages, with commas, whose classes a checkpoint may name beside those of tumorgen: your own",
    )


def unresolved(error: OmegaConfBaseException, key: str) -> InputError:
    """What there is to say of a `${...}` that cannot be resolved."""
    reason = str(error).splitlines()[0]
    return InputError(
        f"{key}: {reason}; expected the name of another option in full, as in ${{trainer.max_steps}}, or "
        "${oc.env:NAME} with NAME set."
    )
