"""May these volumes be used in this fold? Only if it is certain that nobody who is held out has shaped them.

Held out are the fold's test patients and its validation patients. Validation patients count, too: a generator that has seen
them hands down more real patients than real-only training has, and makes the validation figures that weights are selected by
worthless.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_modules.errors import InputError
from data_modules.origin import leaked_patients, origin_known

CHECKED = "checked"
TRUSTED = "trusted"


@dataclass(frozen=True)
class Origin:
    """What is known of the patients behind a folder of generated volumes.

    Attributes:
        status: `checked` by the hashes in its manifest, or `trusted` because the user said so.
        reason: Why it had to be trusted; empty if it was checked.
        training_patients: How many patients its manifest lists.
        recognised: How many of those are training patients of the fold. The others are of another cohort, or of this one
            under other names; then the check has not compared them.
    """

    status: str
    reason: str
    training_patients: int
    recognised: int


def check_origin(
    folder: Path,
    manifest: Mapping[str, Any] | None,
    unlisted: Sequence[str],
    *,
    fold: int,
    training: Sequence[str],
    validation: Sequence[str],
    test: Sequence[str],
    trust_unmanifested: bool = False,
) -> Origin:
    """Refuses volumes that held-out patients have shaped, or of which that cannot be told.

    Args:
        folder: Where the volumes are, for the message.
        manifest: Their manifest; None where there is none.
        unlisted: Volumes in the folder that the manifest does not list, see `data_modules.origin.unlisted_volumes`.
        fold: The fold they are wanted for.
        training: The fold's training patients.
        validation: Its validation patients.
        test: Its test patients.
        trust_unmanifested: Accept volumes of which nothing certain is known. What is known to leak is refused all the same.

    Raises:
        InputError: With what was found, and what to do.
    """
    manifest = manifest or {}
    if manifest.get("kind") == "real":
        raise InputError(
            f"{folder}: holds real regions (its manifest says so), expected generated ones; they are what the benchmark trains "
            "and tests on already."
        )
    for part, patients in (("test", test), ("validation", validation)):
        if leaked := leaked_patients(manifest, patients):
            raise InputError(
                f"{folder}: {len(leaked)} of the {len(set(patients))} {part} patients of fold {fold} were in the training data "
                "of these volumes, expected none: what the classifier is tested on must be new to everything before it. Give "
                "each fold volumes of a generator that was trained on that fold (same --data.folds, --data.seed and "
                "--data.val_share), or choose the folds they are fit for with --folds."
            )
    reason = _unknown(manifest, unlisted)
    if reason and not trust_unmanifested:
        raise InputError(
            f"{folder}: cannot tell that no test patient of fold {fold} is behind these volumes: {reason}. Use volumes that "
            "`tumorgen predict` wrote, or, if you know it, say so with --trust_unmanifested true; the table will tell."
        )
    listed = (manifest.get("training_patients") or {}).get("training_patients", ())
    recognised = len(leaked_patients(manifest, training))
    return Origin(TRUSTED if reason else CHECKED, reason, len(listed), recognised)


def _unknown(manifest: Mapping[str, Any], unlisted: Sequence[str]) -> str:
    """Why the manifest does not settle the question; empty if it does."""
    if not manifest:
        return "there is no manifest.json"
    if not origin_known(manifest):
        return "manifest.json does not know all patients behind them (training_patients_unknown, or an empty list)"
    if unlisted:
        return f"manifest.json does not list {unlisted[0]}, or with another sha256 ({len(unlisted)} of the volumes)"
    return ""
