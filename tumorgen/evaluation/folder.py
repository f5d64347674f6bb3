"""What an evaluation leaves: `evaluation.json`, tables and pictures in one folder, complete or not at all."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_modules.errors import InputError
from data_modules.files import sha256
from data_modules.volumes.folder import VolumeFolder
from tumorgen.evaluation.compare import Evaluation, Say, evaluate
from tumorgen.evaluation.extractors import FeatureExtractor
from tumorgen.evaluation.groups import Comparison, Settings, compare
from tumorgen.evaluation.memory import VOXELS
from tumorgen.evaluation.pictures import closest_sheet, samples_sheet
from tumorgen.results.layouts import evaluation_tables
from tumorgen.results.records import write_results
from tumorgen.results.sheets import save
from tumorgen.results.tables import write_tables

RESULTS = "evaluation.json"
_PICTURES = "pictures"
_ORIGIN = ("method", "sampler", "checkpoint_sha256", "config_sha256", "kind", "fold", "modality")


def evaluate_to(
    output: Path,
    real: VolumeFolder,
    generated: VolumeFolder,
    extractors: Sequence[FeatureExtractor],
    settings: Settings = Settings(),  # noqa: B008 (frozen)
    label: str | None = None,
    training: VolumeFolder | None = None,
    overwrite: bool = False,
    say: Say = lambda _: None,
) -> Evaluation:
    """Evaluates and writes everything; `tumorgen evaluate` is this with options.

    Args:
        output: Folder to write: absent, empty, or with `overwrite` an earlier evaluation's.
        real: As `evaluate` takes them, and all that follow.
        generated: Generated volumes.
        extractors: Feature spaces.
        settings: How figures are taken.
        label: What to call the generated volumes; None takes the folder's name.
        training: Training volumes where the real ones are all held out.
        overwrite: Replace an earlier evaluation.
        say: Is told what comes next.

    Raises:
        InputError: The folders do not fit each other, or the output folder holds something else.
    """
    check_output(output, overwrite)
    label = label or generated.folder.resolve().name
    comparison = compare(real, generated, settings, label, training)
    evaluation = evaluate(real, generated, extractors, settings, label, training, say)
    say("tables and pictures")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as temporary:
        whole = Path(temporary) / "folder"  # tempfile makes folders that only their owner may read
        whole.mkdir()
        pictures = _draw(whole, comparison, evaluation)
        write_tables(whole, evaluation_tables(evaluation.records))
        write_results(
            whole / RESULTS,
            "evaluation",
            evaluation.records,
            inputs=_inputs(comparison, evaluation),
            pictures=pictures,
            closest_pairs=_pairs(comparison, evaluation),
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
                f"--output: {output} holds an evaluation already; choose another folder, or add --overwrite true"
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


def _draw(folder: Path, comparison: Comparison, evaluation: Evaluation) -> dict[str, str]:
    """Draws all pictures; paths relative to the folder, by what they show."""
    sheets = {"samples": samples_sheet(comparison)}
    for space in dict.fromkeys(pair.space for pair in evaluation.pairs):
        own = [pair for pair in evaluation.pairs if pair.space == space]
        sheet = closest_sheet(own, comparison.generated, evaluation.training.folder)
        name = "".join(letter if letter.isalnum() else "_" for letter in space)
        sheets["closest_pairs" if space == VOXELS else f"closest_pairs_{name}"] = sheet
    for name, sheet in sheets.items():
        save(sheet, folder / _PICTURES / f"{name}.png")
    return {name: f"{_PICTURES}/{name}.png" for name in sheets}


def _inputs(comparison: Comparison, evaluation: Evaluation) -> dict[str, Any]:
    training = evaluation.training
    inputs = {
        "real": _describe(comparison.real),
        "generated": {"label": comparison.label, **_describe(comparison.generated)},
        "settings": vars(comparison.settings),
        "memorisation": {"training_volumes": len(training.positions), "reference": training.reference},
    }
    if training.folder is not comparison.real:
        inputs["training"] = _describe(training.folder)
    return inputs


def _describe(folder: VolumeFolder) -> dict[str, Any]:
    """A folder of volumes: what is in it, what was changed while reading, what its manifest says of its origin."""
    manifest = folder.manifest or {}
    said = {key: manifest[key] for key in _ORIGIN if key in manifest}
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
        **said,
    }


def _pairs(comparison: Comparison, evaluation: Evaluation) -> list[dict[str, Any]]:
    training = evaluation.training.folder
    return [
        {
            "generated": comparison.generated.names[pair.generated],
            "training": training.names[pair.training],
            "distance": pair.distance,
            "space": pair.space,
        }
        for pair in evaluation.pairs
    ]
