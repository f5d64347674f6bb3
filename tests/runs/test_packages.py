"""Versions of packages, for manifests and records."""

from importlib.metadata import version

import pytest

from tumorgen.runs import packages


def test_versions_of_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "PACKAGES", ("torch", "no-such-package-of-tumorgen"))
    assert packages.package_versions() == {"torch": version("torch")}
