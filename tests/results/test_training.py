"""Runs in the report: curves, figures of validation as records, and charts that belong together."""

import pytest
from results import evaluation_records, run_folder

from data_modules.errors import InputError
from tumorgen.results.html.training import is_run, read_run
from tumorgen.results.records import write_results

EVALUATED = (
    "evaluation/kid_mri",
    "evaluation/floor/kid_mri",
    "evaluation/kid_mri_HGG",
    "evaluation/ms_ssim_diversity_LGG",
    "evaluation/overhead",
)


def test_a_run_is_read_with_its_newest_pictures(tmp_path):
    run = read_run(run_folder(tmp_path / "vqgan" / "a"))
    assert run.name == "vqgan/a"
    assert run.system == "vqgan"
    assert {name: path.name for name, path in run.pictures.items()} == {"reconstructions": "reconstructions_0006.png"}
    assert run.curves["train/total"][0] == (5, 3.0)
    assert run.curves["val/psnr"][-1] == (59, 25.0)


def test_metrics_of_validation_are_records_of_the_run(tmp_path):
    run = read_run(run_folder(tmp_path / "vqgan" / "a"))
    records = run.records()
    assert set(records) == {"val/l1", "val/l1_HGG", "val/psnr"}
    own = records["val/psnr"]
    assert [own[name].value for name in ("last", "lowest", "highest")] == [25.0, 20.0, 25.0]
    assert own["lowest"].counts == {"step": 9, "logged": 6}
    assert own["last"].group == {"run": "vqgan/a"}
    (table,) = run.tables()
    assert set(table.records) == {record.id for found in records.values() for record in found.values()}


def test_parts_and_stages_of_a_figure_share_a_chart(tmp_path):
    panels = {panel.title: panel for panel in read_run(run_folder(tmp_path / "vqgan" / "a")).panels()}
    assert list(panels) == ["total", "l1", "psnr"]
    assert panels["l1"].names == {"val": "val/l1", "val HGG": "val/l1_HGG"}


def test_evaluations_while_training_are_curves_with_their_titles_and_the_latest_a_table(tmp_path):
    folder = run_folder(tmp_path / "vqgan" / "a")
    lines = ["epoch,step," + ",".join(EVALUATED)]
    for epoch in (1, 2):
        lines.append(f"{epoch},{epoch},0.5,0.1,0.4,0.2,0.01")
        records = evaluation_records(f"epoch {epoch}")
        write_results(folder / "evaluations" / f"epoch_{epoch:04d}.json", "evaluation", records, epoch=epoch)
    (folder / "csv" / "metrics.csv").write_text("\n".join(lines) + "\n")
    run = read_run(folder)
    panels = {panel.title: panel for panel in run.panels()}
    assert set(panels) == {"KID (mri)", "MS-SSIM diversity", "overhead"}
    assert panels["KID (mri)"].better == "lower"
    assert panels["KID (mri)"].names == {
        "pooled": "evaluation/kid_mri",
        "pooled floor": "evaluation/floor/kid_mri",
        "HGG": "evaluation/kid_mri_HGG",
    }
    assert list(panels["MS-SSIM diversity"].names) == ["LGG"]
    assert [table.title for table in run.tables()] == [
        "Run vqgan/a, epoch 2: All classes pooled: generated against real",
        "Run vqgan/a, epoch 2: Class LGG: generated against real",
        "Run vqgan/a, epoch 2: Class HGG: generated against real",
    ]
    assert {record.id for record in run.all_records()} == {record.id for record in evaluation_records("epoch 2")}


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
