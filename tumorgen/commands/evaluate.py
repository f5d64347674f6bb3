"""``tumorgen evaluate``: generated against real volumes, with the real-versus-real floor beside every figure."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jsonargparse import ArgumentParser

from data_modules.errors import InputError

if TYPE_CHECKING:
    from data_modules.volumes.folder import VolumeFolder
    from tumorgen.evaluation.groups import Settings


def run(argv: Sequence[str]) -> int:
    """Runs `tumorgen evaluate --real DIR --generated DIR --output DIR`.

    Writes `evaluation.json`, `table.md`, `table.tex`, `table.txt` and `pictures/`, and prints the tables.

    Raises:
        InputError: Folders, files or options cannot be used; the output folder holds something already.
    """
    parser = _parser()
    options = parser.parse_args(list(argv))
    _check(options)
    import torch
    from rich.console import Console

    from tumorgen.evaluation.features import extractors_for
    from tumorgen.evaluation.folder import check_output, evaluate_to
    from tumorgen.evaluation.groups import Settings
    from tumorgen.results.layouts import evaluation_tables

    check_output(options.output, options.overwrite)
    settings = Settings(**{field.name: options[field.name] for field in fields(Settings)})
    console, progress = Console(), Console(stderr=True)

    def say(what: str) -> None:
        progress.print(what, style="dim", markup=False, highlight=False)

    real, generated, training = _folders(options, settings)
    for folder in filter(None, (real, generated, training)):
        for note in folder.conversions:
            say(f"{folder.folder}: {note}")
    names = [name.strip() for name in options.features.split(",") if name.strip()]
    say("feature extractors")
    extractors = extractors_for(names, real, training, settings.seed, options.script_normalisation)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    extractors = [extractor.to(device) for extractor in extractors]
    evaluation = evaluate_to(
        options.output,
        real,
        generated,
        extractors,
        settings,
        label=options.label,
        training=training,
        overwrite=options.overwrite,
        say=say,
    )
    for table in evaluation_tables(evaluation.records):
        console.print(table.to_rich())
    print(options.output)
    return 0


def _parser() -> ArgumentParser:
    from tumorgen.evaluation.groups import Settings

    parser = ArgumentParser(prog="tumorgen evaluate", description=__doc__, exit_on_error=False, allow_abbrev=False)
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
        "--features",
        type=str,
        default="mri,classifier",
        help="feature spaces, with commas: mri, "
        "classifier (trained here), a classifier's checkpoint (.ckpt), TorchScript files (trusted ones only: "
        "they are run)",
    )
    parser.add_argument(
        "--script_normalisation",
        type=Literal["none", "zscore"],
        default="none",
        help="what TorchScript networks see: [-1, 1], or z-scores of the tumour's voxels on 0",
    )
    parser.add_argument(
        "--label", type=str | None, default=None, help="what to call the generated volumes; default: the folder's name"
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
    parser.add_class_arguments(Settings)
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


def _folders(options: Any, settings: "Settings") -> tuple["VolumeFolder", "VolumeFolder", "VolumeFolder | None"]:
    """Real, generated and training volumes; the latter two as the first one is."""
    from data_modules.volumes.folder import VolumeFolder

    def read(folder: Path, which: str, **alike: Any) -> VolumeFolder:
        intensities, axes = options[f"{which}_intensities"], options[f"{which}_axes"]
        return VolumeFolder(
            folder,
            intensities=intensities,
            axes=axes,
            convert=options.convert,
            keep=int(settings.memory * 2**29),
            **alike,
        )

    real = read(options.real, "real")
    alike = {"class_names": real.class_names, "roi_size": real.roi_size, "spacing": real.spacing}
    training = None if options.training is None else read(options.training, "real", **alike)
    return real, read(options.generated, "generated", **alike), training
