"""Who is behind what: hashes under a key, chains of trainings, and the check that nobody held out is."""

import gzip
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from volumes import write_volumes

from data_modules.errors import InputError
from data_modules.files import sha256
from data_modules.origin import Origin, PatientKey, Verdict, check, check_volumes
from data_modules.volumes.folder import VolumeFolder

KEY = PatientKey("own", bytes(range(32)))
OTHER = PatientKey("other", bytes(32))
HELD_OUT = {"validation": ["v"], "test": ["s", "t", "u", "w"]}


def behind(*patients: str, key: PatientKey = KEY, fold: int = 0, **more: Any) -> Origin:
    return Origin(key.split, fold, key.hashes(patients), **more)


# ---------------------------------------------------------------------- hashes


def test_by_hand() -> None:
    """The HMAC-SHA256 of `anna` under the key `ab`, from a shell: printf anna | openssl dgst -sha256 -hmac ab."""
    digest = "e3fba4ff3f9cfd9edcbf28ad326f8ddb9bf84caced0038a94a1f98f0de4143c9"
    assert PatientKey("x", b"ab").hashes(["anna"]) == (digest,)


def test_the_order_says_nothing_and_patients_count_once() -> None:
    assert KEY.hashes(["b", "a", "b"]) == KEY.hashes(["a", "b"])
    assert len(KEY.hashes(["b", "a", "b"])) == 2


def test_the_owner_of_the_key_recognises_patients() -> None:
    origin = behind("anna", "bert").joined(behind("carl", fold=1), behind("emil", key=OTHER))
    assert KEY.recognised(["dora", "carl", "anna", "emil", "anna"], origin) == ["anna", "carl"]
    assert OTHER.recognised(["anna", "emil"], origin) == ["emil"]


def test_nobody_is_named_by_trying_identifiers() -> None:
    """With everything that a manifest or checkpoint says, and every identifier there is."""
    told = json.dumps(behind(*(f"BraTS19_{i}" for i in range(12)), parents=(behind("x", fold=1),)).to_json())
    known = set(re.findall(r"[0-9a-f]{64}", told))
    assert len(known) == 13
    words = ["", "own", *re.findall(r"\w+", told)]
    for identifier in (f"BraTS19_{i}" for i in range(12)):
        for word in words:
            for text in (identifier, word + identifier, f"{word}:{identifier}", f"{word}\n{identifier}"):
                assert hashlib.sha256(text.encode()).hexdigest() not in known
            assert not known.intersection(PatientKey("own", word.encode()).hashes([identifier]))
    assert KEY.secret.hex() not in told + repr(KEY)


# ---------------------------------------------------------------------- chains


def test_trainings_on_one_fold_are_one() -> None:
    origin = behind("b", "c").joined(Origin(), behind("a", "b"))
    assert origin == behind("a", "b", "c")


def test_other_folds_and_cohorts_are_parents() -> None:
    tokenizer = behind("a", fold=1, phantom=True).joined(behind("x", key=OTHER))
    origin = behind("b").joined(tokenizer)
    assert (origin.split, origin.fold, origin.patients) == ("own", 0, KEY.hashes(["b"]))
    assert origin.parents == (behind("a", fold=1), behind("x", key=OTHER))
    assert origin.phantom
    assert origin.joined(tokenizer) == origin
    assert Origin.from_json(json.loads(json.dumps(origin.to_json()))) == origin


def test_training_on_generated_volumes_alone_has_no_patients_of_its_own() -> None:
    origin = Origin("own", 0).joined(behind("a"), behind("b", fold=1))
    assert origin == behind("a", parents=(behind("b", fold=1),))
    assert Origin().joined(behind("a")) == behind("a")


@pytest.mark.parametrize(
    "content", [None, {}, {"patients": ["a"]}, "nonsense", {"split": "x", "fold": "y", "patients": []}]
)
def test_what_is_no_origin_is_unknown(content: Any) -> None:
    assert Origin.from_json(content) == Origin(unknown=True)
    assert behind("a").joined(Origin.from_json(content)) == behind("a", unknown=True)


# ---------------------------------------------------------------------- the check


def test_other_patients_pass_and_are_counted() -> None:
    assert check("x", behind("a", "b"), KEY, HELD_OUT, ["a", "b", "c"]) == Verdict("", 2, 2)
    assert check("x", behind("a", "gone"), KEY, HELD_OUT, ["a", "b"]) == Verdict("", 2, 1)


@pytest.mark.parametrize("more", [{}, {"unknown": True}, {"parents": (behind("x", key=OTHER),)}])
@pytest.mark.parametrize(
    ("patients", "said"),
    [
        (("a", "s", "t", "u", "w"), "x: 4 of the 4 test patients (s, t, u and others) were in the training data"),
        (("a", "v"), "x: 1 of the 1 validation patients (v) were in the training data behind it"),
    ],
)
def test_known_leaks_are_refused_whatever_else_is_unknown(patients: tuple[str, ...], said: str, more: dict) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        check("x", behind(*patients, **more), KEY, HELD_OUT)


def test_leaks_through_parents_are_found() -> None:
    with pytest.raises(InputError, match="1 of the 4 test patients"):
        check("x", behind("a").joined(behind("s", fold=3)), KEY, HELD_OUT)


