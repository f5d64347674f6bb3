"""Salted hashes of patients, and package versions."""

import hashlib
from importlib.metadata import version
from types import SimpleNamespace

import pytest
import torch
from stage2 import tokenizer

from tumorgen import provenance
from tumorgen.classifier.module import GradeClassifier
from tumorgen.methods.loading import load_method
from tumorgen.methods.vqgan.module import VQGAN
from tumorgen.provenance import new_salt, package_versions, patient_hashes


def test_a_given_patient_can_be_looked_up_with_the_salt() -> None:
    hashes = patient_hashes(["BraTS19_1", "BraTS19_2"], "ab")
    assert hashlib.sha256(b"ab:BraTS19_1").hexdigest() in hashes
    assert hashlib.sha256(b"ab:BraTS19_3").hexdigest() not in hashes


def test_the_order_says_nothing_and_patients_count_once() -> None:
    assert patient_hashes(["b", "a", "b"], "s") == patient_hashes(["a", "b"], "s")
    assert len(patient_hashes(["b", "a", "b"], "s")) == 2
    assert patient_hashes([], "s") == []


def test_another_salt_gives_other_hashes() -> None:
    """Otherwise a table of the hashes of all public IDs would name everybody."""
    assert not set(patient_hashes(["a", "b"], "s")) & set(patient_hashes(["a", "b"], "t"))


def test_salts_are_long_and_never_the_same() -> None:
    torch.manual_seed(0)
    first = new_salt()
    torch.manual_seed(0)
    assert first != new_salt(), "does not follow the seed of a run"
    assert len(first) == 32
    assert int(first, 16) >= 0


def test_versions_of_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "PACKAGES", ("torch", "no-such-package-of-tumorgen"))
    assert package_versions() == {"torch": version("torch")}


@pytest.mark.parametrize(
    "make", [lambda: load_method(tokenizer(), VQGAN), GradeClassifier], ids=["VQGAN", "classifier"]
)
def test_a_resumed_run_keeps_old_patients_and_adds_new_ones(make) -> None:
    model = make()
    model._trained_on = SimpleNamespace(training_patients=["new"])
    model.provenance = provenance.trained_on(["new"])
    stored = provenance.trained_on(["old"])
    model.on_load_checkpoint({"tumorgen": {"version": "0", **stored}})
    expected = {"salt": stored["salt"], "training_patients": patient_hashes(["old", "new"], stored["salt"])}
    assert model.provenance == expected
