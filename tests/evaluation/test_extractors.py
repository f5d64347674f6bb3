"""Feature extractors: one contract, weights that are there or an error that says how, checksums of what was used."""

import pytest
import torch
from held import blobs, real_of, volumes_of
from torch import nn

from data_modules.errors import InputError
from data_modules.files import sha256
from tumorgen.classifier.module import GradeClassifier
from tumorgen.classifier.networks import SmallCNN
from tumorgen.evaluation.extractors import (
    ClassifierExtractor,
    MRIExtractor,
    TorchScriptExtractor,
    weights_checksum,
)
from tumorgen.evaluation.features import extractors_for, trained_here
from tumorgen.methods.loading import build
from tumorgen.metrics.metric import Resampling
from tumorgen.nn.mri_features import MRIFeatures
from tumorgen.pretrained.weights import MRI_FEATURES, write_weights


class Pool(nn.Module):
    """Maps (B, 2, 4, 4, 4): means of blocks, and one."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.nn.functional.adaptive_avg_pool3d(x, 4)
        return torch.cat([y, torch.ones_like(y)], 1)


def script(path, module):
    torch.jit.save(torch.jit.script(module), path)
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TUMORGEN_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    network = MRIFeatures()
    write_weights(MRI_FEATURES, network.state_dict(), {"source": "test"})
    return network


def volumes(n=3, size=32, seed=0):
    return torch.rand(n, 1, size, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_mri_features_are_means_of_all_levels(cache):
    extractor = MRIExtractor().train()  # evaluation mode whatever was said
    x = volumes()
    with torch.no_grad():
        expected = torch.cat([level.mean((2, 3, 4)) for level in cache(x)], 1)
    features = extractor(x)
    assert features.shape == (3, 128)
    torch.testing.assert_close(features, expected)
    assert not features.requires_grad
    assert not extractor.training
    assert extractor.description()["sha256"] == extractor.checksum == weights_checksum(cache)


def test_missing_mri_weights_name_the_command_and_the_way_around(tmp_path, monkeypatch):
    monkeypatch.setenv("TUMORGEN_CACHE", str(tmp_path))
    with pytest.raises(
        InputError, match=r"Type `tumorgen weights` once, or choose features without it.*--features classifier"
    ):
        MRIExtractor()


def test_the_checksum_is_that_of_the_weights():
    torch.manual_seed(0)
    a, b = SmallCNN(), SmallCNN()
    assert weights_checksum(a) != weights_checksum(b)
    b.load_state_dict(a.state_dict())
    assert weights_checksum(a) == weights_checksum(b)


def test_classifier_features_of_volumes_shrunk_to_what_it_was_trained_on():
    torch.manual_seed(0)
    network = SmallCNN().eval()
    extractor = ClassifierExtractor(network, "here", side=16)
    x = volumes()
    blocks = x.view(3, 1, 16, 2, 16, 2, 16, 2).mean((3, 5, 7))
    torch.testing.assert_close(extractor(x), network.features(blocks).detach())
    assert extractor.description()["input"] == "block means, 16 voxels a side"
    assert "input" not in ClassifierExtractor(network, "here").description()


def test_torchscript_maps_are_averaged_and_its_file_is_hashed(tmp_path):
    path = script(tmp_path / "pool.pt", Pool())
    extractor = TorchScriptExtractor(path)
    x = volumes()
    expected = torch.stack([x.mean((1, 2, 3, 4)), torch.ones(3)], 1)
    torch.testing.assert_close(extractor(x), expected)
    assert extractor.name == "pool.pt"
    assert extractor.checksum == sha256(path)
    assert extractor.description()["normalisation"] == "none"


def test_zscore_is_over_the_tumour(tmp_path):
    extractor = TorchScriptExtractor(script(tmp_path / "flat.pt", nn.Flatten()), "zscore")
    x = volumes(2, 8)
    x[:, :, :4] = -1
    z = extractor(x).view(2, 8, 8, 8)
    for own, after in zip(x[:, 0], z, strict=True):
        mask = own > -0.9
        expected = (own[mask] - own[mask].mean()) / own[mask].std(correction=0)
        torch.testing.assert_close(after[mask], expected, atol=1e-4, rtol=1e-4)
        assert (after[~mask] == 0).all()
    assert (extractor(torch.full((1, 1, 8, 8, 8), -1.0)) == 0).all()  # an empty volume has no spread


def test_torchscript_files_that_cannot_be_used(tmp_path):
    with pytest.raises(InputError, match=r"absent\.pt: no such file; expected mri, classifier"):
        TorchScriptExtractor(tmp_path / "absent.pt")
    (tmp_path / "text.pt").write_text("no network")
    with pytest.raises(InputError, match=r"text\.pt: not a TorchScript network"):
        TorchScriptExtractor(tmp_path / "text.pt")
    with pytest.raises(InputError, match=r"returned \(3, 1, 32, 32\), expected \(B, F\)"):
        TorchScriptExtractor(script(tmp_path / "a.pt", Squeeze()))(volumes())
    with pytest.raises(InputError, match=r"fails on volumes of shape \(3, 1, 32, 32, 32\)"):
        TorchScriptExtractor(script(tmp_path / "b.pt", nn.Conv3d(2, 3, 1)))(volumes())
    with pytest.raises(InputError, match="NaN or infinite"):
        TorchScriptExtractor(script(tmp_path / "c.pt", Log()))(volumes())


class Squeeze(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(2)


class Log(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1).log()


def test_features_do_not_depend_on_batches(tmp_path):
    made = torch.cat([*blobs(0, 4)])
    extractor = TorchScriptExtractor(script(tmp_path / "pool.pt", Pool()))
    alone = torch.cat([extractor(volume[None]) for volume in made])
    torch.testing.assert_close(volumes_of(blobs(0, 4)).features(extractor), alone)
    torch.testing.assert_close(volumes_of(blobs(0, 4)).select(torch.tensor([5, 2])).features(extractor), alone[[5, 2]])
    assert alone.shape == (8, 2)


def test_the_classifier_trained_on_the_spot_sees_training_volumes_only_and_is_seeded():
    training, held_out = blobs(0, 2), blobs(1000, 2)
    first = trained_here(real_of(training, held_out))
    assert first.checksum == trained_here(real_of(training, [some * 0 for some in held_out])).checksum
    assert first.checksum != trained_here(real_of(training, held_out, resampling=Resampling(seed=4))).checksum
    assert first.description()["origin"] == (
        "SmallCNN, 20 epochs on 4 real volumes held apart from those that are compared, seed 0"
    )
    assert "4 real volumes it also judges" in trained_here(real_of(training)).description()["origin"]
    with pytest.raises(InputError, match="all of one class"):
        trained_here(real_of([training[0], training[1][:0]], held_out))


def test_a_classifier_that_fit_trained(tmp_path):
    arguments = {"roi_size": 16, "spacing": 2.0}
    model = build("tumorgen.classifier.module.GradeClassifier", arguments, GradeClassifier)
    content = {"hyper_parameters": {"_class_path": "tumorgen.classifier.module.GradeClassifier", **arguments}}
    model.on_save_checkpoint(content)
    torch.save({**content, "state_dict": model.state_dict()}, tmp_path / "best.ckpt")
    extractor = ClassifierExtractor.from_checkpoint(tmp_path / "best.ckpt")
    x = volumes(2, 16)
    torch.testing.assert_close(extractor(x), model.network.eval().features(x).detach())
    assert extractor.checksum == weights_checksum(model.network)
    assert extractor.description()["origin"] == f"best.ckpt, sha256 {sha256(tmp_path / 'best.ckpt')}"


def test_names_become_extractors(tmp_path, cache):
    real = real_of(blobs(0, 2), blobs(1000, 2))
    path = script(tmp_path / "pool.pt", Pool())
    found = extractors_for(f"mri, classifier,{path}", real, normalisation="zscore")
    assert [extractor.name for extractor in found] == ["mri", "classifier", "pool.pt"]
    assert found[2].normalisation == "zscore"
    with pytest.raises(InputError, match="two extractors are called mri"):
        extractors_for("mri,mri", real)
    with pytest.raises(InputError, match="names no feature extractor"):
        extractors_for(",", real)
    with pytest.raises(InputError, match=r"absent\.ckpt: no such file"):
        extractors_for(str(tmp_path / "absent.ckpt"), real)
