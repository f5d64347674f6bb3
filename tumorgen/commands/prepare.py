"""`tumorgen prepare`: cuts the regions of interest of a cohort into the cache; `fit` does the same by itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tumorgen.options import OptionParser, command_parser

if TYPE_CHECKING:
    from data_modules.base import Part, ROIDataModule

# Sections of an experiment that say nothing about the data: any content passes, `fit` will judge it.
_OTHER_SECTIONS = (
    "model",
    "trainer",
    "experiment",
    "runs_dir",
    "run_id",
    "resume",
    "system",
    "trust",
    "wandb",
    "seed_everything",
    "ckpt_path",
    "optimizer",
    "lr_scheduler",
    "weights_only",
)


def run(argv: Sequence[str]) -> int:
    """Runs `tumorgen prepare --data.root DIR ...` or `tumorgen prepare --config experiments/vqgan.yaml ...`.

    `--export DIR` also writes the regions as NIfTI, in the layout of generated volumes, for `tumorgen evaluate`.

    Args:
        argv: Words after `prepare`.

    Returns:
        0: every case is prepared.

    Raises:
        InputError: if cases cannot be used or cannot be split, or the folder to export to holds something else.
        ArgumentError: for unknown or malformed options.
    """
    from data_modules.volumes.export import export_volumes

    parser = _parser()
    options = parser.instantiate_classes(parser.parse_args(list(argv)))
    data: ROIDataModule = options.data
    data.prepare_data()
    data.setup("fit")
    _report(data)
    if options.export is not None:
        print(export_volumes(data, options.export))
    return 0


def _parser() -> OptionParser:
    from data_modules.base import ROIDataModule
    from tumorgen.parsing import Parser

    parser = command_parser(
        "prepare",
        "Cuts the regions of interest of a cohort into the cache, with a manifest and the folds. "
        "`tumorgen prepare --data.help data_modules.brats.BraTSDataModule` lists all options; "
        "of an experiment as --config, only its data section counts.",
        Parser,
    )
    parser.add_subclass_arguments(ROIDataModule, "data", fail_untyped=False, required=True)
    parser.add_argument(
        "--export", type=Path | None, default=None, help="folder to write all regions to, as NIfTI with a manifest"
    )
    parser.set_defaults({"data": {"class_path": "data_modules.brats.BraTSDataModule"}})
    for section in _OTHER_SECTIONS:
        parser.add_argument(f"--{section}", type=Any, default=None, help="not used by this command")
    return parser


def _report(data: "ROIDataModule") -> None:
    """Prints cases and patients per class, and what else the data module has to say."""
    from rich.console import Console
    from rich.table import Table

    remarks, parts = data.remarks(), data.parts()
    shown: tuple[Part, ...] = ("train", "val", "test")
    table = Table("class", "label", "cases", "patients", *remarks, "training", "validation", "test")
    for label, name in enumerate(data.class_names):
        counts = [int((parts[part].labels == label).sum()) if part in parts else 0 for part in shown]
        patients = {
            patient
            for volumes in parts.values()
            for patient, own in zip(volumes.patients, volumes.labels, strict=True)
            if own == label
        }
        further = [numbers[label] for numbers in remarks.values()]
        table.add_row(name, *map(str, [label, sum(counts), len(patients), *further, *counts]))
    console = Console()
    console.print(table)
    if data.place is not None:
        console.print(f"{data.place}", markup=False, highlight=False, soft_wrap=True)
