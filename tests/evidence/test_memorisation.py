"""Copies of training volumes among generated ones, also mirrored or with noise on top, are found by `tumorgen evaluate`."""

import nibabel as nib
import numpy as np
import pytest
import torch
from front import tumorgen
from phantom_regions import regions

from data_modules.files import write_json
from data_modules.volumes.file import to_nifti
from tumorgen.results.layouts import closest_pairs
from tumorgen.results.records import read_results

CLASSES = ("LGG", "HGG")
DISGUISES = {
    "plain": lambda volume: volume,
    "mirrored": lambda volume: volume.flip((1,)),
    "mirrored twice": lambda volume: volume.flip((0, 2)),
    "noisy": lambda volume: torch.where(volume > -0.9, volume + 0.02 * torch.randn(volume.shape), volume),
}


def write(folder, volumes, prefix, parts=None):
    """Volumes (2, n, 32, 32, 32) as a folder of regions; with `parts`, a manifest that says what was trained on."""
    entries = []
    for name, own in zip(CLASSES, volumes, strict=True):
        (folder / name).mkdir(parents=True)
        for index, volume in enumerate(own):
            file = f"{name}/{prefix}{name}_{index:03d}.nii.gz"
            nib.save(to_nifti(volume.clamp(-1, 1).numpy(), 4.0), folder / file)
            part = {"part": parts[index]} if parts else {}
            entries.append({"file": file, "class": name, "case": file, "patient": file, **part})
    stated = {"class_names": CLASSES, "roi_size": 32, "spacing_mm": 4.0, "intensities": "[0, 1]"}
    write_json(folder / "manifest.json", {**stated, "volumes": entries})
    return folder


def audit(tmp_path, training, held_out, fresh):
    """Evaluates as many fresh volumes as copies, half of them disguised; returns the pooled record and the closest pairs."""
    torch.manual_seed(0)
    copies = torch.stack(
        [
            torch.stack([list(DISGUISES.values())[i % len(DISGUISES)](volume) for i, volume in enumerate(own)])
            for own in training[:, : fresh.shape[1]]
        ]
    )
    parts = ["train"] * training.shape[1] + ["test"] * held_out.shape[1]
    real = write(tmp_path / "real", torch.cat([training, held_out], 1), "real", parts)
    for name, volumes in (("new", fresh), ("copied", torch.cat([fresh, copies], 1))):
        write(tmp_path / name, volumes, "generated")
        out = tmp_path / f"{name}-out"
        words = ("--real", real, "--generated", tmp_path / name, "--output", out, "--features", "classifier")
        assert tumorgen("evaluate", *words) == 0
        results = read_results(out / "evaluation.json")
        shares = {
            record.metric: record
            for record in results.records
            if record.metric.startswith("memorisation_share") and record.group["class"] == "pooled"
        }
        yield shares["memorisation_share_voxels"], closest_pairs(results.records)


def hold(tmp_path, training, held_out, fresh):
    own = regions(seed=0, number=training + held_out).squeeze(1).unflatten(0, (2, -1))
    others = regions(seed=1, number=fresh).squeeze(1).unflatten(0, (2, -1))
    (new, _), (copied, pairs) = audit(tmp_path, own[:, :training], own[:, training:], others)
    copies = 2 * fresh
    assert copied.details["near_copies"] >= copies, "every copy is found"
    assert copied.details["near_copies"] - copies <= new.details["near_copies"], "and nothing else because of them"
    assert copied.value >= 0.5 > new.value
    # the pairs shown are copies beside their originals, found under every disguise
    shown = [pair for pair in pairs if pair["space"] == "voxels"][:copies]
    assert all(index(pair["generated"]) - fresh == index(pair["training"]) for pair in shown), shown
    assert np.median([pair["distance"] for pair in shown]) < 0.1 * copied.details["limit"]


def index(name):
    return int(name.removesuffix(".nii.gz").rpartition("_")[2])


def test_copies_are_caught_among_a_few(tmp_path):
    hold(tmp_path, training=8, held_out=6, fresh=4)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_copies_are_caught(tmp_path):
    hold(tmp_path, training=60, held_out=20, fresh=24)
