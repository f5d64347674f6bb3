"""What may not be used is refused, with a message that says what to do instead."""

from pathlib import Path

import pytest

from data_modules.errors import InputError
from tumorgen.benchmark.leakage import Origin, check_origin
from tumorgen.provenance import trained_on

PARTS = {"training": ["a", "b"], "validation": ["v"], "test": ["s", "t"]}


def manifest(*patients: str, **more) -> dict:
    return {"volumes": [], "training_patients": trained_on(patients) | more}


def check(content: dict | None, unlisted=(), trust=False) -> Origin:
    return check_origin(Path("samples"), content, unlisted, fold=3, trust_unmanifested=trust, **PARTS)


def test_volumes_of_training_patients_alone_are_accepted() -> None:
    assert check(manifest("a", "b")) == Origin("checked", "", 2, 2)


def test_volumes_of_another_cohort_are_accepted_and_known_to_be() -> None:
    assert check(manifest("x", "y", "z")) == Origin("checked", "", 3, 0)


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize(
    ("patients", "message"),
    [
        (("a", "t"), "samples: 1 of the 2 test patients of fold 3 were in the training data"),
        (("a", "v"), "samples: 1 of the 1 validation patients of fold 3 were in the training data"),
    ],
)
def test_held_out_patients_are_refused_trusted_or_not(patients, message: str, trust: bool) -> None:
    with pytest.raises(InputError, match=message):
        check(manifest(*patients), trust=trust)
    with pytest.raises(InputError, match=message):  # of a chain of which parts are unknown, too
        check(manifest(*patients, training_patients_unknown=True), trust=trust)


@pytest.mark.parametrize(
    ("content", "unlisted", "reason"),
    [
        (None, (), "there is no manifest.json"),
        (manifest("a", training_patients_unknown=True), (), "training_patients_unknown"),
        ({"volumes": [], "training_patients": {"training_patients_unknown": True}}, (), "training_patients_unknown"),
        ({"volumes": []}, (), "training_patients_unknown"),
        (manifest("a"), ("LGG/slipped_in",), r"does not list LGG/slipped_in \(1 of the volumes\)"),
    ],
)
def test_what_cannot_be_told_needs_trust(content, unlisted, reason: str) -> None:
    with pytest.raises(InputError, match=rf"{reason}.*--trust_unmanifested true"):
        check(content, unlisted)
    origin = check(content, unlisted, trust=True)
    assert origin.status == "trusted"
    assert origin.reason


@pytest.mark.parametrize("trust", [False, True])
def test_real_regions_are_refused(trust: bool) -> None:
    with pytest.raises(InputError, match="holds real regions"):
        check({"kind": "real", "volumes": []}, trust=trust)