@pytest.mark.parametrize(
    ("origin", "key", "reason"),
    [
        (Origin(unknown=True), KEY, "it does not know all patients behind it"),
        (behind("a", unknown=True), KEY, "it does not know all patients behind it"),
        (Origin("own", 0), KEY, "it does not know all patients behind it"),
        (
            behind("a"),
            None,
            "origin cannot be checked: the key of the patients' hashes (split.private.json) is missing",
        ),
        (behind("s", key=OTHER), KEY, "origin cannot be checked: patients of the split other are behind it"),
        (behind("a").joined(behind("s", key=OTHER)), KEY, "patients of the split other"),
    ],
)
def test_what_cannot_be_told_is_said(origin: Origin, key: PatientKey | None, reason: str) -> None:
    verdict = check("x", origin, key, HELD_OUT)
    assert reason in verdict.reason
    assert not verdict.certain


# ---------------------------------------------------------------------- folders of volumes


def folder_of(place: Path, manifest: dict[str, Any] | None) -> VolumeFolder:
    return VolumeFolder(write_volumes(place, per_class=3, manifest=manifest), intensities="[0, 1]")


@pytest.mark.parametrize(
    ("manifest", "key", "said"),
    [
        (None, KEY, "there is no manifest.json"),
        ({}, KEY, "it does not know all patients behind it"),
        ({"origin": behind("a").to_json()}, None, "origin cannot be checked"),
        ({"origin": behind("a", key=OTHER).to_json()}, KEY, "origin cannot be checked"),
    ],
)
def test_volumes_of_unknown_origin_need_trust(
    tmp_path: Path, manifest: dict[str, Any] | None, key: PatientKey | None, said: str
) -> None:
    folder = folder_of(tmp_path, manifest)
    with pytest.raises(InputError, match=rf"cannot tell .*{said}.*say so with the option trust_unmanifested"):
        check_volumes(folder, key, HELD_OUT)
    assert said in check_volumes(folder, key, HELD_OUT, trust_unmanifested=True).reason
    assert folder.origin.unknown == ("cannot be checked" not in said)


@pytest.mark.parametrize("trusted", [False, True])
def test_leaks_and_real_regions_are_refused_trusted_or_not(tmp_path: Path, trusted: bool) -> None:
    with pytest.raises(InputError, match="1 of the 4 test patients"):
        check_volumes(folder_of(tmp_path / "a", {"origin": behind("s").to_json()}), KEY, HELD_OUT, (), trusted)
    with pytest.raises(InputError, match="holds real regions"):
        check_volumes(folder_of(tmp_path / "b", {"kind": "real"}), KEY, HELD_OUT, (), trusted)


def test_a_file_under_a_listed_name_is_not_believed_if_it_is_another(tmp_path: Path) -> None:
    """The names below are those of files with a right, a wrong and no checksum, and of one that slipped in."""
    write_volumes(tmp_path, per_class=3, manifest={"origin": behind("a").to_json()})
    content = json.loads((tmp_path / "manifest.json").read_text())
    for entry in content["volumes"]:
        if not entry["file"].endswith("_0003.nii.gz"):
            entry["sha256"] = sha256(tmp_path / entry["file"])
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    assert VolumeFolder(tmp_path).unverified == ()
    assert check_volumes(VolumeFolder(tmp_path), KEY, HELD_OUT).certain
    other = (tmp_path / "HGG" / "HGG_0001.nii.gz").read_bytes()
    for name in ("LGG_0002", "LGG_0003", "LGG_0009"):
        (tmp_path / "LGG" / f"{name}.nii.gz").write_bytes(other)
    (tmp_path / "LGG" / "LGG_0001.nii.gz").unlink()
    (tmp_path / "LGG" / "LGG_0001.nii").write_bytes(gzip.decompress(other))  # listed as .nii.gz
    folder = VolumeFolder(tmp_path)
    assert folder.unverified == ("LGG/LGG_0001", "LGG/LGG_0002", "LGG/LGG_0009")
    assert folder.origin == behind("a", unknown=True)
    with pytest.raises(InputError, match="does not list LGG/LGG_0001, or with another sha256"):
        check_volumes(folder, KEY, HELD_OUT)


def test_files_are_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_volumes(tmp_path, per_class=3, manifest={"origin": behind("a").to_json()})
    content = json.loads((tmp_path / "manifest.json").read_text())
    for entry in content["volumes"]:
        entry["sha256"] = sha256(tmp_path / entry["file"])
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    hashed = []
    monkeypatch.setattr("data_modules.volumes.folder.sha256", lambda path: hashed.append(path) or sha256(path))
    folder = VolumeFolder(tmp_path)
    assert check_volumes(folder, KEY, HELD_OUT).certain
    assert not folder.origin.unknown
    assert len(folder.checksums) == len(hashed) == 6


def test_the_key_lies_beside_exported_volumes(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, {})
    assert folder.patient_key is None
    (tmp_path / "split.private.json").write_text(json.dumps(KEY.to_json()))
    assert folder.patient_key == KEY
    (tmp_path / "split.private.json").write_text("{}")
    with pytest.raises(InputError, match=r"split\.private\.json: holds no key"):
        _ = folder.patient_key
