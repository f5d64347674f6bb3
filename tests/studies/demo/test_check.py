"""The demonstration's check finds what is wrong with samples."""

from pathlib import Path

import numpy as np
import pytest
import torch
from toy import blob
from volumes import write_volumes

from data_modules.errors import InputError
from data_modules.volumes.file import to_nifti
from tumorgen.studies.demo.check import Finding, equal_pairs, read_samples
from tumorgen.studies.demo.folders import DemoFolder
from tumorgen.studies.demo.plans import PLANS


def test_samples_are_read_as_they_were_written(tmp_path: Path) -> None:
    import nibabel as nib

    volumes = {name: blob(label, 16, 7 + label)[0].numpy() for label, name in enumerate(("LGG", "HGG"))}
    for name, volume in volumes.items():
        (tmp_path / name).mkdir()
        nib.save(to_nifti(volume, spacing=4.0), tmp_path / name / f"{name}_0001.nii.gz")
    found, labels = read_samples(tmp_path, ("LGG", "HGG"))
    assert labels.tolist() == [0, 1]
    for volume, read in zip(volumes.values(), found[:, 0].numpy(), strict=True):
        assert np.allclose(np.where(volume > -0.9, volume, -1), read, atol=1e-6)


def test_a_class_without_samples_is_an_error(tmp_path: Path) -> None:
    write_volumes(tmp_path, per_class=1, classes=("LGG",))
    with pytest.raises(InputError, match="HGG: holds no sampled volume"):
        read_samples(tmp_path, ("LGG", "HGG"))


def test_equal_volumes_are_counted_within_a_class() -> None:
    a, b = blob(0, 16, 1), blob(0, 16, 2)
    volumes = torch.stack([a, a, b, a])
    assert equal_pairs(volumes, torch.tensor([0, 0, 0, 1])) == 1
    assert equal_pairs(volumes, torch.tensor([0, 0, 0, 0])) == 3


def test_findings_know_their_range() -> None:
    assert Finding("x", 0.5, 0.5).reached
    assert not Finding("x", 0.49, 0.5).reached
    assert not Finding("x", 0.7, 0.4, 0.6).reached
    assert not Finding("x", float("nan"), 0.4).reached


def test_the_plans_ask_for_what_was_promised() -> None:
    assert PLANS["demo"].thresholds["shape_dice"] == 0.80
    for name, least in {"reconstruction_auc_ratio": 0.95, "generated_auc": 0.75, "plausible_share": 0.85}.items():
        assert PLANS["showcase"].thresholds[name] == least
        assert PLANS["demo"].thresholds[name] < least


def test_a_folder_without_a_demonstration(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no demonstration"):
        DemoFolder(tmp_path).data()
