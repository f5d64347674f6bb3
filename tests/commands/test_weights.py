"""`tumorgen weights` on wheels made here: what is converted, what is refused, and that it happens once."""

import dataclasses
import hashlib
import zipfile

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from vgg_reference import published_files

from data_modules.errors import InputError
from tumorgen.__main__ import main
from tumorgen.commands import weights
from tumorgen.methods.vqgan.perceptual import LPIPSSlices, MRIPerceptual
from tumorgen.nn.mri_features import MRIFeatures
from tumorgen.pretrained import pypi
from tumorgen.pretrained.weights import LPIPS_VGG16, MRI_FEATURES, cache_folder, read_provenance


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TUMORGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(weights, "download_wheel", lambda *_: pytest.fail("nothing may be downloaded here"))


class Tree(nn.Module):
    """A module whose parameters have the given dotted names, for TorchScript archives."""

    def __init__(self, tensors):
        super().__init__()
        for name in dict.fromkeys(name.split(".")[0] for name in tensors):
            rest = {key[len(name) + 1 :]: t for key, t in tensors.items() if key.split(".")[0] == name}
            if "" in rest:
                self.register_parameter(name, nn.Parameter(rest[""]))
            else:
                self.add_module(name, Tree(rest))

    def forward(self, x):
        return x


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel with a network of random tensors under deepbet's names, decoder included, whose checksum is expected."""
    torch.manual_seed(0)
    tensors = {**MRIFeatures().state_dict(), "up0.conv1.0.weight": torch.zeros(32, 128, 1, 1, 1)}
    return make_wheel(tmp_path, monkeypatch, tensors), tensors


def make_wheel(folder, monkeypatch, tensors, terms="MIT License, in full"):
    script = folder / "network.pt"
    torch.jit.script(Tree(tensors)).save(script)
    path = folder / "deepbet-1.0.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(script, weights.DEEPBET.member)
        archive.writestr("deepbet-1.0.2.dist-info/LICENSE", terms)
    expected = hashlib.sha256(script.read_bytes()).hexdigest()
    monkeypatch.setattr(weights, "DEEPBET", dataclasses.replace(pypi.DEEPBET, sha256=expected))
    return path


def test_converts_the_encoder_with_its_provenance(wheel):
    path, tensors = wheel
    assert weights.run(["--wheel", str(path)]) == 0
    found = load_file(MRI_FEATURES.path)
    assert set(found) == set(tensors) - {"up0.conv1.0.weight"}
    assert all(torch.equal(found[name], tensors[name]) for name in found)
    provenance = read_provenance(MRI_FEATURES)
    assert provenance["source"] == "PyPI deepbet 1.0.2, data/models/bbox_model.pt"
    assert provenance["sha256"] == weights.DEEPBET.sha256
    assert provenance["wheel_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert provenance["licence_text"] == "MIT License, in full"
    term = MRIPerceptual()
    term.load()
    assert torch.equal(term.network.init[0].weight, tensors["init.0.weight"])


def test_happens_once_unless_forced_or_broken(wheel, capsys):
    arguments = ["--wheel", str(wheel[0])]
    weights.run(arguments)
    written = MRI_FEATURES.path.stat().st_mtime_ns
    weights.run(arguments)
    assert MRI_FEATURES.path.stat().st_mtime_ns == written
    assert "already there" in capsys.readouterr().out
    weights.run([*arguments, "--overwrite"])
    assert MRI_FEATURES.path.stat().st_mtime_ns > written
    MRI_FEATURES.path.write_bytes(b"half a fi")
    weights.run(arguments)
    assert "converting again" in capsys.readouterr().err
    assert read_provenance(MRI_FEATURES)["network"] == "mri_features"
    assert [file.name for file in cache_folder().iterdir()] == [MRI_FEATURES.file_name]


def test_a_wrong_checksum_is_refused_before_anything_is_executed(wheel, monkeypatch):
    monkeypatch.setattr(weights, "DEEPBET", dataclasses.replace(pypi.DEEPBET, sha256="0" * 64))
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: pytest.fail("TorchScript was loaded unchecked"))
    with pytest.raises(InputError, match=f"found sha256 [0-9a-f]{{64}}, expected {'0' * 64}"):
        weights.run(["--wheel", str(wheel[0])])
    assert not MRI_FEATURES.path.exists()


def test_another_network_is_refused(tmp_path, monkeypatch):
    path = make_wheel(tmp_path, monkeypatch, {"init.0.weight": torch.zeros(8, 1, 7, 7, 7)})
    with pytest.raises(InputError, match=r"init\.0\.weight: found \(8, 1, 7, 7, 7\), expected \(16, 1, 7, 7, 7\)"):
        weights.run(["--wheel", str(path)])


