"""Generated volumes that have seen held-out patients are recognised by the hashes in their manifest."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from volumes import write_volumes

from data_modules.errors import InputError
from data_modules.files import sha256
from data_modules.origin import check_leakage, leaked_patients, origin_known, unlisted_volumes
from data_modules.volumes.folder import VolumeFolder
from tumorgen.provenance import joined, patient_hashes, trained_on

HERE = Path("samples")


def manifest(*patients: str, **more: Any) -> dict[str, Any]:
    return {"training_patients": {**trained_on(patients), **more}, "volumes": []}


def test_patients_are_found_by_their_hashes_alone() -> None:
    known = manifest("anna", "bert", "carl")
    assert "anna" not in str(known)
    assert leaked_patients(known, ["dora", "carl", "anna", "carl"]) == ["anna", "carl"]
    assert leaked_patients(known, ["dora"]) == []
    assert leaked_patients(known, []) == []


def test_by_hand() -> None:
    """The SHA-256 of `ab:anna`, from a shell: printf ab:anna | sha256sum."""
    digest = "e06ef5acd79b4cede336e11b991f7d827f2645c2d307628333c21b435a8ea4ea"
    assert leaked_patients({"training_patients": {"salt": "ab", "training_patients": [digest]}}, ["anna"]) == ["anna"]


def test_hashes_of_another_salt_say_nothing() -> None:
    foreign = {"training_patients": {"salt": "aa", "training_patients": patient_hashes(["anna"], "bb")}}
    assert leaked_patients(foreign, ["anna"]) == []


@pytest.mark.parametrize(
    ("found", "known"),
    [
        (None, False),
        ({}, False),
        ({"training_patients": {}}, False),
        ({"training_patients": None}, False),
        ({"training_patients": {"training_patients_unknown": True}}, False),
        (manifest("anna", training_patients_unknown=True), False),
        ({"training_patients": joined(trained_on(["anna"]), {"training_patients_unknown": True})}, False),
        (manifest("anna"), True),
        (manifest(), False),  # nobody's tumours taught nothing
    ],
)
def test_whether_the_origin_is_known(found: dict[str, Any] | None, known: bool) -> None:
    assert origin_known(found) == known


def test_volumes_of_other_patients_pass() -> None:
    check_leakage(HERE, manifest("anna", "bert"), ["carl"])


@pytest.mark.parametrize("trusted", [False, True])
def test_known_leaks_are_refused_whatever_is_trusted(trusted: bool) -> None:
    known = manifest("anna", "bert", "carl", "dora", training_patients_unknown=True)
    said = "samples: 4 of the validation and test patients (anna, bert, carl and others) were in the training data"
    with pytest.raises(InputError, match=re.escape(said)):
        check_leakage(HERE, known, ["emil", "dora", "carl", "bert", "anna"], trust_unmanifested=trusted)
    with pytest.raises(InputError, match="holds real regions"):
        check_leakage(HERE, {"kind": "real", "volumes": []}, [], trust_unmanifested=trusted)


@pytest.mark.parametrize(
    ("found", "unlisted", "said"),
    [
        (None, (), "there is no manifest.json"),
        (manifest("anna", training_patients_unknown=True), (), "manifest.json does not tell all of them"),
        (manifest(), (), "manifest.json does not tell all of them (training_patients_unknown, or an empty list)"),
        (manifest("anna"), ("LGG/new", "LGG/x"), "does not list LGG/new, or with another sha256 (2 such volumes)"),
    ],
)
def test_unknown_origins_are_refused_unless_trusted(
    found: dict[str, Any] | None, unlisted: tuple[str, ...], said: str
) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        check_leakage(HERE, found, ["carl"], unlisted)
    check_leakage(HERE, found, ["carl"], unlisted, trust_unmanifested=True)


def test_a_file_under_a_listed_name_counts_as_unlisted_if_it_is_another(tmp_path: Path) -> None:
    """The names below are those of files with a right, a wrong and no checksum, and of one that slipped in."""
    write_volumes(tmp_path, per_class=3, manifest={})
    content = json.loads((tmp_path / "manifest.json").read_text())
    for entry in content["volumes"]:
        if not entry["file"].endswith("_0003.nii.gz"):
            entry["sha256"] = sha256(tmp_path / entry["file"])
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    assert unlisted_volumes(VolumeFolder(tmp_path)) == ()
    other = (tmp_path / "HGG" / "HGG_0001.nii.gz").read_bytes()
    for name in ("LGG_0002", "LGG_0003", "LGG_0009"):
        (tmp_path / "LGG" / f"{name}.nii.gz").write_bytes(other)
    (tmp_path / "LGG" / "LGG_0001.nii.gz").unlink()
    (tmp_path / "LGG" / "LGG_0001.nii").write_bytes(gzip.decompress(other))  # listed as .nii.gz
    assert unlisted_volumes(VolumeFolder(tmp_path)) == ("LGG/LGG_0001", "LGG/LGG_0002", "LGG/LGG_0009")
    (tmp_path / "manifest.json").unlink()
    assert unlisted_volumes(VolumeFolder(tmp_path, intensities="[0, 1]")) == ()
