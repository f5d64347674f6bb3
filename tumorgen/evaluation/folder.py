"""What an evaluation leaves: `evaluation.json`, tables and pictures in one folder, complete or not at all."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_modules.errors import InputError
from data_modules.files import sha256
from data_modules.volumes.folder import VolumeFolder
from tumorgen.evaluation.compare import Evaluation, Folders, Options, evaluate_folders
from tumorgen.evaluation.evaluate import Progress
from tumorgen.evaluation.pictures import closest_sheet, samples_sheet
from tumorgen.metrics.metric import Metric, Resampling
from tumorgen.results.layouts import closest_pairs, evaluation_tables
from tumorgen.results.records import write_results
from tumorgen.results.sheets import save
from tumorgen.results.tables import write_tables

RESULTS = "evaluation.json"
_PICTURES = "pictures"
_ORIGIN = ("system", "method", "kind", "fold", "modality")


def evaluate_to(
    output: Path,
    folders: Folders,
    metrics: Sequence[Metric],
    options: Options = Options(),  # noqa: B008 (frozen)
    resampling: Resampling = Resampling(),  # noqa: B008 (frozen)
    overwrite: bool = False,
    progress: Progress = lambda _: None,
) -> Evaluation:
    """Evaluates and writes everything; `tumorgen evaluate` is this with options.

    Args:
        output: Folder to write: absent, empty, or with `overwrite` an earlier evaluation's.
        folders: As `evaluate_folders` takes them, and all that follow.
        metrics: What is measured.
        options: How folders are compared.
        resampling: How intervals, tests and floors are taken.
        overwrite: Replace an earlier evaluation.
        progress: Is told what comes next.

    Raises:
        InputError: The folders do not fit each other, or the output folder holds something else.
    """
    check_output(output, overwrite)
    output.parent.mkdir(parents=True, exist_ok=True)
    evaluation = evaluate_folders(folders, metrics, output.parent, options, resampling, progress)
    progress("tables and pictures")
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as temporary:
        whole = Path(temporary) / "folder"  # tempfile makes folders that only their owner may read
        whole.mkdir()
        pictures = _draw(whole, evaluation)
        write_tables(whole, evaluation_tables(evaluation.records))
        write_results(
            whole / RESULTS,
            "evaluation",
            evaluation.records,
            inputs=_inputs(evaluation, options, resampling),
            pictures=pictures,
        )
        _put(whole, output)
    return evaluation


def check_output(output: Path, overwrite: bool) -> None:
    """Makes sure that nothing of somebody's is replaced.

    Raises:
        InputError: The folder holds something else than an earlier evaluation, or that and nobody said to replace it.
    """
    if output.is_dir() and not any(output.iterdir()):
        return
    if (output / RESULTS).is_file():
        if not overwrite:
            raise InputError(
                f"--output: {output} holds an evaluation already; choose another folder, or add --overwrite"
            )
    elif output.exists():
        raise InputError(f"--output: {output} holds something else than an evaluation; choose another folder")


def _put(whole: Path, output: Path) -> None:
    """Moves a finished folder to its place; what an earlier evaluation left there goes first, its results before all."""
    if not output.exists():
        shutil.move(whole, output)
        return
    (output / RESULTS).unlink(missing_ok=True)
    for path in sorted(whole.iterdir(), key=lambda path: path.name == RESULTS):
        old = output / path.name
        if old.is_dir():
            shutil.rmtree(old)
        path.replace(old)


def _draw(folder: Path, evaluation: Evaluation) -> dict[str, str]:
    """Draws all pictures; paths relative to the folder, by what they show."""
    sheets = {"samples": samples_sheet(evaluation)}
    pairs = closest_pairs(evaluation.records)
    for space in dict.fromkeys(pair["space"] for pair in pairs):
        own = [pair for pair in pairs if pair["space"] == space]
        name = "".join(letter if letter.isalnum() else "_" for letter in space)
        sheets["closest_pairs" if space == "voxels" else f"closest_pairs_{name}"] = closest_sheet(
            space, own, evaluation
        )
    for name, sheet in sheets.items():
        save(sheet, folder / _PICTURES / f"{name}.png")
    return {name: f"{_PICTURES}/{name}.png" for name in sheets}


def _inputs(evaluation: Evaluation, options: Options, resampling: Resampling) -> dict[str, Any]:
    folders, real = evaluation.folders, evaluation.real
    reference = "leave-one-out" if real.held_out is None else "held-out"
    inputs = {
        "real": _describe(folders.real),
        "generated": {"label": evaluation.label, **_describe(folders.generated)},
        "settings": vars(options) | vars(resampling),
        "memorisation": {"training_volumes": len(real.training), "reference": reference},
    }
    if folders.training is not None:
        inputs["training"] = _describe(folders.training)
    return inputs


def _describe(folder: VolumeFolder) -> dict[str, Any]:
    """A folder of volumes: what is in it, what was changed while reading, what its manifest says of its origin."""
    manifest = folder.manifest or {}
    said = {key: manifest[key] for key in _ORIGIN if key in manifest}
    if "generators" in manifest:  # without their patients, who belong to the manifest
        said["generators"] = [{key: one[key] for key in one if key != "origin"} for one in manifest["generators"]]
    if folder.manifest is not None:
        said["manifest_sha256"] = sha256(folder.folder / "manifest.json")
    parts = folder.parts or {}
    return {
        "folder": str(folder.folder),
        "volumes": {name: int((folder.labels == label).sum()) for label, name in enumerate(folder.class_names)},
        "parts": {part: list(parts.values()).count(part) for part in sorted(set(parts.values()))} or None,
        "roi_size": folder.roi_size,
        "spacing_mm": folder.spacing,
        "intensities": str(folder.intensities),
        "conversions": list(folder.conversions),
        "not_in_manifest": len(folder.unlisted),
        "phantom": folder.phantom,
        "split": folder.stated_origin.split or None,
        **said,
    }
