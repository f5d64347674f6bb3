"""Patch discriminator: published size, a plain restatement, ROIs that are too small."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from data_modules.errors import InputError
from tumorgen.methods.vqgan.discriminator import PatchDiscriminator3D


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_published_size():
    with torch.device("meta"):
        net = PatchDiscriminator3D()
        logits, features = net(torch.empty(1, 1, 128, 128, 128))
    assert sum(parameter.numel() for parameter in net.parameters()) == 11_049_665
    assert logits.shape == (1, 1, 5, 5, 5)
    assert [tuple(f.shape[1:3]) for f in features] == [(64, 64), (128, 32), (256, 16), (512, 8)]


def test_equals_a_plain_restatement():
    net = PatchDiscriminator3D(2, (8, 16, 24))
    for part in net.modules():
        if isinstance(part, nn.GroupNorm):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.5, 0.5)
    state = net.state_dict()
    x = y = torch.randn(2, 2, 32, 32, 32)
    logits, features = net(x)
    for i in range(3):
        y = F.conv3d(y, state[f"levels.{i}.0.weight"], state[f"levels.{i}.0.bias"], stride=2, padding=1)
        if i:
            y = F.group_norm(y, 8, state[f"levels.{i}.1.weight"], state[f"levels.{i}.1.bias"], 1e-6)
        y = F.leaky_relu(y, 0.2)
        torch.testing.assert_close(features[i], y)
    torch.testing.assert_close(logits, F.conv3d(y, state["final.weight"], state["final.bias"]))


def test_every_convolution_starts_at_002():
    convolutions = [part for part in PatchDiscriminator3D(1, (32, 64)).modules() if isinstance(part, nn.Conv3d)]
    assert len(convolutions) == 3
    for part in convolutions:
        assert part.weight.std().item() == pytest.approx(0.02, rel=5 / (2 * part.weight.numel()) ** 0.5)


@pytest.mark.parametrize("roi_size", [8, 12, 16, 31, 32, 64, 100, 128])
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_a_too_small_roi_is_refused_with_a_depth_that_fits(roi_size, depth):
    with torch.device("meta"):
        net = PatchDiscriminator3D(1, (8,) * depth)
        volume = torch.empty(1, 1, *[roi_size] * 3)
        try:
            logits, _ = net(volume)
        except InputError as error:
            fitting = int(re.search(r"at most (\d+)", str(error)).group(1))
            assert fitting < depth
            if fitting:
                PatchDiscriminator3D(1, (8,) * fitting)(volume)
            with pytest.raises(InputError):
                PatchDiscriminator3D(1, (8,) * (fitting + 1)).check_roi_size(roi_size)
        else:
            assert min(logits.shape) >= 1
            assert roi_size >= 4 * 2**depth


def test_no_channels_at_all():
    with pytest.raises(InputError, match="at least one width"):
        PatchDiscriminator3D(1, ())
