"""``tumorgen import-checkpoint``: a checkpoint written by the published code, as one of tumorgen."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data_modules.errors import InputError
from tumorgen.options import command_parser

if TYPE_CHECKING:
    from tumorgen.methods.published.convert import Imported
    from tumorgen.methods.published.tensors import PublishedFile


def run(argv: Sequence[str]) -> int:
    """Imports a stage-1 file (tokenizer) or a stage-2 file (transformer with its tokenizer); which one is detected.

    Raises:
        InputError: The file is unreadable or not one of the published code, options do not fit it, or the output is
            already there.
    """
    parser = command_parser("import-checkpoint", __doc__)
    parser.add_argument("file", type=Path, help="checkpoint written by the published code, of stage 1 or 2")
    parser.add_argument("--output", type=Path, required=True, help="checkpoint to write, for example published.ckpt")
    parser.add_argument(
        "--class_names",
        type=list[str] | None,
        default=None,
        help="classes in order of their labels (default: '[LGG, HGG]')",
    )
    parser.add_argument("--spacing", type=float, default=1.0, help="side of a voxel in mm (published: 1)")
    parser.add_argument(
        "--heads", type=int | None, default=None, help="attention heads of the transformer, stage 2 (default: 16)"
    )
    parser.add_argument("--overwrite", type=bool, default=False, help="replace the output if it is already there")
    options = parser.parse_args(list(argv))
    if not 0 < options.spacing < float("inf"):
        raise InputError(f"--spacing is {options.spacing}; expected a length in mm above 0.")
    if options.heads is not None and options.heads < 1:
        raise InputError(f"--heads is {options.heads}; expected 1 or more.")
    import_checkpoint(
        options.file, options.output, options.class_names, options.spacing, options.heads, options.overwrite
    )
    return 0


def import_checkpoint(
    path: Path,
    output: Path,
    class_names: Sequence[str] | None = None,
    spacing: float = 1.0,
    heads: int | None = None,
    overwrite: bool = False,
) -> None:
    """Does the work of the command, and prints what was taken.

    Args:
        path: A file of the published code.
        output: Checkpoint to write.
        class_names: In the order of their labels; None: LGG and HGG.
        spacing: Side of a voxel in mm.
        heads: Attention heads of the transformer; None: 16.
        overwrite: Replace an existing output.

    Raises:
        InputError: See `run`.
    """
    if output.is_dir() or (output.exists() and not overwrite):
        raise InputError(
            f"--output: {output} is already there; choose another name, or replace a file with --overwrite."
        )
    if output.exists() and path.exists() and output.samefile(path):
        raise InputError(f"--output: {output} is the file to be imported; choose another name.")

    import torch

    from data_modules.files import atomic_path, sha256
    from tumorgen.methods.published.convert import convert
    from tumorgen.methods.published.tensors import read_published

    file = read_published(path)
    source = {"file": path.name, "sha256": sha256(path), "stage": file.stage}
    imported = convert(file, source, class_names, spacing, heads)
    with atomic_path(output) as temporary:
        torch.save(imported.checkpoint, temporary)
    for line in summary(file, imported):
        print(line)
    print(output)


def summary(file: "PublishedFile", imported: "Imported") -> list[str]:
    """What was found, taken, ignored and made up, line by line."""
    sizes, network = imported.layout.sizes, imported.layout.network
    lines = [
        f"stage {file.stage} of the published code: {imported.taken} tensors taken, {imported.ignored.total()} ignored",
        *(f"  ignored {number}: {reason}" for reason, number in imported.ignored.items()),
        *(["  ignored: state of the optimizer"] if file.has_optimizer else []),
        f"tokenizer: {sizes.roi_size}^3 voxels, {sizes.grid}^3 tokens, {sizes.num_codes} codes of width {sizes.code_dim}, "
        f"channels {', '.join(map(str, sizes.channels))}",
        f"classes: {', '.join(imported.class_names)}",
    ]
    if file.stage == 2:
        lines.append(f"transformer: {network['layers']} layers, {network['heads']} heads, width {network['width']}")
    else:
        lines.append("discriminator: not in the file, initialised anew")
    return [*lines, "training patients: unknown, so an overlap with your data cannot be ruled out"]
