"""`tumorgen prepare`: the same options as `fit`, a summary, and one line for what cannot be used."""

from argparse import ArgumentError
from pathlib import Path

import pytest
import yaml

from data_modules.errors import InputError
from data_modules.volumes.folder import VolumeFolder
from tumorgen.commands.prepare import run

SMALL = ["--data.roi_size", "32", "--data.folds", "2"]


def test_prepares_and_prints_a_summary(tiny_cohort, tmp_path, capsys):
    assert run(["--data.root", str(tiny_cohort), "--data.cache_dir", str(tmp_path), *SMALL]) == 0
    out = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
    assert [row[:5] for row in rows] == [["LGG", "0", "4", "4", "0"], ["HGG", "1", "4", "4", "0"]]
    assert sum(int(cell) for row in rows for cell in row[5:]) == 8
    folder = Path(out.splitlines()[-1])
    assert (folder / "manifest.json").is_file()
    assert len(list(tmp_path.glob("*/split.private.json"))) == 1
    assert not list(tiny_cohort.rglob("split*")), "never among the scans"
    assert len(list((folder.parent / "rois").glob("*.npy"))) == 8


def test_takes_an_experiment_and_ignores_its_other_sections(tiny_cohort, tmp_path):
    data = {
        "class_path": "data_modules.brats.BraTSDataModule",
        "init_args": {"root": str(tiny_cohort), "cache_dir": str(tmp_path), "roi_size": 16, "spacing": 2.0, "folds": 2},
    }
    experiment = {
        "experiment": "x",
        "model": {"class_path": "a.Model", "init_args": {"width": 3}},
        "trainer": {"max_epochs": 3, "callbacks": [{"class_path": "b.Callback"}]},
        "seed_everything": 1,
        "wandb": {"mode": "offline"},
        "data": data,
    }
    (tmp_path / "e.yaml").write_text(yaml.safe_dump(experiment))
    assert run(["--config", str(tmp_path / "e.yaml"), "--data.spacing", "1.5"]) == 0
    assert len(list(tmp_path.glob("flair-16-1.5mm-crop-*/rois/*.npy"))) == 8


def test_shipped_experiments_are_accepted(tiny_cohort, tmp_path):
    shipped = Path(__file__).parents[2] / "experiments" / "vqgan.yaml"
    options = ["--data.root", str(tiny_cohort), "--data.cache_dir", str(tmp_path), *SMALL]
    assert run(["--config", str(shipped), *options]) == 0


def test_export_writes_a_folder_that_evaluate_reads(tiny_cohort, tmp_path, capsys):
    options = ["--data.root", str(tiny_cohort), "--data.cache_dir", str(tmp_path), *SMALL]
    assert run([*options, "--export", str(tmp_path / "real")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "real")
    folder = VolumeFolder(tmp_path / "real")
    assert len(folder) == 8
    assert set(folder.parts.values()) == {"train", "val", "test"}


def test_any_data_module_is_prepared_and_exported(tmp_path, capsys):
    assert run(["--data", "toy.ToyDataModule", "--export", str(tmp_path / "real")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [cell.strip() for cell in lines[3].split("│")[1:-1]] == ["LGG", "0", "8", "8", "4", "2", "2"]
    folder = VolumeFolder(tmp_path / "real")
    assert len(folder) == 16
    assert folder.patients[0] == "blob0000"
    assert run(["--data", "toy_parts.WithoutTest", "--export", str(tmp_path / "parts")]) == 0
    assert set(VolumeFolder(tmp_path / "parts").parts.values()) == {"train", "val"}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--data.root", "x", "--data.roo", "y"],
        ["--data.root", "x", "--data.roi_siz", "32"],
        ["--data.root", "x", "--modle.width", "3"],
        ["--conf", "e.yaml"],
        ["--data.root", "x", "--data.modality", "adc"],
        ["--data.root", "x", "--data.oversize", "squeeze"],
        ["--data.root", "x", "--data.roi_size", "large"],
    ],
)
def test_unknown_options_are_refused(arguments):
    with pytest.raises(ArgumentError):
        run(arguments)


def test_input_errors_reach_the_caller(tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        run(["--data.root", str(tmp_path / "absent")])
