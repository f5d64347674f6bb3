"""Runs in the report: curves, figures of validation as records, and charts that belong together."""

import pytest
from results import run_folder

from data_modules.errors import InputError
from tumorgen.results.html.training import is_run, read_run


def test_a_run_is_read_with_its_newest_pictures(tmp_path):
    run = read_run(run_folder(tmp_path / "vqgan" / "a"))
    assert run.name == "vqgan/a"
    assert run.model == "VQGAN"
    assert {name: path.name for name, path in run.pictures.items()} == {"reconstructions": "reconstructions_0006.png"}
    assert run.curves["train/total"][0] == (5, 3.0)
    assert run.curves["val/psnr"][-1] == (59, 25.0)


def test_figures_of_validation_are_records_of_the_run(tmp_path):
    run = read_run(run_folder(tmp_path / "vqgan" / "a"))
    records = run.records()
    assert set(records) == {"val/l1", "val/l1_HGG", "val/psnr"}
    own = records["val/psnr"]
    assert [own[name].value for name in ("last", "lowest", "highest")] == [25.0, 20.0, 25.0]
    assert own["lowest"].counts == {"step": 9, "logged": 6}
    assert own["last"].group == {"run": "vqgan/a"}
    table = run.table()
    assert set(table.records) == {record.id for found in records.values() for record in found.values()}


def test_parts_and_stages_of_a_figure_share_a_chart(tmp_path):
    panels = dict(read_run(run_folder(tmp_path / "vqgan" / "a")).panels())
    assert list(panels) == ["total", "l1", "psnr"]
    assert set(panels["l1"]) == {"val", "val HGG"}


def test_infinite_and_missing_values_are_left_out(tmp_path):
    folder = run_folder(tmp_path / "vqgan" / "a")
    (folder / "csv" / "metrics.csv").write_text("epoch,step,val/auc\n0,9,nan\n1,19,inf\n2,29,0.5\n,,\n")
    assert read_run(folder).curves == {"val/auc": [(29.0, 0.5)]}


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.yaml", "model: [unclosed"),
        ("config.yaml", "just words"),
        ("csv/metrics.csv", "epoch,step,val/l1\n0,9,half\n"),
        ("csv/metrics.csv", "epoch,val/l1\n0,0.5\n"),
    ],
)
def test_damaged_runs_are_named(tmp_path, file, content):
    folder = run_folder(tmp_path / "vqgan" / "a")
    (folder / file).write_text(content)
    with pytest.raises(InputError, match="damaged"):
        read_run(folder)


def test_only_folders_with_curves_or_pictures_are_runs(tmp_path):
    folder = run_folder(tmp_path / "vqgan" / "a")
    assert is_run(folder)
    (folder / "csv" / "metrics.csv").unlink()
    assert is_run(folder)
    (folder / "config.yaml").unlink()
    assert not is_run(folder)
