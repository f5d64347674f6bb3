"""Whom a generator was trained on: held-out patients stay out of it, and training volumes out of those held out."""

import json

import nibabel as nib
import pytest
from volumes import blob, write_volumes

from data_modules.errors import InputError
from data_modules.origin import Origin, PatientKey
from data_modules.volumes.file import to_nifti
from data_modules.volumes.folder import VolumeFolder
from tumorgen.evaluation.compare import Folders, Options, evaluate_folders
from tumorgen.metrics.metric import Resampling
from tumorgen.metrics.mmd import BlockMMD

KEY = PatientKey("own", bytes(32))


def with_key(folder):
    """The folder, its patients' key beside it as in an export."""
    (folder / "split.private.json").write_text(json.dumps(KEY.to_json()))
    return folder


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    parts = ("train", "train", "val", "test")
    folder = write_volumes(tmp_path_factory.mktemp("real"), 24, manifest={"kind": "real"}, parts=parts)
    return VolumeFolder(with_key(folder))


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    return VolumeFolder(write_volumes(tmp_path_factory.mktemp("samples"), 4, seed=500, manifest={"method": "X"}))


@pytest.fixture
def compared(tmp_path):
    def evaluate(real, generated, training=None, reference="held-out"):
        """The definition of a record."""
        (record, *_) = evaluate_folders(
            Folders(real, generated, training),
            [BlockMMD()],
            tmp_path,
            Options("classifier", reference=reference),
            Resampling(resamples=10, permutations=10, splits=4),
        ).records
        return record.definition

    return evaluate


def test_of_a_training_folder_with_parts_only_the_training_part_counts(tmp_path, real):
    plain = VolumeFolder(write_volumes(tmp_path / "held out", 4, seed=300, manifest={}))
    positions, held_out = Folders(plain, plain, real).trained_on()
    assert held_out.tolist() == list(range(8))
    assert [real.parts[real.names[i]] for i in positions] == ["train"] * 24
    nobody = VolumeFolder(write_volumes(tmp_path / "b", 4, seed=100, manifest={}, parts=("test",)))
    with pytest.raises(InputError, match=r"manifest\.json names no volume for training"):
        Folders(plain, plain, nobody).trained_on()


def test_training_volumes_among_those_held_out_are_refused(tmp_path, generated, compared):
    held_out = write_volumes(tmp_path / "a", 4, seed=300, manifest={})
    training = write_volumes(tmp_path / "b", 4, seed=0, manifest={})
    nib.save(to_nifti(blob(302)[:, ::-1], 2.0), training / "LGG" / "LGG_0002.nii.gz")
    folders = VolumeFolder(held_out), VolumeFolder(training)
    with pytest.raises(InputError, match=r"1 volumes are in both .--real LGG/LGG_0003 equals --training LGG/LGG_0002"):
        compared(folders[0], generated, folders[1])
    for folder, patients in ((held_out, "ABCDEFGH"), (training, "abcDEfgh")):
        manifest = json.loads((folder / "manifest.json").read_text())
        for entry, patient in zip(manifest["volumes"], patients, strict=True):
            entry["patient"] = patient
        (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(
        InputError, match=r"overlap: 2 patients \(D, E\) are in both, expected none.*leave --training out"
    ):
        Folders(VolumeFolder(held_out), generated, VolumeFolder(training)).trained_on()


def made_by(folder, patients, key=KEY, **more):
    """Generated volumes whose generator was trained on `patients`."""
    origin = Origin(key.split, 0, key.hashes(patients), **more)
    return VolumeFolder(write_volumes(folder, 3, seed=500, manifest={"origin": origin.to_json()}))


def test_generators_that_were_trained_on_held_out_patients_are_refused(tmp_path, real, compared):
    by_part = {part: [real.patients[i] for i in real.indices(parts=[part])] for part in ("train", "val", "test")}
    honest = made_by(tmp_path / "honest", by_part["train"])
    for reference in ("held-out", "all"):
        definition = compared(real, honest, reference=reference)
        assert definition["held_out_patients"].startswith("verified: no held-out patient")
        for part in ("val", "test"):
            leaky = made_by(tmp_path / f"{reference}-{part}", [*by_part["train"], by_part[part][0]])
            with pytest.raises(
                InputError, match=rf"1 of the 24 held-out patients \({by_part[part][0]}\) were in the training data"
            ):
                compared(real, leaky, reference=reference)
    partly = made_by(tmp_path / "partly", by_part["train"], unknown=True)
    foreign = made_by(tmp_path / "foreign", by_part["test"], key=PatientKey("other", bytes(16)))
    for unknown in (partly, foreign, VolumeFolder(write_volumes(tmp_path / "x", 3, manifest={}))):
        assert compared(real, unknown)["held_out_patients"].startswith("not verified")


def test_a_generator_trained_on_volumes_that_a_training_folder_leaves_for_comparison_is_refused(
    tmp_path, real, compared
):
    plain = write_volumes(tmp_path / "real", 4, seed=300, manifest={})
    generated = made_by(tmp_path / "samples", ["P3"])
    assert "held_out_patients" not in compared(VolumeFolder(plain), generated)
    said = compared(VolumeFolder(plain), generated, real)["held_out_patients"]
    assert said == "not verified: nothing says which patients the volumes of real are of"
    manifest = json.loads((plain / "manifest.json").read_text())
    for index, entry in enumerate(manifest["volumes"]):
        entry["patient"] = f"P{index}"
    (plain / "manifest.json").write_text(json.dumps(manifest))
    said = compared(VolumeFolder(plain), generated, real)["held_out_patients"]
    assert said.startswith("not verified: origin cannot be checked: the key of the patients' hashes")
    with_key(plain)
    with pytest.raises(InputError, match=r"1 of the 8 held-out patients \(P3\) were in the training data"):
        compared(VolumeFolder(plain), generated, real)
