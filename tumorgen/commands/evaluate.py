"""``tumorgen evaluate``: generated against real volumes, with the real-versus-real floor beside every metric."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_modules.errors import InputError
from tumorgen.options import OptionParser, add_trust, command_parser
from tumorgen.parsing import Parser

if TYPE_CHECKING:
    from tumorgen.evaluation.compare import Folders


def run(argv: Sequence[str]) -> int:
    """Runs `tumorgen evaluate --real DIR --generated DIR --output DIR`.

    Writes `evaluation.json`, `table.md`, `table.tex`, `table.txt` and `pictures/`, and prints the tables.

    Raises:
        InputError: Folders, files or options cannot be used; the output folder holds something already.
    """
    parser = _parser()
    add_trust(parser)
    options = parser.parse_args(list(argv))
    _check(options)
    from rich.console import Console

    from tumorgen.evaluation.compare import Options
    from tumorgen.evaluation.folder import check_output, evaluate_to
    from tumorgen.methods.trust import trusting
    from tumorgen.metrics.metric import Resampling
    from tumorgen.results.layouts import evaluation_tables

    check_output(options.output, options.overwrite)
    how = Options(**{field.name: options[field.name] for field in fields(Options)})
    resampling = Resampling(**{field.name: options[field.name] for field in fields(Resampling)})
    metrics = parser.instantiate_classes(options).metrics
    console, errors = Console(), Console(stderr=True)

    def progress(what: str) -> None:
        errors.print(what, style="dim", markup=False, highlight=False)

    folders = _folders(options)
    for folder in filter(None, (folders.real, folders.generated, folders.training)):
        for note in folder.conversions:
            progress(f"{folder.folder}: {note}")
    with trusting(options.trust):
        evaluation = evaluate_to(options.output, folders, metrics, how, resampling, options.overwrite, progress)
    for table in evaluation_tables(evaluation.records):
        console.print(table.to_rich())
    print(options.output)
    return 0


def _parser() -> OptionParser:
    from tumorgen.evaluation.compare import Options
    from tumorgen.evaluation.listed import shipped_list
    from tumorgen.metrics.metric import Metric, Resampling

    parser = command_parser("evaluate", __doc__, Parser, default_config_files=[str(shipped_list())])
    parser.add_argument("--metrics", type=list[Metric], help="what is measured (experiments/evaluate.yaml)")
    parser.add_argument(
        "--real",
        type=Path,
        required=True,
        help="folder <class>/*.nii.gz of real volumes; `tumorgen "
        "prepare --export` writes one that knows training, validation and test",
    )
    parser.add_argument("--generated", type=Path, required=True, help="folder <class>/*.nii.gz of generated volumes")
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    parser.add_argument(
        "--training",
        type=Path | None,
        default=None,
        help="folder of the real volumes that the generator was trained on, if those of --real are all held out",
    )
    parser.add_argument(
        "--convert",
        type=bool,
        default=False,
        help="bring volumes of another size or spacing to that of the real ones, and clip values a bit outside of the range",
    )
    parser.add_argument("--overwrite", type=bool, default=False, help="replace an earlier evaluation in --output")
    for which in ("real", "generated"):
        parser.add_argument(
            f"--{which}_intensities",
            type=str | None,
            default=None,
            help=f"stored values of the {which} "
            "volumes that mean black and white, such as '[0, 1]', '0..1000' or '[-1, 1]', if no manifest does",
        )
        parser.add_argument(
            f"--{which}_axes",
            type=str | None,
            default=None,
            help=f"directions of the stored axes of the "
            f"{which} volumes, such as SPL for arrays (D, H, W), if their headers are of no worth",
        )
    parser.add_class_arguments(Options)
    parser.add_class_arguments(Resampling)
    return parser


def _check(options: Any) -> None:
    """Refuses what cannot work before anything is imported or read."""
    for key in ("real", "generated", "training"):
        folder = options[key]
        if folder is not None and not folder.is_dir():
            raise InputError(
                f"--{key}: {folder} is not a folder; expected one with a folder of NIfTI volumes per class."
            )
        if folder is not None and options.output.resolve() == folder.resolve():
            raise InputError(f"--output: {options.output} is the folder of --{key}; choose another one.")


def _folders(options: Any) -> "Folders":
    """Real, generated and training volumes; the latter two as the first one is."""
    from data_modules.volumes.folder import VolumeFolder
    from tumorgen.evaluation.compare import Folders

    def read(folder: Path, which: str, **alike: Any) -> VolumeFolder:
        intensities, axes = options[f"{which}_intensities"], options[f"{which}_axes"]
        return VolumeFolder(folder, intensities=intensities, axes=axes, convert=options.convert, **alike)

    real = read(options.real, "real")
    alike = {"class_names": real.class_names, "roi_size": real.roi_size, "spacing": real.spacing}
    training = None if options.training is None else read(options.training, "real", **alike)
    return Folders(real, read(options.generated, "generated", **alike), training)
