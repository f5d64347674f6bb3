"""What a result says of its origin: package versions, file hashes, and training patients that nobody can name from it."""

import hashlib
import secrets
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("tumorgen", "torch", "lightning", "torchio", "monai", "nibabel", "numpy")


def new_salt() -> str:
    """A random salt, 32 hex digits; one per tokenizer, handed on to everything trained on its tokens."""
    return secrets.token_hex(16)


def patient_hashes(patients: Iterable[str], salt: str) -> list[str]:
    """Salted SHA-256 of each patient's ID, sorted: enough to test whether a given patient is in, not to list who is."""
    return sorted({hashlib.sha256(f"{salt}:{patient}".encode()).hexdigest() for patient in patients})


def package_versions() -> dict[str, str]:
    """Versions of the packages that the result depends on; those that are not installed are left out."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
