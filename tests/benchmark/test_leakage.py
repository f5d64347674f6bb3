"""What may not be used is refused, with a message that says what to do instead."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from generated_folder import write_generated

from data_modules.errors import InputError
from data_modules.files import sha256
from tumorgen.benchmark.data import Reading, _open_generated
from tumorgen.benchmark.leakage import Origin, check_origin
from tumorgen.provenance import trained_on

PARTS = {"training": ["a", "b"], "validation": ["v"], "test": ["s", "t"]}
PEOPLE = (("train", "a"), ("val", "v"), ("test", "s"))


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
        (manifest(), (), "an empty list"),
        (manifest("a"), ("LGG/slipped_in",), r"does not list LGG/slipped_in, .* \(1 of the volumes\)"),
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


def test_a_file_that_was_exchanged_after_it_was_listed_needs_trust(tmp_path: Path) -> None:
    write_generated(tmp_path, ["a", "b"])
    content = json.loads((tmp_path / "manifest.json").read_text())
    for entry in content["volumes"]:
        entry["sha256"] = sha256(tmp_path / entry["file"])
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    parts = {part: SimpleNamespace(entries=[SimpleNamespace(patient=name)]) for part, name in PEOPLE}
    data = SimpleNamespace(class_names=("LGG", "HGG"), roi_size=16, spacing=2.0, fold=0, **parts)
    assert _open_generated(tmp_path, data, Reading()).origin == Origin("checked", "", 2, 1)
    exchanged = tmp_path / "LGG" / "LGG_0001.nii.gz"
    exchanged.write_bytes((tmp_path / "LGG" / "LGG_0002.nii.gz").read_bytes())
    with pytest.raises(InputError, match="does not list LGG/LGG_0001, or with another sha256"):
        _open_generated(tmp_path, data, Reading())
    assert _open_generated(tmp_path, data, Reading(trust_unmanifested=True)).origin.status == "trusted"
