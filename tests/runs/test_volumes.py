"""Volumes on disk: geometry, continuing where a run was killed, and what is never written over."""

import hashlib
import json
from pathlib import Path
from typing import Any

import lightning as L
import nibabel as nib
import numpy as np
import pytest
from stage2_probes import Noise

from data_modules.errors import InputError
from data_modules.origin import Origin
from data_modules.request import SamplingRequest
from data_modules.volumes.file import to_nifti
from tumorgen.runs.volumes import VolumeWriter

COUNTS = {"LGG": 3, "HGG": 4}


def sample(folder: Path, model: Noise | None = None, counts: dict[str, int] = COUNTS, **options: Any) -> Noise:
    """Runs predict as the command line does; returns the generator, which knows what it sampled."""
    model = model or Noise()
    seed, batch_size = options.pop("seed", 0), options.pop("batch_size", 2)
    writer = VolumeWriter(folder, **options)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(accelerator="cpu", callbacks=[writer], enable_checkpointing=False, **quiet)
    request = SamplingRequest(counts, seed=seed, batch_size=batch_size)
    assert trainer.predict(model, request, return_predictions=False) is None
    assert trainer.predict_loop.predictions in ([], [[]]), "nothing is kept"
    return model


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*.nii.gz")
    }


# ---------------------------------------------------------------------- one image


def test_voxels_are_lps_and_the_volume_is_centred_on_the_origin() -> None:
    volume = np.linspace(-0.5, 1, 4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)  # depth, row, column
    image = to_nifti(volume, spacing=1.5)
    voxels = np.asarray(image.dataobj)
    assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
    assert voxels.shape == (6, 5, 4)
    assert voxels[5, 2, 1] == (volume[1, 2, 5] + 1) / 2
    np.testing.assert_allclose(image.header.get_zooms(), 1.5)
    corners = nib.affines.apply_affine(image.affine, [[0, 0, 0], [5, 4, 3]])
    np.testing.assert_allclose(corners[0], -corners[1], atol=1e-6)
    np.testing.assert_allclose(corners[0], [3.75, 3, -2.25])
    assert image.header.get_xyzt_units()[0] == "mm"


@pytest.mark.parametrize(("dtype", "top"), [("float32", 1.0), ("int16", 1000)])
def test_intensities(dtype: str, top: float) -> None:
    volume = np.array([-1.0, -0.95, -0.9, -0.899, 0.0, 1.0, 1.2, -1.3], dtype=np.float32).reshape(2, 2, 2)
    voxels = np.asarray(to_nifti(volume, 1.0, dtype).dataobj).transpose(2, 1, 0).ravel()
    assert voxels.dtype == dtype
    assert (voxels[[0, 1, 2, 7]] == 0).all(), "background is exactly 0"
    assert voxels[3] == pytest.approx(0.0505 * top, abs=0.5 if top > 1 else 1e-6)
    assert voxels[4] == pytest.approx(top / 2)
    assert (voxels[[5, 6]] == top).all()


# ---------------------------------------------------------------------- a folder


def test_files_and_manifest(tmp_path: Path) -> None:
    sample(tmp_path, seed=10)
    files = {f"{name}/{name}_{i + 1:04d}.nii.gz" for name, count in COUNTS.items() for i in range(count)}
    assert set(digests(tmp_path)) == files
    written = manifest(tmp_path)
    assert {entry["file"]: entry["seed"] for entry in written["volumes"]} == {
        f"{name}/{name}_{i + 1:04d}.nii.gz": 10 + 2 * i + label
        for label, (name, count) in enumerate(COUNTS.items())
        for i in range(count)
    }
    assert all(entry["class"] == entry["file"][:3] and entry["empty"] is False for entry in written["volumes"])
    assert {entry["file"]: entry["sha256"] for entry in written["volumes"]} == digests(tmp_path)
    assert written["method"] == "Noise"
    (generator,) = written["generators"]
    assert generator["sampler"] == {"class": "Noise", "precision": "32-true"}
    assert generator["packages"]["torch"]
    assert Origin.from_json(written["origin"]) == Origin("s", 0, ("p",))
    assert written["spacing_mm"] == 2.0


def test_a_manifest_admits_what_is_not_known(tmp_path: Path) -> None:
    model = Noise()
    model.origin = Origin(unknown=True)
    sample(tmp_path, model)
    assert Origin.from_json(manifest(tmp_path)["origin"]) == Origin(unknown=True)


def test_a_killed_run_continues_and_ends_like_an_uninterrupted_one(tmp_path: Path) -> None:
    sample(tmp_path / "whole")
    with pytest.raises(RuntimeError, match="killed"):
        sample(tmp_path / "cut", Noise(fail_at=5))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cut").rglob("*.nii.gz")}
    assert len(before) == 4, "two full batches"
    again = sample(tmp_path / "cut")
    assert again.sampled == [(1, 3), (1, 5), (1, 7)], "nothing is sampled twice"
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole")
    assert manifest(tmp_path / "cut") == manifest(tmp_path / "whole")
    assert sample(tmp_path / "cut").sampled == []


@pytest.mark.parametrize("files", [0, 1, 2])
def test_a_run_killed_between_two_files_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int) -> None:
    sample(tmp_path / "whole")
    save, saved = nib.save, []

    def broken(image: nib.Nifti1Image, path: Path) -> None:
        if len(saved) == files:
            path.write_bytes(b"half a file")
            raise OSError("power cut")
        saved.append(path)
        save(image, path)

    monkeypatch.setattr(nib, "save", broken)
    with pytest.raises(OSError, match="power cut"):
        sample(tmp_path / "cut", batch_size=4)
    monkeypatch.undo()
    # a process that is killed outright cannot remove its temporary file
    (tmp_path / "cut" / "LGG" / ".LGG_0003.nii.gz.abc.tmp.nii.gz").write_bytes(b"half a file")
    assert len(sample(tmp_path / "cut", batch_size=4).sampled) == 7 - files
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole")
    assert manifest(tmp_path / "cut") == manifest(tmp_path / "whole")


