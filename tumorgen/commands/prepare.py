"""`tumorgen prepare`: cuts the regions of interest of a cohort into the cache; `fit` does the same by itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from data_modules.brats import BraTSDataModule

# Sections of an experiment that say nothing about the data: any content passes, `fit` will judge it.
_OTHER_SECTIONS = (
    "model",
    "trainer",
    "experiment",
    "runs_dir",
    "run_id",
    "resume",
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
    from data_modules.brats import BraTSDataModule
    from data_modules.errors import InputError
    from data_modules.volumes.export import export_volumes

    parser = _parser()
    options = parser.instantiate_classes(parser.parse_args(list(argv)))
    data, folder = options.data, options.export
    if folder is not None and not isinstance(data, BraTSDataModule):
        raise InputError(
            f"--export: a {type(data).__name__} has no regions of a cohort to write; expected a BraTSDataModule"
        )
    data.prepare_data()
    if isinstance(data, BraTSDataModule):  # other data modules have caches of their own kind, or none
        data.setup()
        _report(data)
    if folder is not None:
        print(export_volumes(data, folder))
    return 0


def _parser() -> "ArgumentParser":
    from jsonargparse import ActionConfigFile

    from data_modules.base import ROIDataModule
    from tumorgen.parsing import Parser

    parser = Parser(
        prog="tumorgen prepare",
        description="Cuts the regions of interest of a cohort into the cache, with a manifest and the folds. "
        "`tumorgen prepare --data.help data_modules.brats.BraTSDataModule` lists all options.",
    )
    parser.add_argument("-c", "--config", action=ActionConfigFile, help="an experiment; only its data section counts")
    parser.add_subclass_arguments(ROIDataModule, "data", fail_untyped=False, required=True)
    parser.add_argument(
        "--export", type=Path | None, default=None, help="folder to write all regions to, as NIfTI with a manifest"
    )
    parser.set_defaults({"data": {"class_path": "data_modules.brats.BraTSDataModule"}})
    for section in _OTHER_SECTIONS:
        parser.add_argument(f"--{section}", type=Any, default=None, help="not used by this command")
    return parser


def _report(data: "BraTSDataModule") -> None:
    """Prints cases and cropped tumours per class, and where everything lies."""
    from rich.console import Console
    from rich.table import Table

    table = Table("class", "label", "cases", "patients", "cropped", "training", "validation", "test")
    manifest = data.manifest
    parts = [part for part in (data.train, data.val, data.test) if part is not None]
    for label, name in enumerate(manifest.class_names):
        own = [entry for entry in manifest.entries if entry.label == label]
        figures = [
            label,
            len(own),
            len({entry.patient for entry in own}),
            sum(entry.roi.cropped_voxels > 0 for entry in own),
            *(sum(entry.label == label for entry in part.entries) for part in parts),
        ]
        table.add_row(name, *map(str, figures))
    console = Console()
    console.print(table)
    console.print(f"{data.manifest_path.parent}", markup=False, highlight=False, soft_wrap=True)
