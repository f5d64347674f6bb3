"""The front door: reads the command, imports only what it needs. Nothing but the standard library at module level."""

import importlib
import os
import sys
from collections.abc import Sequence

TRAINING = {
    "fit": "train a model: tumorgen fit --config experiments/vqgan.yaml --data.root DIR",
    "validate": "metrics of a checkpoint on the validation cases",
    "test": "metrics of a checkpoint on the held-out fold",
    "predict": "sample new tumours from a checkpoint",
}
COMMANDS = {
    "prepare": "cut the ROIs of a cohort into the cache (fit does it by itself)",
    "phantom": "write a cohort of artificial cases, for tests and demonstrations only",
    "weights": "fetch and check the perceptual weights and the report's viewer, once",
    "reconstruct": "put one case of yours through a trained tokenizer",
    "evaluate": "generated tumours against real ones: distances, diversity, memorisation",
    "benchmark": "do generated tumours help a classifier of real ones? Arms, folds, seeds, statistics",
    "report": "everything that was found on one page that opens anywhere",
    "dashboard": "lay out the Weights & Biases workspace of an experiment",
    "demo": "the whole method on phantoms, on a CPU, with a check of what came out",
    "import-checkpoint": "turn a checkpoint of the published code into one of tumorgen",
    "init": "copy the shipped experiments into a folder of yours",
}


def usage() -> str:
    """The text of `tumorgen --help`."""
    rows = "\n".join(f"  {name:<18}{line}" for name, line in {**TRAINING, **COMMANDS}.items())
    return (
        "usage: tumorgen COMMAND [OPTIONS]\n\n"
        "Class-conditional generation of 3D brain tumour regions.\n\n"
        f"{rows}\n\n"
        "`tumorgen COMMAND --help` lists the options of one command, those of a model\n"
        "`tumorgen fit --model.help tumorgen.methods.vqgan.module.VQGAN`; `tumorgen --version` prints the version.\n"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: Words after the program's name; None reads `sys.argv`.

    Returns:
        The exit status: 0, or 2 when the input cannot be used (one line on standard error says why).
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage(), end="")
        return 0
    if words[0] == "--version":
        from tumorgen import __version__

        print(f"tumorgen {__version__}")
        return 0
    command, rest = words[0], words[1:]
    if command not in TRAINING and command not in COMMANDS:
        return _refuse(f"unknown command '{command}'.{_suggestion(command)} `tumorgen --help` lists the commands.")
    # read when torch is loaded: threads that spin while they wait take the cores from every other process, and sampling, which
    # is made of small steps, becomes up to ten times slower for it
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from argparse import ArgumentError

    from data_modules.errors import input_error_behind

    try:
        if command in TRAINING:
            importlib.import_module("tumorgen.cli").main(words)
            return 0
        module = importlib.import_module(f"tumorgen.commands.{command.replace('-', '_')}")
        return int(module.run(rest))
    except KeyboardInterrupt:
        print("tumorgen: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if refused := input_error_behind(error):
            return _refuse(str(refused))
        if isinstance(error, ArgumentError):
            from tumorgen.option_errors import one_line

            return _refuse(f"{one_line(str(error))} `tumorgen {command} --help` lists the options.")
        raise


def _refuse(message: str) -> int:
    print(f"tumorgen: error: {message}", file=sys.stderr)
    return 2


def _suggestion(command: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(command, [*TRAINING, *COMMANDS], n=1)
    return f" Did you mean '{close[0]}'?" if close else ""


if __name__ == "__main__":
    sys.exit(main())
