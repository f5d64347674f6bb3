"""Building blocks against plain restatements."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from data_modules.errors import InputError
from tumorgen.nn.blocks import (
    ConvNormAct,
    ResidualBlock,
    group_norm,
    initialise_convolutions,
    leaky_relu,
    relu,
    run_levels,
)
from tumorgen.nn.upsampling import UpsampleConv3d


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def scatter_norms(module):
    """Norms start as identities, which hides a forgotten one."""
    for part in module.modules():
        if isinstance(part, nn.GroupNorm):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.5, 0.5)


def test_conv_norm_act_is_the_three_steps_in_order():
    block = ConvNormAct(nn.Conv3d(3, 16, 4, 2, padding=1))
    scatter_norms(block)
    x = torch.randn(2, 3, 8, 6, 4)
    conv, norm, _ = block
    expected = F.conv3d(x, conv.weight, conv.bias, stride=2, padding=1)
    expected = F.leaky_relu(F.group_norm(expected, 8, norm.weight, norm.bias, 1e-6), 0.2)
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize(("factory", "activation"), [(leaky_relu, lambda x: F.leaky_relu(x, 0.2)), (relu, F.relu)])
@pytest.mark.parametrize("shared", [False, True])
def test_residual_block_equals_its_formula(factory, activation, shared):
    block = ResidualBlock(16, factory, shared)
    scatter_norms(block)
    x = torch.randn(2, 16, 5, 4, 3)
    y = F.conv3d(x, block.conv1.weight, block.conv1.bias, padding=1)
    y = activation(F.group_norm(y, 8, block.norm1.weight, block.norm1.bias, 1e-6))
    y = F.conv3d(y, block.conv2.weight, block.conv2.bias, padding=1)
    y = activation(F.group_norm(y, 8, block.norm2.weight, block.norm2.bias, 1e-6))
    torch.testing.assert_close(block(x), x + y)


def test_shared_norm_is_one_module_under_two_names():
    shared, own = ResidualBlock(16, shared_norm=True), ResidualBlock(16)
    assert shared.norm1 is shared.norm2
    assert own.norm1 is not own.norm2
    assert shared.state_dict().keys() == own.state_dict().keys()
    count = [sum(parameter.numel() for parameter in block.parameters()) for block in (own, shared)]
    assert count[0] - count[1] == 2 * 16


@pytest.mark.parametrize(("channels", "groups"), [(12, 8), (4, 8), (0, 8), (48, 32)])
def test_group_norm_says_what_does_not_divide(channels, groups):
    with pytest.raises(InputError, match=rf"{groups} groups cannot divide {channels} channels"):
        group_norm(channels, groups)


def test_convolution_weights_are_drawn_from_n_0_002_and_nothing_else_changes():
    module = nn.Sequential(nn.Conv3d(16, 32, 3), UpsampleConv3d(32, 16), nn.Linear(8, 8), nn.GroupNorm(8, 16))
    before = copy.deepcopy(module)
    initialise_convolutions(module)
    for part in module[:2]:
        n = part.weight.numel()
        assert part.weight.std().item() == pytest.approx(0.02, rel=5 / (2 * n) ** 0.5)
        assert abs(part.weight.mean().item()) < 5 * 0.02 / n**0.5
        # a uniform distribution of this width would end at 1.73 standard deviations
        assert part.weight.abs().max().item() > 0.06
    untouched = {name: value for name, value in module.state_dict().items() if name not in ("0.weight", "1.weight")}
    for name, value in untouched.items():
        assert torch.equal(value, before.state_dict()[name])


def gradients(levels, x, recomputed):
    stored = 0

    def pack(tensor):
        nonlocal stored
        stored += tensor.numel()
        return tensor

    for parameter in levels.parameters():
        parameter.grad = None
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = run_levels(levels, x, recomputed)
    y.square().mean().backward()
    return [parameter.grad.clone() for parameter in levels.parameters()], stored


def test_recomputing_keeps_gradients_and_saves_memory():
    levels = nn.ModuleList([ResidualBlock(8) for _ in range(3)])
    x = torch.randn(1, 8, 6, 6, 6, requires_grad=True)
    plain, stored = gradients(levels, x, lambda index: False)
    recomputed, stored_less = gradients(levels, x, lambda index: index < 2)
    for a, b in zip(plain, recomputed, strict=True):
        assert torch.equal(a, b)
    assert stored_less < 0.6 * stored


def test_nothing_is_recomputed_without_gradients(monkeypatch):
    monkeypatch.setattr("tumorgen.nn.blocks.checkpoint", None)
    levels = nn.ModuleList([nn.Identity()])
    with torch.no_grad():
        assert run_levels(levels, torch.ones(1), lambda index: True) == 1
