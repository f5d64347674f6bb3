"""`tumorgen evaluate` as it is typed: with tumorgen's own folders, with those of others, and with what cannot work."""

from argparse import ArgumentError

import nibabel as nib
import numpy as np
import pytest
import torch
from front import HELPERS, tumorgen
from torch import nn
from volumes import blob, write_volumes

from tumorgen.commands.evaluate import run
from tumorgen.results.records import read_results

QUICK = ["--resamples", "20", "--permutations", "20", "--splits", "4", "--config", str(HELPERS / "quick_metrics.yaml")]


@pytest.fixture
def folders(tmp_path):
    parts = ("train", "val", "test")
    write_volumes(tmp_path / "real", 12, manifest={"kind": "real"}, parts=parts)
    write_volumes(tmp_path / "samples", 4, seed=500, manifest={"method": "X"})
    return ["--real", tmp_path / "real", "--generated", tmp_path / "samples", "--output", tmp_path / "results"]


def typed(*words):
    return run([str(word) for word in words])


def test_tables_are_printed_and_written(folders, tmp_path, capsys):
    assert typed(*folders, "--features", "classifier", *QUICK) == 0
    captured = capsys.readouterr()
    assert "All classes pooled: generated against real" in captured.out
    assert "Class LGG" in captured.out
    assert captured.out.splitlines()[-1] == str(tmp_path / "results")
    assert "Memorisation" in captured.err
    results = read_results(tmp_path / "results" / "evaluation.json")
    assert {record.group["generated"] for record in results.records} == {"samples"}
    (origin,) = {record.definition["extractor"]["origin"] for record in results.records if record.metric == "kid"}
    assert origin == "SmallCNN, 20 epochs on 8 real volumes held apart from those that are compared, seed 0"


def test_missing_mri_weights_are_one_line_and_nothing_is_written(folders, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TUMORGEN_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ValueError, match="Type `tumorgen weights` once, or choose features without it"):
        typed(*folders, *QUICK)
    assert not (tmp_path / "results").exists()


def test_volumes_of_others_are_refused_until_their_range_is_stated_and_conversion_allowed(folders, tmp_path, capsys):
    """Arrays (D, H, W) of 20 voxels, 0..255, RAS header of 1 mm: what a script with numpy and nibabel writes."""
    foreign = tmp_path / "foreign"
    for grade, name in enumerate(("LGG", "HGG")):
        (foreign / name).mkdir(parents=True)
        for i in range(3):
            voxels = np.rint(255 * (blob(700 + 10 * grade + i, 20, grade) + 1) / 2).astype(np.uint8)
            nib.save(nib.Nifti1Image(voxels, np.eye(4)), foreign / name / f"{i}.nii")
    words = [*folders[:2], "--generated", foreign, *folders[4:], "--features", "classifier", *QUICK]
    with pytest.raises(ValueError, match="nothing says which range its intensities have"):
        typed(*words)
    words += ["--generated_intensities", "0..255", "--generated_axes", "SPL"]
    with pytest.raises(ValueError, match=r"found 20x20x20 voxels of 2x2x2 mm, expected 16x16x16"):
        typed(*words)
    assert typed(*words, "--convert", "true", "--label", "theirs") == 0
    said = read_results(tmp_path / "results" / "evaluation.json").extra["inputs"]["generated"]
    assert said["label"] == "theirs"
    assert "headers ignored: stored axes taken as SPL, voxels of 2 mm" in said["conversions"]
    assert "6 volumes converted from 20x20x20 voxels of 2x2x2 mm to 16x16x16 voxels of 2x2x2 mm" in said["conversions"]
    assert "converted from 20x20x20" in capsys.readouterr().err


def test_checkpoints_and_scripts_as_features(folders, tmp_path):
    torch.jit.save(torch.jit.script(nn.Sequential(nn.AdaptiveAvgPool3d(4), nn.Flatten())), tmp_path / "pool.pt")
    assert typed(*folders, "--features", f"{tmp_path / 'pool.pt'}", "--script_normalisation", "zscore", *QUICK) == 0
    records = read_results(tmp_path / "results" / "evaluation.json").records
    (extractor,) = {tuple(record.definition["extractor"].items()) for record in records if record.metric == "fid"}
    assert dict(extractor)["name"] == "pool.pt"
    assert dict(extractor)["normalisation"] == "zscore"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--real": "absent"}, "--real: absent is not a folder"),
        ({"--generated": "absent"}, "--generated: absent is not a folder"),
        ({"--training": "absent"}, "--training: absent is not a folder"),
        ({"--output": "samples"}, "is the folder of --generated; choose another"),
        ({"--features": ","}, "--features: names no feature extractor"),
        ({"--features": "mir"}, "features mir: no such file; expected mri, classifier"),
        ({"--splits": "0"}, "--splits: found 0, expected at least 1"),
        ({"--generated_intensities": "black"}, "expected a range such as"),
    ],
)
def test_input_that_cannot_work_is_one_line(folders, tmp_path, monkeypatch, capsys, changes, message):
    monkeypatch.chdir(tmp_path)
    words = (
        dict(zip(map(str, folders[::2]), map(str, folders[1::2]), strict=True)) | {"--features": "classifier"} | changes
    )
    with pytest.raises(ValueError, match=message) as error:
        run([word for pair in words.items() for word in pair])
    assert "\n" not in str(error.value)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("words", [["--featurs", "mri"], ["--seed", "x"], ["--reference", "some"], []])
def test_unknown_options_are_refused(folders, words):
    with pytest.raises(ArgumentError):
        typed(*(folders if words else folders[:2]), *words)


def test_the_front_door_knows_the_command(folders, capsys):
    assert tumorgen("evaluate", *folders, "--features", "absent.pt") == 2
    assert "absent.pt: no such file" in capsys.readouterr().err
