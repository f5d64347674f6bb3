"""``tumorgen demo``: the whole method on phantoms, from an empty folder to a check and a report, on two CPU cores."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data_modules.errors import InputError
from tumorgen.options import command_parser

if TYPE_CHECKING:
    from tumorgen.studies.demo.folders import DemoFolder
    from tumorgen.studies.demo.plans import Plan


def run(argv: Sequence[str]) -> int:
    """Runs the demonstration, or only its check.

    Parts that an earlier, interrupted demonstration finished are not done again.

    Returns:
        0, or 1 when a figure of the check is not reached.

    Raises:
        InputError: The folder holds something else, or, with `--check`, no demonstration.
    """
    parser = command_parser("demo", __doc__)
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder of everything that is made")
    parser.add_argument("--size", type=str, default="demo", help="demo (minutes) or showcase (more than an hour)")
    parser.add_argument(
        "--check", type=bool, default=False, help="only hold the figures of a finished one against the limits"
    )
    options = parser.parse_args(list(argv))
    from tumorgen.studies.demo.folders import DemoFolder
    from tumorgen.studies.demo.parts import parts, write_report
    from tumorgen.studies.demo.plans import PLANS

    if options.size not in PLANS:
        raise InputError(f"--size: found {options.size}, expected one of {', '.join(PLANS)}.")
    folder, plan = DemoFolder(options.output), PLANS[options.size]
    if options.check:
        return _check(folder, plan)
    begin = time.monotonic()
    todo = parts(folder, plan)
    for number, part in enumerate(todo, start=1):
        print(f"[{number}/{len(todo)}] {part.title}  ({time.monotonic() - begin:.0f} s)", file=sys.stderr, flush=True)
        part.work()
    status = _check(folder, plan)
    write_report(folder)
    print(f"done in {time.monotonic() - begin:.0f} s\n{folder.reconstructions}\n{folder.sheet}\n{folder.report}")
    return status


def _check(folder: "DemoFolder", plan: "Plan") -> int:
    from rich.console import Console
    from rich.table import Table

    from tumorgen.studies.demo.check import check

    findings = check(folder, plan.thresholds)
    table = Table(title=f"{plan.name}: what was reached")
    for column in ("figure", "found", "wanted", ""):
        table.add_column(column)
    for finding in findings:
        limit = (
            f"{finding.least:g} to {finding.most:g}" if finding.most < float("inf") else f"at least {finding.least:g}"
        )
        table.add_row(finding.name, f"{finding.value:.3f}", limit, "reached" if finding.reached else "NOT REACHED")
    Console().print(table)
    return 0 if all(finding.reached for finding in findings) else 1
