"""Whom a generator was trained on: held-out patients stay out of it, and training volumes out of those held out."""

import dataclasses
import json

import nibabel as nib
import pytest
import torch
from volumes import blob, write_volumes

from data_modules.errors import InputError
from data_modules.volumes.file import to_nifti
from data_modules.volumes.folder import VolumeFolder
from tumorgen.classifier.networks import SmallCNN
from tumorgen.evaluation.compare import evaluate
from tumorgen.evaluation.extractors import ClassifierExtractor
from tumorgen.evaluation.groups import Settings, compare
from tumorgen.evaluation.memory import training_of
from tumorgen.provenance import trained_on

SETTINGS = Settings(resamples=50, permutations=50, splits=8, passes=20, pairs=10, neighbours=2, mmd_batch=3, closest=3)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    parts = ("train", "train", "val", "test")
    return VolumeFolder(write_volumes(tmp_path_factory.mktemp("real"), 24, manifest={"kind": "real"}, parts=parts))


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    return VolumeFolder(write_volumes(tmp_path_factory.mktemp("samples"), 4, seed=500, manifest={"method": "X"}))


@pytest.fixture(scope="module")
def extractor():
    torch.manual_seed(0)
    return ClassifierExtractor(SmallCNN(widths=(4, 8)), "untrained")


def test_of_a_training_folder_with_parts_only_the_training_part_counts(tmp_path, real):
    plain = VolumeFolder(write_volumes(tmp_path / "held out", 4, seed=300, manifest={}))
    found = training_of(plain, real)
    assert [real.parts[real.names[i]] for i in found.positions] == ["train"] * 24
    nobody = VolumeFolder(write_volumes(tmp_path / "b", 4, seed=100, manifest={}, parts=("test",)))
    with pytest.raises(InputError, match=r"manifest\.json names no volume for training"):
        training_of(plain, nobody)


def test_training_volumes_among_those_held_out_are_refused(tmp_path, generated, extractor):
    held_out = write_volumes(tmp_path / "a", 4, seed=300, manifest={})
    training = write_volumes(tmp_path / "b", 4, seed=0, manifest={})
    nib.save(to_nifti(blob(302)[:, ::-1], 2.0), training / "LGG" / "LGG_0002.nii.gz")
    folders = VolumeFolder(held_out), VolumeFolder(training)
    with pytest.raises(InputError, match=r"1 volumes are in both .--real LGG/LGG_0003 equals --training LGG/LGG_0002"):
        evaluate(folders[0], generated, [extractor], SETTINGS, training=folders[1])
    for folder, patients in ((held_out, "ABCDEFGH"), (training, "abcDEfgh")):
        manifest = json.loads((folder / "manifest.json").read_text())
        for entry, patient in zip(manifest["volumes"], patients, strict=True):
            entry["patient"] = patient
        (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(
        InputError, match=r"overlap: 2 patients \(D, E\) are in both, expected none.*leave --training out"
    ):
        training_of(VolumeFolder(held_out), VolumeFolder(training))


def made_by(folder, patients, **more):
    """Generated volumes whose generator was trained on `patients`."""
    origin = {**trained_on(patients), **more}
    return VolumeFolder(write_volumes(folder, 3, seed=500, manifest={"training_patients": origin}))


def test_generators_that_were_trained_on_held_out_patients_are_refused(tmp_path, real):
    by_part = {part: [real.patients[i] for i in real.indices(parts=[part])] for part in ("train", "val", "test")}
    honest = made_by(tmp_path / "honest", by_part["train"])
    for reference in ("held-out", "all"):
        settings = dataclasses.replace(SETTINGS, reference=reference)
        definition = compare(real, honest, settings, "x").definition()
        assert definition["held_out_patients"].startswith("verified: no held-out patient")
        for part in ("val", "test"):
            leaky = made_by(tmp_path / f"{reference}-{part}", [*by_part["train"], by_part[part][0]])
            with pytest.raises(
                InputError, match=rf"1 of the 24 patients held out .*{by_part[part][0]}.*prepare --data.fold"
            ):
                compare(real, leaky, settings, "x")
    partly = made_by(tmp_path / "partly", by_part["train"], training_patients_unknown=True)
    for unknown in (partly, VolumeFolder(write_volumes(tmp_path / "x", 3, manifest={}))):
        assert compare(real, unknown, SETTINGS, "x").definition()["held_out_patients"].startswith("not verified")


def test_a_generator_trained_on_volumes_that_a_training_folder_leaves_for_comparison_is_refused(tmp_path, real):
    plain = write_volumes(tmp_path / "real", 4, seed=300, manifest={})
    generated = made_by(tmp_path / "samples", ["P3"])
    assert "held_out_patients" not in compare(VolumeFolder(plain), generated, SETTINGS, "x").definition()
    said = compare(VolumeFolder(plain), generated, SETTINGS, "x", training=real).definition()["held_out_patients"]
    assert said == "not verified: nothing says which patients the volumes of real are of"
    manifest = json.loads((plain / "manifest.json").read_text())
    for index, entry in enumerate(manifest["volumes"]):
        entry["patient"] = f"P{index}"
    (plain / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"1 of the 8 patients held out in .*real \(P3\) were in the training data"):
        compare(VolumeFolder(plain), generated, SETTINGS, "x", training=real)
