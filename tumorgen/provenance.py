"""What a result says of its origin: package versions, file hashes, and training patients that nobody can name from it."""

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = ("tumorgen", "torch", "lightning", "torchio", "monai", "nibabel", "numpy")


def new_salt() -> str:
    """A random salt, 32 hex digits; one per tokenizer, handed on to everything trained on its tokens."""
    return secrets.token_hex(16)


def patient_hashes(patients: Iterable[str], salt: str) -> list[str]:
    """Salted SHA-256 of each patient's ID, sorted: enough to test whether a given patient is in, not to list who is."""
    return sorted({hashlib.sha256(f"{salt}:{patient}".encode()).hexdigest() for patient in patients})


def trained_on(patients: Iterable[str], *earlier: Mapping[str, Any]) -> dict[str, Any]:
    """The provenance of training on `patients`, continuing models of the provenances `earlier` (empty ones: from scratch).

    Keeps the salt of the first that has one, so that hashes of one chain compare.
    """
    salt = next((one["salt"] for one in earlier if one.get("salt")), None) or new_salt()
    return joined({"salt": salt, "training_patients": patient_hashes(patients, salt)}, *earlier)


def training_on(data: object, *earlier: Mapping[str, Any]) -> dict[str, Any]:
    """The provenance of training on a data module, real patients and those behind generated volumes, after `earlier`."""
    return trained_on(getattr(data, "training_patients", []), *earlier, *getattr(data, "generated_origins", []))


def joined(first: Mapping[str, Any], *others: Mapping[str, Any]) -> dict[str, Any]:
    """One provenance of several: the patients of those with the first one's salt.

    `training_patients_unknown` is true where patients cannot be told: another salt, or a model that was imported. A model of
    which nothing is known has no `training_patients` at all: an empty list would read as "nobody".
    """
    known = [one for one in (first, *others) if one.get("salt") == first.get("salt") and "training_patients" in one]
    unknown = any(one and (one not in known or one.get("training_patients_unknown", False)) for one in (first, *others))
    result = dict(first)
    if known:
        result["training_patients"] = sorted({patient for one in known for patient in one["training_patients"]})
    return result | {"training_patients_unknown": True} if unknown else result


def package_versions() -> dict[str, str]:
    """Versions of the packages that the result depends on; those that are not installed are left out."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
