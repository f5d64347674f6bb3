"""Were the patients we test on in the training data of generated volumes? Told from the hashes in their manifest.

Generators leave salted SHA-256 hashes of their training patients (`sha256("<salt>:<patient>")`), chained from tokenizer to
generator to volumes: whoever knows a patient's ID can look that patient up, nobody can list who is in.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_modules.errors import InputError
from data_modules.files import sha256
from data_modules.volumes.folder import VolumeFolder

_SHOWN = 3


def leaked_patients(manifest: Mapping[str, Any], patients: Iterable[str]) -> list[str]:
    """Those of `patients` that were in the training data of the volumes, sorted.

    Args:
        manifest: Content of the `manifest.json` beside generated volumes.
        patients: IDs as the data module knows them, for example those of a test fold.
    """
    origin = manifest.get("training_patients") or {}
    salt, known = origin.get("salt", ""), set(origin.get("training_patients", ()))
    return sorted({p for p in patients if hashlib.sha256(f"{salt}:{p}".encode()).hexdigest() in known})


def origin_known(manifest: Mapping[str, Any] | None) -> bool:
    """Whether a manifest tells all training patients: it lists some, and no part of the chain behind it is unknown.

    An empty list is no answer: whatever learns to generate tumours has learnt from somebody.
    """
    origin = (manifest or {}).get("training_patients") or {}
    return bool(origin.get("training_patients")) and not origin.get("training_patients_unknown", False)


def unlisted_volumes(folder: VolumeFolder) -> tuple[str, ...]:
    """Names of volumes that the manifest does not list, or lists with the checksum of another file.

    Where an entry has no checksum, any file of that name is taken for the one listed. Reads all files that have one.
    """
    entries = (folder.manifest or {}).get("volumes", ())
    names = (entry["file"].removesuffix(".gz").removesuffix(".nii") for entry in entries)
    checksums = {name: entry["sha256"] for name, entry in zip(names, entries, strict=True) if "sha256" in entry}
    found = list(folder.unlisted)
    for name, path in zip(folder.names, folder.paths, strict=True):
        if name in checksums and sha256(path) != checksums[name]:
            found.append(name)
    return tuple(sorted(found))


def check_leakage(
    folder: Path,
    manifest: Mapping[str, Any] | None,
    held_out: Iterable[str],
    unlisted: Sequence[str] = (),
    *,
    trust_unmanifested: bool = False,
) -> None:
    """Refuses generated volumes whose generator has seen patients that are held out.

    Args:
        folder: Where the volumes are, for the message.
        manifest: Their manifest; None where there is none.
        held_out: Validation and test patients.
        unlisted: Names of volumes that its manifest does not list, see `unlisted_volumes`.
        trust_unmanifested: Accept volumes that cannot tell what they were trained on. Known leaks are refused all the same.

    Raises:
        InputError: With the number of patients, and what to do.
    """
    if (manifest or {}).get("kind") == "real":
        raise InputError(
            f"{folder}: holds real regions (its manifest says so), expected generated ones. Real patients come from --data.root."
        )
    leaked = leaked_patients(manifest or {}, held_out)
    if leaked:
        first = ", ".join(leaked[:_SHOWN]) + (" and others" if len(leaked) > _SHOWN else "")
        raise InputError(
            f"{folder}: {len(leaked)} of the validation and test patients ({first}) were in the training data of these "
            "volumes, expected none: results would be worthless. Train the generator on the same fold (--data.fold, "
            "--data.folds, --data.seed, --data.val_share), or choose the fold that it was trained on."
        )
    if trust_unmanifested or (origin_known(manifest) and not unlisted):
        return
    found = "there is no manifest.json"
    if manifest is not None:
        found = "manifest.json does not tell all of them (training_patients_unknown, or an empty list)"
    if unlisted:
        found = f"manifest.json does not list {unlisted[0]}, or with another sha256 ({len(unlisted)} such volumes)"
    raise InputError(
        f"{folder}: cannot tell which patients these volumes were trained on: {found}, expected salted hashes of all. "
        "Where you know that no validation or test patient was among them, say so with the option trust_unmanifested."
    )
