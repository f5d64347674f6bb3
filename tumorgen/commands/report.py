"""``tumorgen report``: results of evaluations, benchmarks and runs as one HTML page that needs no server and no network."""

from collections.abc import Sequence
from pathlib import Path

from data_modules.errors import InputError
from tumorgen.options import OptionParser, command_parser


def run(argv: Sequence[str]) -> int:
    """Writes the page, and its tables as Markdown, LaTeX and plain text.

    Raises:
        InputError: A path holds no results, a result is damaged, the output is there already, or the viewer's package is
            not in the cache.
    """
    options = _parser().parse_args(list(argv))
    if options.output.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--output: {options.output} is no HTML file; name one, for example report.html")
    if options.output.exists() and not options.overwrite:
        raise InputError(f"--output: {options.output} is there already; choose another name or add --overwrite")
    write_report(options.results, options.output, options.viewer, options.tables, options.title)
    return 0


def write_report(
    results: Sequence[Path],
    output: Path,
    viewer: bool = True,
    tables: Path | None = None,
    title: str = "Synthetic brain tumour regions",
) -> None:
    """Does the work of the command.

    Args:
        results: Folders or result files, as `sources.find_sources` recognises them.
        output: The page.
        viewer: Whether to put the volume viewer in.
        tables: Folder for the tables; None takes that of the page.
        title: Heading of the page.
    """
    from tumorgen.results.html.page import build, write_page
    from tumorgen.results.html.sources import find_sources
    from tumorgen.results.html.viewer import bundle
    from tumorgen.results.tables import write_tables

    sources = find_sources(results)
    script = bundle() if viewer and sources.volumes else None
    report = build(sources, with_viewer=script is not None)
    write_page(output, report, script, title)
    print(f"{output}: {output.stat().st_size / 1e6:.1f} MB, {len(report.records)} records")
    if report.tables:
        for path in write_tables(tables or output.parent, report.tables, f"{output.stem}_tables"):
            print(path)


def _parser() -> OptionParser:
    parser = command_parser("report", __doc__)
    parser.add_argument(
        "results",
        type=Path,
        nargs="+",
        metavar="RESULTS",
        help="folders that tumorgen evaluate, benchmark, fit or predict wrote, or a folder of such folders",
    )
    parser.add_argument("--output", type=Path, default=Path("report.html"), help="HTML file to write")
    parser.add_argument(
        "--tables",
        type=Path | None,
        default=None,
        help="folder for the tables in Markdown, LaTeX and plain text (the page's)",
    )
    parser.add_argument("--title", type=str, default="Synthetic brain tumour regions", help="heading of the page")
    parser.add_argument(
        "--viewer",
        type=bool,
        default=True,
        help="put in the volume viewer, which `tumorgen weights viewer` fetches once",
    )
    parser.add_argument("--overwrite", type=bool, default=False, help="replace a page that is already there")
    return parser
