"""`tumorgen phantom`: synthetic glioma patients in BraTS 2019 layout, for tests and demonstrations only."""

import time
from collections.abc import Sequence
from pathlib import Path

from data_modules.phantoms.cohort import PhantomCohort, write_cohort
from tumorgen.options import OptionParser, command_parser


def run(argv: Sequence[str]) -> int:
    """Runs `tumorgen phantom --output DIR --hgg N --lgg N --seed S`; an interrupted cohort is continued.

    Args:
        argv: Words after `phantom`.

    Returns:
        0: the cohort is complete.

    Raises:
        InputError: if the folder holds something else, or the numbers make no cohort.
        ArgumentError: for unknown or malformed options.
    """
    options = _parser().parse_args(list(argv))
    cohort = PhantomCohort(hgg=options.hgg, lgg=options.lgg, seed=options.seed)
    start = time.monotonic()
    written = write_cohort(options.output, cohort, options.num_workers)
    seconds = time.monotonic() - start
    print(f"{options.output}: {len(cohort.cases())} phantoms ({written} written now, {seconds:.0f} s)")
    return 0


def _parser() -> OptionParser:
    parser = command_parser("phantom", __doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder of the cohort: new, or the same one")
    parser.add_argument("--hgg", type=int, required=True, help="number of high-grade cases")
    parser.add_argument("--lgg", type=int, required=True, help="number of low-grade cases")
    parser.add_argument("--seed", type=int, default=0, help="what the cases follow from")
    parser.add_argument("--num_workers", type=int | None, default=None, help="processes; null takes one per core")
    return parser
