"""The frozen tokenizer: the same codes as the VQGAN it was taken from, whatever happens around it."""

from pathlib import Path

import pytest
import torch
from stage2 import tokenizer, transformer
from torch import Tensor
from toy import Blobs

from data_modules.errors import InputError
from tumorgen.methods.loading import load_method
from tumorgen.methods.vqgan.module import VQGAN
from tumorgen.methods.vqgan.tokenizer import FrozenTokenizer, read_tokenizer


@pytest.fixture(scope="module")
def volumes() -> Tensor:
    return torch.stack([item["volume"] for item in Blobs(6, 16, 50).items])


@pytest.fixture(scope="module")
def vqgan() -> VQGAN:
    return load_method(tokenizer(), VQGAN)


@pytest.fixture
def frozen() -> FrozenTokenizer:
    return read_tokenizer(tokenizer())[0]


@torch.no_grad()
def test_tokens_scores_and_volumes_are_the_vqgan_s(vqgan: VQGAN, frozen: FrozenTokenizer, volumes: Tensor) -> None:
    encoding = vqgan.encode(volumes)
    tokens, scores = frozen.encode(volumes)
    assert tokens.shape == scores.shape == (6, 64)
    assert torch.equal(tokens, encoding.codes.flatten(1)), "raster order: depth, row, column"
    assert torch.equal(scores, encoding.scores.flatten(1))
    assert torch.equal(frozen.decode(tokens), vqgan.decode(encoding.codes))
    assert len(tokens.unique()) > 3, "a codebook in use"


def test_it_states_what_later_stages_need(frozen: FrozenTokenizer) -> None:
    assert (frozen.class_names, frozen.roi_size, frozen.spacing) == (("LGG", "HGG"), 16, 8.0)
    assert (frozen.num_codes, frozen.grid, frozen.length, frozen.in_channels) == (16, (4, 4, 4), 64, 1)
    names = frozen.state_dict().keys()
    assert not any("classifier" in name or "discriminator" in name for name in names)


def test_it_stays_frozen(frozen: FrozenTokenizer, volumes: Tensor) -> None:
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    torch.nn.Sequential(frozen).train()
    assert not any(module.training for module in frozen.modules())
    tokens, scores = frozen.encode(volumes)
    assert not scores.requires_grad
    assert not frozen.decode(tokens).requires_grad
    assert all(torch.equal(before[name], value) for name, value in frozen.state_dict().items())
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


def test_tokens_do_not_depend_on_the_precision_around(frozen: FrozenTokenizer, volumes: Tensor) -> None:
    tokens, scores = frozen.encode(volumes)
    with torch.autocast("cpu", torch.bfloat16):
        again, scores_again = frozen.encode(volumes)
        assert frozen.decode(tokens).dtype == torch.float32
    assert torch.equal(tokens, again)
    assert torch.equal(scores, scores_again)


def test_a_transformer_s_checkpoint_carries_the_same_tokenizer(frozen: FrozenTokenizer) -> None:
    carried, section = read_tokenizer(transformer())
    assert section == read_tokenizer(tokenizer())[1]
    assert carried.state_dict().keys() == frozen.state_dict().keys()
    for name, value in frozen.state_dict().items():
        assert torch.equal(value, carried.state_dict()[name]), name


def test_checkpoints_without_a_tokenizer_are_refused(tmp_path: Path) -> None:
    checkpoint = torch.load(transformer(), weights_only=True)
    del checkpoint["tokenizer"]
    torch.save(checkpoint, tmp_path / "alone.ckpt")
    with pytest.raises(InputError, match=r"alone.ckpt: holds a .*MaskedTransformer, expected a .*VQGAN"):
        read_tokenizer(tmp_path / "alone.ckpt")
    checkpoint = torch.load(tokenizer(), weights_only=True)
    del checkpoint["state_dict"][next(name for name in checkpoint["state_dict"] if name.startswith("model.decoder."))]
    torch.save(checkpoint, tmp_path / "torn.ckpt")
    with pytest.raises(InputError, match=r"torn.ckpt: lacks 1 tensors of its tokenizer \(model\.decoder\."):
        read_tokenizer(tmp_path / "torn.ckpt")


def test_a_carried_tokenizer_chooses_no_foreign_class(tmp_path: Path) -> None:
    checkpoint = torch.load(transformer(), weights_only=True)
    checkpoint["tokenizer"]["hyper_parameters"]["encoder"]["class_path"] = "os.system"
    torch.save(checkpoint, tmp_path / "evil.ckpt")
    with pytest.raises(InputError, match=r"names os.system, which is no class of tumorgen"):
        read_tokenizer(tmp_path / "evil.ckpt")
