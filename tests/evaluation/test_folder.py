"""What an evaluation leaves on disk: complete, readable, and never in the place of something else."""

import numpy as np
import pytest
from volumes import blob, write_volumes

from data_modules.errors import InputError
from data_modules.origin import Origin
from data_modules.volumes.folder import VolumeFolder
from tumorgen.evaluation.compare import Folders, Options
from tumorgen.evaluation.downstream import DownstreamAUC
from tumorgen.evaluation.folder import check_output, evaluate_to
from tumorgen.evaluation.pictures import best_flip
from tumorgen.metrics.kid import KID
from tumorgen.metrics.memorisation import Memorisation
from tumorgen.metrics.metric import Resampling
from tumorgen.metrics.shape import ShapePlausibility
from tumorgen.results.layouts import closest_pairs, evaluation_tables
from tumorgen.results.records import read_results

METRICS = (KID(), ShapePlausibility(), Memorisation(closest=2), DownstreamAUC(1, 1))
QUICK = Resampling(resamples=20, permutations=20, splits=4)
FILES = {
    "evaluation.json",
    "table.md",
    "table.tex",
    "table.txt",
    *(f"pictures/{name}.png" for name in ("samples", "closest_pairs", "closest_pairs_classifier")),
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    root = tmp_path_factory.mktemp("inputs")
    parts = ("train", "val", "test")
    manifest = {"kind": "real", "origin": Origin("the split", phantom=True).to_json()}
    real = VolumeFolder(write_volumes(root / "real", 12, manifest=manifest, parts=parts))
    generated = VolumeFolder(
        write_volumes(root / "samples", 4, seed=500, manifest={"method": "X", "system": {"name": "mine"}})
    )
    return Folders(real, generated), METRICS, Options("classifier"), QUICK


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_everything_is_there_and_agrees(inputs, tmp_path):
    output = tmp_path / "results" / "first"
    evaluation = evaluate_to(output, *inputs)
    assert files(output) == FILES
    assert [path.name for path in output.parent.iterdir()] == ["first"]
    assert output.stat().st_mode & 0o777 == (tmp_path / "results").stat().st_mode & 0o777
    results = read_results(output / "evaluation.json")
    assert results.kind == "evaluation"
    assert [record.id for record in results.records] == [record.id for record in evaluation.records]
    shown = {identity for table in evaluation_tables(results.records) for identity in table.records}
    assert shown == {record.id for record in results.records}
    for table in evaluation_tables(results.records):
        assert table.to_markdown() in (output / "table.md").read_text()
    assert all((output / path).is_file() for path in results.extra["pictures"].values())
    said = results.extra["inputs"]
    assert said["real"]["parts"] == {"test": 8, "train": 8, "val": 8}
    assert said["real"]["volumes"] == {"LGG": 12, "HGG": 12}
    assert (said["generated"]["label"], said["generated"]["method"]) == ("mine", "X")
    assert said["generated"]["system"] == {"name": "mine"}
    assert {record.group["generated"] for record in results.records} == {"mine"}
    assert said["generated"]["conversions"] == ["intensities 0..1 mapped to -1..1"]
    assert len(said["generated"]["manifest_sha256"]) == 64
    assert (said["real"]["split"], said["real"]["phantom"]) == ("the split", True)
    assert (said["generated"]["split"], said["generated"]["phantom"]) == (None, False)
    assert said["memorisation"] == {"training_volumes": 8, "reference": "held-out"}
    pairs = closest_pairs(results.records)
    assert [pair["space"] for pair in pairs] == ["voxels"] * 2 + ["classifier"] * 2
    assert all(pair["generated"].startswith(("LGG/LGG_", "HGG/HGG_")) for pair in pairs)
    training = {name for name, part in inputs[0].real.parts.items() if part == "train"}
    assert {pair["training"] for pair in pairs} <= training


def test_an_evaluation_is_replaced_only_when_told(inputs, tmp_path):
    output = tmp_path / "x"
    evaluate_to(output, *inputs)
    (output / "report.html").write_text("mine")
    before = (output / "evaluation.json").read_bytes()
    with pytest.raises(InputError, match=r"--output: .*x holds an evaluation already.*--overwrite"):
        evaluate_to(output, *inputs)
    assert (output / "evaluation.json").read_bytes() == before
    folders, metrics, _, resampling = inputs
    evaluate_to(output, folders, metrics, Options("classifier", label="again"), resampling, overwrite=True)
    assert files(output) == FILES | {"report.html"}
    assert read_results(output / "evaluation.json").extra["inputs"]["generated"]["label"] == "again"


def test_other_folders_are_never_written_to(inputs, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="holds something else than an evaluation"):
            evaluate_to(tmp_path, *inputs, overwrite=overwrite)
    assert files(tmp_path) == {"notes.txt"}
    with pytest.raises(InputError, match="holds something else"):
        check_output(tmp_path / "notes.txt", overwrite=True)
    (tmp_path / "empty").mkdir()
    check_output(tmp_path / "empty", overwrite=False)
    check_output(tmp_path / "absent", overwrite=False)


def test_what_fails_at_the_end_leaves_nothing(inputs, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr("tumorgen.evaluation.folder.write_results", full)
    with pytest.raises(OSError, match="no space"):
        evaluate_to(tmp_path / "x", *inputs)
    assert list(tmp_path.iterdir()) == []


def test_a_training_volume_is_shown_flipped_as_it_fits():
    volume = blob(0)
    volume[2:5, 3:6, 4] = 0.9
    for axes, names in (((), ()), ((0,), ("depth",)), ((1, 2), ("rows", "columns"))):
        turned, found = best_flip(np.flip(volume, axes), volume)
        assert found == names
        np.testing.assert_array_equal(turned, volume)
