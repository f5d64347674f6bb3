"""``tumorgen init``: the shipped experiments in a folder of the user's, to be edited there."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from data_modules.errors import InputError
from tumorgen.options import command_parser


def shipped_experiments() -> Path:
    """The folder of the shipped YAMLs: package data of an installed tumorgen, or beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed, checkout = package / "experiments", package.parent / "experiments"
    return installed if installed.is_dir() else checkout


def run(argv: Sequence[str]) -> int:
    """Copies all experiments, or none when one of the names is taken.

    Raises:
        InputError: The target holds files of the same names, and `--overwrite` was not given.
    """
    parser = command_parser("init", __doc__)
    parser.add_argument("--output", type=Path, default=Path("experiments"), help="folder to copy into")
    parser.add_argument("--overwrite", type=bool, default=False, help="replace files that are already there")
    options = parser.parse_args(list(argv))
    source: Path = shipped_experiments()
    names = sorted(path.relative_to(source) for path in source.rglob("*.yaml"))
    taken = [name for name in names if (options.output / name).exists()]
    if taken and not options.overwrite:
        raise InputError(
            f"{options.output}: {len(taken)} of the {len(names)} experiments are already there ({taken[0]}, ...); choose "
            "another folder with --output, or replace them with --overwrite."
        )
    for name in names:
        (options.output / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, options.output / name)
    print(f"{len(names)} experiments in {options.output}", file=sys.stderr)
    return 0