def test_checksums_are_of_what_was_written(tmp_path: Path) -> None:
    """A file that somebody changes later keeps the checksum of what was sampled."""
    sample(tmp_path)
    before, whole = digests(tmp_path), manifest(tmp_path)
    (tmp_path / "LGG" / "LGG_0001.nii.gz").write_bytes(b"another volume")
    assert sample(tmp_path).sampled == []
    assert manifest(tmp_path) == whole
    assert {entry["file"]: entry["sha256"] for entry in whole["volumes"]} == before


def test_more_volumes_are_added_and_fewer_take_none_away(tmp_path: Path) -> None:
    sample(tmp_path, counts={"LGG": 2})
    assert sample(tmp_path, counts={"LGG": 3, "HGG": 1}).sampled == [(0, 4), (1, 1)]
    assert sample(tmp_path, counts={"LGG": 1}).sampled == []
    assert len(manifest(tmp_path)["volumes"]) == len(digests(tmp_path)) == 4


def test_volumes_of_another_run_are_refused_or_replaced_as_a_whole(tmp_path: Path) -> None:
    sample(tmp_path, counts={"LGG": 3})
    before = digests(tmp_path)
    for changed in ({"seed": 1}, {"dtype": "int16"}, {"dtype": "int16", "counts": {"HGG": 1}}):
        with pytest.raises(InputError, match=r"LGG_0001.nii.gz of another run .*--output.overwrite"):
            sample(tmp_path, **{"counts": {"LGG": 3}, **changed})
        assert digests(tmp_path) == before
    sample(tmp_path, counts={"LGG": 2}, dtype="int16", overwrite=True)
    assert sorted(digests(tmp_path)) == ["LGG/LGG_0001.nii.gz", "LGG/LGG_0002.nii.gz"], "not two runs in one folder"
    assert manifest(tmp_path)["intensities"] == "0..1000"
    assert nib.load(tmp_path / "LGG/LGG_0001.nii.gz").get_data_dtype() == np.int16
    assert sample(tmp_path, counts={"LGG": 2}, dtype="int16", overwrite=True).sampled == [], "nor is it done twice"


def test_generators_of_one_class_each_come_to_one_folder(tmp_path: Path) -> None:
    members = {name: Noise(class_names=(name,)) for name in ("HGG", "LGG")}
    for number, (name, member) in enumerate(members.items()):
        member.origin = Origin("s", 0, (f"patient {number}",))
        sample(tmp_path, member, counts={name: 3})
    written = manifest(tmp_path)
    assert written["class_names"] == ["LGG", "HGG"]
    assert [one["class_names"] for one in written["generators"]] == [["LGG"], ["HGG"]]
    assert {entry["file"]: entry["sha256"] for entry in written["volumes"]} == digests(tmp_path)
    assert Origin.from_json(written["origin"]).patients == ("patient 0", "patient 1")
    again = Noise(class_names=("HGG",))
    again.origin = members["HGG"].origin
    assert sample(tmp_path, again, counts={"HGG": 4}).sampled == [(0, 3)], "more of one class"
    assert len(manifest(tmp_path)["volumes"]) == 7
    before = digests(tmp_path)
    with pytest.raises(InputError, match=r"HGG_0001.nii.gz of another run"):
        sample(tmp_path, Noise(), counts={"LGG": 1}, seed=5)
    with pytest.raises(InputError, match=r"_0001.nii.gz of another run"):
        sample(tmp_path, Noise(roi_size=4, class_names=("GBM",)), counts={"GBM": 1})
    assert digests(tmp_path) == before


def test_the_batch_size_is_told_where_volumes_depend_on_it(tmp_path: Path) -> None:
    class Coupled(Noise):
        batch_invariant = False

    sample(tmp_path, Coupled(), batch_size=3)
    assert manifest(tmp_path)["generators"][0]["sampler"]["batch_size"] == 3
    with pytest.raises(InputError, match="of another run"):
        sample(tmp_path, Coupled(), batch_size=2)


def test_files_without_a_manifest_are_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "LGG" / "LGG_0002.nii.gz"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    with pytest.raises(InputError, match=r"LGG_0002.nii.gz of another run"):
        sample(tmp_path)
    assert mine.read_bytes() == b"mine"
    assert not (tmp_path / "manifest.json").exists()


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"volumes": 3}', '{"generators": [], "volumes": [{"file": "../x", "class": "LGG"}]}']
)
def test_a_foreign_manifest_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"manifest.json: is no manifest of tumorgen"):
        sample(tmp_path, overwrite=True)
    assert (tmp_path / "manifest.json").read_text() == text


def test_lists_of_several_ranks_become_one(tmp_path: Path) -> None:
    """Each rank lists its own; a run killed before they were joined goes on with all of them."""
    sample(tmp_path)
    whole = manifest(tmp_path)
    (tmp_path / "manifest.json").unlink()
    for rank in range(2):
        own = whole["volumes"][rank::2]
        own = [*own[:-1], {key: value for key, value in own[-1].items() if key != "sha256"}]  # its last batch
        part = {**whole, "volumes": own}
        (tmp_path / f"manifest.rank{rank}.json").write_text(json.dumps(part))
    assert sample(tmp_path).sampled == []
    assert manifest(tmp_path) == whole
    assert not list(tmp_path.glob("manifest.rank*"))
