"""The viewer's package and volumes: fetched once, checked every time, never executed here."""

import base64
import dataclasses
import gzip
import hashlib
import zipfile

import nibabel as nib
import numpy as np
import pytest
from results import volume_folder

from data_modules.errors import InputError
from data_modules.volumes.folder import VolumeFolder
from tumorgen.commands import report, weights
from tumorgen.pretrained import pypi
from tumorgen.results.html import viewer


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel with a script in the place of the pinned one, whose checksum is expected; an empty cache; no network."""
    monkeypatch.setenv("TUMORGEN_CACHE", str(tmp_path / "cache"))
    script = b"var t2=class{};var Ih={};export{Ih as default};\n"
    path = tmp_path / pypi.NIIVUE.wheel_name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(pypi.NIIVUE.member, script)
        archive.writestr("ipyniivue-2.4.4.dist-info/licenses/LICENSE", "BSD 2-Clause, in full")
    pinned = dataclasses.replace(pypi.NIIVUE, sha256=hashlib.sha256(script).hexdigest())
    for module in (viewer, weights):
        monkeypatch.setattr(module, "NIIVUE", pinned)
    monkeypatch.setattr(weights, "download_wheel", lambda *_: pytest.fail("nothing may be downloaded here"))
    return path


def test_the_package_is_kept_once_and_its_script_made_to_name_the_viewer(wheel, capsys):
    weights.run(["viewer", "--wheel", str(wheel)])
    assert "written" in capsys.readouterr().out
    weights.run(["viewer"])
    assert "already there" in capsys.readouterr().out
    bundle = viewer.bundle()
    script = gzip.decompress(base64.b64decode(bundle.script))
    assert script == b"var t2=class{};var Ih={};globalThis.Niivue=t2;"
    assert bundle.licence == "BSD 2-Clause, in full"
    assert bundle.source == "PyPI ipyniivue 2.4.4, ipyniivue/static/widget.js"


def test_without_the_package_one_is_told_what_to_type(wheel, tmp_path):
    volume_folder(tmp_path / "samples")
    with pytest.raises(InputError, match=r"tumorgen weights viewer .*--viewer false"):
        report.run([str(tmp_path / "samples"), "--output", str(tmp_path / "r.html")])
    assert not (tmp_path / "r.html").exists()


def test_a_changed_package_is_refused(wheel, capsys):
    weights.run(["viewer", "--wheel", str(wheel)])
    kept = viewer.cache_folder() / pypi.NIIVUE.wheel_name
    with zipfile.ZipFile(kept, "w") as archive:
        archive.writestr(pypi.NIIVUE.member, b"alert(1)")
    with pytest.raises(InputError, match="found sha256"):
        viewer.bundle()
    weights.run(["viewer", "--wheel", str(wheel)])
    assert "fetching again" in capsys.readouterr().err
    assert viewer.bundle().script


def test_options_of_others_are_refused():
    with pytest.raises(InputError, match="--vgg16 and --linear belong to LPIPS"):
        weights.run(["viewer", "--vgg16", "vgg16.pth"])


def test_volumes_are_stored_where_they_are_and_as_bright_as_they_are(tmp_path):
    folder = VolumeFolder(volume_folder(tmp_path / "samples"))
    (scene, *_) = viewer.scenes({"samples": folder})
    image = nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(scene.nifti)))
    assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
    assert image.header.get_zooms() == (2.0, 2.0, 2.0)
    back = np.asarray(image.dataobj).transpose(2, 1, 0) / 127.5 - 1
    assert np.abs(back - folder.volume(0)).max() <= 0.5 / 127.5 + 1e-6
    centre = image.affine @ [7.5, 7.5, 7.5, 1]
    assert np.allclose(centre[:3], 0)


def test_folders_and_classes_take_turns_until_the_page_is_full(tmp_path):
    folders = {name: VolumeFolder(volume_folder(tmp_path / name, seed=i)) for i, name in enumerate(("real", "samples"))}
    every = viewer.scenes(folders)
    assert [(scene.group, scene.title) for scene in every] == [
        (group, f"{name}/{name}_{index:04d}")
        for group in ("real", "samples")
        for index in (1, 2)
        for name in ("LGG", "HGG")
    ]
    sizes = sorted(len(scene.nifti) for scene in every)
    some = viewer.scenes(folders, budget=sum(sizes) * 5 // 8)
    assert {scene.group for scene in some} == {"real", "samples"}
    assert sum(len(scene.nifti) for scene in some) <= sum(sizes) * 5 // 8
    assert viewer.scenes(folders, budget=10) == []
