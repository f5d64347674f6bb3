"""Which sources of a report are about phantoms: told source by source, from what each says of its cases.

A source counts as of phantoms only where it says so itself. What cannot be told may be patients.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from data_modules.cohort.naming import patient_of
from data_modules.errors import InputError
from data_modules.origin import leaked_patients
from data_modules.phantoms.cohort import case_name
from data_modules.phantoms.parameters import GRADES
from data_modules.volumes.folder import VolumeFolder, read_manifest
from tumorgen.results.records import Results

MANY_PHANTOMS = 500
NAMES = tuple(patient_of(case_name(grade, 0)).removesuffix("0000") for grade in GRADES)
"""What the names of all phantoms begin with."""


def named_as_phantoms(cases: Iterable[str]) -> bool:
    """Whether there are cases, and all are called as phantoms are."""
    known = list(cases)
    return bool(known) and all(case.startswith(NAMES) for case in known)


def trained_on_phantoms(manifest: Mapping[str, Any] | None) -> bool:
    """Whether phantoms were in the training data of generated volumes, as far as the hashes in their manifest tell."""
    return bool(leaked_patients(manifest or {}, _phantoms()))


def kind_of(folder: VolumeFolder) -> str:
    """`real` or `generated`, as the manifest says; empty where it does not."""
    stated = folder.manifest or {}
    return str(stated.get("kind", "generated" if "method" in stated else ""))


def volumes_of_phantoms(folder: VolumeFolder) -> bool:
    """Whether a folder holds phantoms only, or generated volumes that were trained on phantoms."""
    if named_as_phantoms(folder.cases):
        return True
    return kind_of(folder) != "real" and trained_on_phantoms(folder.manifest)


def evaluation_of_phantoms(results: Results, folders: Iterable[VolumeFolder]) -> bool:
    """Whether every real case that an evaluation names, or that is in the folders it compared, is a phantom.

    Args:
        results: Of `tumorgen evaluate`.
        folders: Those that were found; real ones among them are looked up by their path.
    """
    inputs = results.extra.get("inputs") or {}
    compared = {
        Path(inputs[key]["folder"]).resolve() for key in ("real", "training") if "folder" in inputs.get(key, {})
    }
    cases = [case for folder in folders if folder.folder.resolve() in compared for case in folder.cases]
    pairs = results.extra.get("closest_pairs") or ()
    return named_as_phantoms([*cases, *(str(pair.get("training", "")).rpartition("/")[2] for pair in pairs)])


def benchmark_of_phantoms(results: Results) -> bool:
    """Whether generated volumes of a benchmark, where they still are, were trained on phantoms."""
    generated = results.extra.get("generated") or {}
    folders = [Path(fold["folder"]) for folds in generated.values() for fold in folds.values() if "folder" in fold]
    return any(trained_on_phantoms(_manifest(folder)) for folder in folders)


def _manifest(folder: Path) -> Mapping[str, Any] | None:
    try:
        return read_manifest(folder) if folder.is_dir() else None
    except InputError:
        return None


@cache
def _phantoms() -> tuple[str, ...]:
    """Patients as the first phantoms of every grade are called: manifests name theirs by hashes only."""
    return tuple(patient_of(case_name(grade, index)) for grade in GRADES for index in range(1, MANY_PHANTOMS))