def test_no_network_says_what_to_type(monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(InputError) as error:
        pypi.download_wheel(pypi.DEEPBET, tmp_path)
    assert "python -m pip download --no-deps deepbet==1.0.2" in str(error.value)
    assert "tumorgen weights --wheel deepbet-1.0.2-py3-none-any.whl" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [None, b"no archive", "empty"])
def test_a_file_that_is_no_such_wheel_is_refused(tmp_path, content):
    path = tmp_path / "file.whl"
    if content == "empty":
        zipfile.ZipFile(path, "w").close()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"expected deepbet-1\.0\.2-py3-none-any\.whl"):
        weights.run(["--wheel", str(path)])


def test_lpips_is_converted_from_two_files(tmp_path):
    vgg16, linear = published_files()
    torch.save(vgg16, tmp_path / "vgg16.pth")
    torch.save(linear, tmp_path / "heads.pth")
    assert weights.run(["lpips", "--vgg16", str(tmp_path / "vgg16.pth"), "--linear", str(tmp_path / "heads.pth")]) == 0
    term = LPIPSSlices()
    term.load()
    convolutions = [m for m in term.network.modules() if isinstance(m, nn.Conv2d)]
    originals = [t for name, t in vgg16.items() if name.startswith("features") and name.endswith("weight")]
    assert len(convolutions) == len(originals) == 13
    assert all(torch.equal(c.weight, t) for c, t in zip(convolutions, originals, strict=True))
    assert hashlib.sha256((tmp_path / "vgg16.pth").read_bytes()).hexdigest() in read_provenance(LPIPS_VGG16)["source"]


def test_lpips_heads_come_from_the_package_on_pypi(tmp_path, monkeypatch):
    vgg16, linear = published_files()
    torch.save(vgg16, tmp_path / "vgg16.pth")
    torch.save(linear, tmp_path / "heads.pth")
    path = tmp_path / "lpips-0.1.4-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(tmp_path / "heads.pth", pypi.LPIPS.member)
    expected = hashlib.sha256((tmp_path / "heads.pth").read_bytes()).hexdigest()
    monkeypatch.setattr(weights, "LPIPS", dataclasses.replace(pypi.LPIPS, sha256=expected))
    monkeypatch.setattr(weights, "download_wheel", lambda *_: path)
    weights.run(["lpips", "--vgg16", str(tmp_path / "vgg16.pth")])
    assert torch.equal(load_file(LPIPS_VGG16.path)["heads.2"], linear["lin2.model.1.weight"].flatten())


def test_lpips_files_that_do_not_fit_are_refused(tmp_path):
    vgg16, linear = published_files()
    torch.save(linear, tmp_path / "heads.pth")
    torch.save({k: v for k, v in vgg16.items() if k != "features.10.bias"}, tmp_path / "part.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("hello")
    heads = ["--linear", str(tmp_path / "heads.pth")]
    for name, message in (
        ("part.pth", r"tensor 'features\.10\.bias' is missing"),
        ("list.pth", "found list, expected a state dict"),
        ("text.pth", "not readable"),
        ("none.pth", "no such file"),
    ):
        with pytest.raises(InputError, match=message):
            weights.run(["lpips", "--vgg16", str(tmp_path / name), *heads])
    assert not LPIPS_VGG16.path.exists()


def test_files_with_code_in_them_are_refused(tmp_path):
    torch.save({"features.0.weight": nn.Conv2d(3, 64, 3)}, tmp_path / "code.pth")
    with pytest.raises(InputError, match="would run code when it is loaded"):
        weights.run(["lpips", "--vgg16", str(tmp_path / "code.pth")])


def test_without_torchvision_lpips_names_the_file(monkeypatch):
    monkeypatch.setattr(weights, "find_spec", lambda _: None)
    with pytest.raises(
        InputError, match=r"Fetch https://\S*vgg16-397923af\.pth and type: tumorgen weights lpips --vgg16"
    ):
        weights.run(["lpips"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--whel=x"], "unrecognized arguments: --whel"),
        (["resnet"], "network: expected one of mri, lpips, viewer. Got value: resnet."),
        (["--vgg16", "x"], "belong to LPIPS"),
        (["lpips", "--wheel", "x"], "belongs to the MRI network"),
    ],
)
def test_bad_options_are_refused_in_one_line(arguments, message, capsys):
    assert main(["weights", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_cache_folder(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("TUMORGEN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "tumorgen"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "tumorgen"
