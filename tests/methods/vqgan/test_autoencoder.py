"""Encoder and decoder: published sizes, a plain restatement, errors that say what does not fit."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from data_modules.errors import InputError
from tumorgen.methods.vqgan.autoencoder import Decoder, Encoder, grid_size
from tumorgen.nn.upsampling import PixelShuffleLevel

CHANNELS = (8, 16, 24)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_parameter_counts():
    with torch.device("meta"):
        assert count(Encoder(shared_norm=True)) == 25_156_384
        assert count(Decoder(shared_norm=True)) == 9_403_713
        # with two GroupNorms per residual block: 2 * (32 + 64 + 128 + 256 + 512) more, and the same without 512
        assert count(Encoder()) == 25_156_384 + 1984
        assert count(Decoder()) == 9_403_713 + 960


def test_published_shapes():
    with torch.device("meta"):
        latent = Encoder()(torch.empty(1, 1, 128, 128, 128))
        assert latent.shape == (1, 512, 8, 8, 8)
        assert Decoder()(latent).shape == (1, 1, 128, 128, 128)


@pytest.mark.parametrize(
    ("channels", "roi_size", "sequences"), [((8, 16), 8, 1), (CHANNELS, 16, 2), ((8, 8, 16, 32), 16, 4)]
)
def test_shapes_follow_the_arguments(channels, roi_size, sequences):
    encoder, decoder = Encoder(sequences, channels), Decoder(sequences, channels)
    x = torch.randn(2, sequences, roi_size, roi_size, roi_size)
    latent = encoder(x)
    assert latent.shape == (2, channels[-1], *[encoder.grid_size(roi_size)] * 3)
    x_hat = decoder(latent)
    assert x_hat.shape == x.shape
    assert x_hat.min() >= -1
    assert x_hat.max() <= 1
    assert encoder.channels == channels


def residual(state, name, x, activation):
    for i in (1, 2):
        y = x if i == 1 else y
        y = F.conv3d(y, state[f"{name}.conv{i}.weight"], state[f"{name}.conv{i}.bias"], padding=1)
        y = activation(F.group_norm(y, 8, state[f"{name}.norm{i}.weight"], state[f"{name}.norm{i}.bias"], 1e-6))
    return x + y


def scattered(module):
    """Give every normalisation its own weights, so that a mixed-up one shows."""
    for part in module.modules():
        if isinstance(part, nn.GroupNorm):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.5, 0.5)
    return module


@pytest.mark.parametrize("shared", [False, True])
def test_encoder_equals_a_plain_restatement(shared):
    encoder = scattered(Encoder(1, CHANNELS, shared))
    state = encoder.state_dict()
    x = y = torch.randn(2, 1, 16, 16, 16)
    for i, stride in enumerate((2, 2, 1)):
        conv, norm = f"levels.{i}.0.0", f"levels.{i}.0.1"
        assert state[f"{conv}.weight"].shape[2:] == ((4, 4, 4) if stride == 2 else (3, 3, 3))
        y = F.conv3d(y, state[f"{conv}.weight"], state[f"{conv}.bias"], stride=stride, padding=1)
        y = F.leaky_relu(F.group_norm(y, 8, state[f"{norm}.weight"], state[f"{norm}.bias"], 1e-6), 0.2)
        y = residual(state, f"levels.{i}.1", y, lambda t: F.leaky_relu(t, 0.2))
    torch.testing.assert_close(encoder(x), y)


@pytest.mark.parametrize("shared", [False, True])
def test_decoder_equals_a_plain_restatement(shared):
    decoder = scattered(Decoder(1, CHANNELS, shared))
    state = decoder.state_dict()
    z = y = torch.randn(2, 24, 4, 4, 4)
    for i in range(2):
        conv, norm = f"levels.{i}.0.0", f"levels.{i}.0.1"
        y = F.interpolate(y, scale_factor=2, mode="nearest")
        y = F.conv3d(y, state[f"{conv}.weight"], state[f"{conv}.bias"], padding=1)
        y = F.relu(F.group_norm(y, 8, state[f"{norm}.weight"], state[f"{norm}.bias"], 1e-6))
        y = residual(state, f"levels.{i}.1", y, F.relu)
    y = torch.tanh(F.conv3d(y, state["final.weight"], state["final.bias"]))
    torch.testing.assert_close(decoder(z), y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("network", [Encoder, Decoder])
def test_every_convolution_starts_at_002(network):
    for name, part in network(1, (32, 64, 64)).named_modules():
        if isinstance(part, nn.Conv3d):
            assert part.weight.std().item() == pytest.approx(0.02, rel=5 / (2 * part.weight.numel()) ** 0.5), name


@pytest.mark.parametrize("levels", [1, 2])
def test_checkpointed_levels_change_no_gradient(levels):
    x = torch.randn(1, 1, 8, 8, 8)
    gradients = []
    for checkpoint_levels in (0, levels):
        torch.manual_seed(0)
        encoder, decoder = Encoder(1, CHANNELS), Decoder(1, CHANNELS)
        encoder.checkpoint_levels = decoder.checkpoint_levels = checkpoint_levels
        F.l1_loss(decoder(encoder(x)), x).backward()
        gradients.append([p.grad for network in (encoder, decoder) for p in network.parameters()])
    for a, b in zip(*gradients, strict=True):
        assert torch.equal(a, b)


def test_checkpointing_is_of_the_finest_levels(monkeypatch):
    seen = []

    def spy(level, x, use_reentrant):
        seen.append(level)
        return level(x)

    monkeypatch.setattr("tumorgen.nn.blocks.checkpoint", spy)
    encoder, decoder = Encoder(1, CHANNELS), Decoder(1, CHANNELS)
    encoder.checkpoint_levels = decoder.checkpoint_levels = 1
    decoder(encoder(torch.randn(1, 1, 8, 8, 8)))
    assert seen == [encoder.levels[0], decoder.levels[-1]]


def test_volume_is_float32_under_autocast_and_finer_than_bfloat16():
    decoder = Decoder(1, (8, 16))
    nn.init.constant_(decoder.final.bias, 3.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        volume = decoder(torch.randn(1, 16, 8, 8, 8))
    assert volume.dtype == torch.float32
    assert not torch.equal(volume, volume.bfloat16().float())


def test_last_layer_is_the_final_convolution():
    decoder = Decoder(1, CHANNELS)
    assert decoder.last_layer is decoder.final.weight
    assert decoder.last_layer.shape == (1, 8, 1, 1, 1)


def test_finest_level_is_injected():
    decoder = Decoder(1, CHANNELS, finest=PixelShuffleLevel)
    assert isinstance(decoder.levels[-1], PixelShuffleLevel)
    assert not isinstance(decoder.levels[0], PixelShuffleLevel)
    assert decoder(torch.randn(1, 24, 4, 4, 4)).shape == (1, 1, 16, 16, 16)
    # Nothing but pointwise work is left at full resolution
    assert decoder.levels[-1].conv.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_channels_last_and_bf16_agree_with_the_plain_pass():
    encoder, decoder = Encoder(1, CHANNELS), Decoder(1, CHANNELS)
    x = torch.randn(1, 1, 16, 16, 16)
    expected = decoder(encoder(x))
    encoder.to(memory_format=torch.channels_last_3d)
    decoder.to(memory_format=torch.channels_last_3d)
    x = x.contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(decoder(encoder(x)), expected, rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(decoder(encoder(x)), expected, rtol=0, atol=0.02)


@pytest.mark.parametrize(("roi_size", "halvings"), [(100, 4), (8, 4), (30, 2)])
def test_roi_size_that_cannot_be_halved(roi_size, halvings):
    with pytest.raises(InputError, match=rf"roi_size {roi_size} .* multiple of {2**halvings}"):
        grid_size(roi_size, halvings)


def test_encoder_errors_name_the_numbers():
    encoder = Encoder(1, CHANNELS)
    with pytest.raises(InputError, match="roi_size 18"):
        encoder(torch.randn(1, 1, 16, 18, 16))
    with pytest.raises(InputError, match=r"1 channel\(s\) and got a volume with 4"):
        encoder(torch.randn(1, 4, 16, 16, 16))
    with pytest.raises(InputError, match="8 groups cannot divide 12 channels"):
        Encoder(1, (12, 24))
    for network in (Encoder, Decoder):
        with pytest.raises(InputError, match="at least two widths"):
            network(1, (32,))
