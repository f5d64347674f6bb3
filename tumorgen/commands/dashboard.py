"""``tumorgen dashboard``: curves, sample sheets, codebook health, sample quality and benchmark tables, laid out at once.

Creates a workspace and a report in a project of Weights & Biases; with --output it writes their specification to a file
instead, which needs neither account nor network.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tumorgen.options import command_parser

if TYPE_CHECKING:
    from tumorgen.results.tables import Table


def run(argv: Sequence[str]) -> int:
    """Creates the dashboard, or writes its specification.

    Returns:
        0.

    Raises:
        InputError: There are no runs, `wandb-workspaces` is missing, nobody is logged in, or a result file cannot be read.
    """
    parser = command_parser("dashboard", __doc__)
    parser.add_argument("--project", type=str, default="tumorgen", help="project that holds the runs")
    parser.add_argument("--entity", type=str, default="", help="user or team (default: the account's)")
    parser.add_argument(
        "--runs_dir", type=Path, default=Path("runs"), help="folder of runs: what they have logged is laid out"
    )
    parser.add_argument(
        "--results",
        type=list[Path],
        default=[],
        help="evaluation.json or benchmark.json files, or their folders, whose tables end the report: '[DIR, DIR]'",
    )
    parser.add_argument("--output", type=Path | None, default=None, help="write the specification here; upload nothing")
    options = parser.parse_args(list(argv))
    from data_modules.files import write_json
    from tumorgen.results.dashboard.layout import find_runs, sections
    from tumorgen.results.dashboard.workspace import Place, save, specification

    place, parts = Place(options.project, options.entity), sections(find_runs(options.runs_dir))
    tables = [table for path in options.results for table in result_tables(path)]
    if options.output is None:
        for address in save(place, parts, tables):
            print(address)
        return 0
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.output, specification(place, parts, tables))
    print(options.output)
    return 0


def result_tables(path: Path) -> list["Table"]:
    """The tables of a result file, or of those in a folder.

    Raises:
        InputError: There is no result file, or it cannot be read.
    """
    from data_modules.errors import InputError
    from tumorgen.results.layouts import benchmark_tables, evaluation_tables
    from tumorgen.results.records import read_results

    forms = {"evaluation": evaluation_tables, "benchmark": benchmark_tables}
    files = [path / f"{kind}.json" for kind in forms if (path / f"{kind}.json").is_file()] if path.is_dir() else [path]
    if not files:
        raise InputError(f"--results: {path} holds neither evaluation.json nor benchmark.json.")
    tables = []
    for file in files:
        results = read_results(file)
        if results.kind not in forms:
            raise InputError(f"--results: {file} is of kind {results.kind}; expected {' or '.join(forms)}.")
        tables += forms[results.kind](results.records)
    return tables
