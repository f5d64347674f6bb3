"""Versions of the packages that a result depends on."""

from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("tumorgen", "torch", "lightning", "torchio", "monai", "nibabel", "numpy")


def package_versions() -> dict[str, str]:
    """Versions of `PACKAGES`; those that are not installed are left out."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
