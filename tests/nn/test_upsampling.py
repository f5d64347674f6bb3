"""The transposed form of upsampling + convolution is exact: values, gradients, borders, precisions."""

import pytest
import torch
import torch.nn.functional as F

from data_modules.errors import InputError
from tumorgen.nn.upsampling import PixelShuffleLevel, UpsampleConv3d, UpsampleLevel, transposed_kernel


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def plain(x, weight, bias):
    return F.conv3d(F.interpolate(x, scale_factor=2, mode="nearest"), weight, bias, padding=1)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 2, 2), (3, 5, 4), (8, 8, 8)])
@pytest.mark.parametrize(("in_channels", "out_channels"), [(1, 1), (3, 5)])
def test_values_and_gradients_equal_upsampling_then_convolution(shape, in_channels, out_channels):
    layer = UpsampleConv3d(in_channels, out_channels).double()
    inputs = [torch.randn(2, in_channels, *shape, dtype=torch.float64), layer.weight.detach(), layer.bias.detach()]
    results = []
    for function in (layer, plain):
        x, weight, bias = (tensor.clone().requires_grad_() for tensor in inputs)
        if function is layer:
            weight, bias = layer.weight, layer.bias
            y = layer(x)
        else:
            y = plain(x, weight, bias)
        upstream = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).view_as(y)
        results.append([y, *torch.autograd.grad((y * upstream).sum(), (x, weight, bias))])
    for fast, reference in zip(*results, strict=True):
        torch.testing.assert_close(fast, reference, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("corner", [(0, 0, 0), (3, 3, 3), (0, 3, 1), (3, 0, 2)])
def test_an_impulse_at_the_border_is_cut_off_like_zero_padding(corner):
    layer = UpsampleConv3d(1, 1)
    x = torch.zeros(1, 1, 4, 4, 4)
    x[0, 0, *corner] = 1
    torch.testing.assert_close(layer(x), plain(x, layer.weight, layer.bias))


def test_taps_along_one_axis():
    weight = torch.zeros(1, 1, 3, 3, 3)
    weight[0, 0, :, 1, 1] = torch.tensor([1.0, 10.0, 100.0])
    assert transposed_kernel(weight)[0, 0, :, 1, 1].tolist() == [100.0, 110.0, 11.0, 1.0]


def test_parameters_are_those_of_the_convolution():
    layer = UpsampleConv3d(4, 6)
    assert {name: tuple(value.shape) for name, value in layer.state_dict().items()} == {
        "weight": (6, 4, 3, 3, 3),
        "bias": (6,),
    }


def test_float32_is_exact_to_rounding_at_network_widths():
    layer = UpsampleConv3d(64, 32)
    x = torch.randn(1, 64, 8, 8, 8)
    torch.testing.assert_close(layer(x), plain(x, layer.weight, layer.bias), rtol=0, atol=2e-5)


def test_bf16_autocast_adds_taps_in_float32():
    layer = UpsampleConv3d(16, 8)
    x = torch.randn(1, 16, 6, 6, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
        assert transposed_kernel(layer.weight).dtype == torch.float32
    assert y.dtype == torch.bfloat16
    exact = plain(x, layer.weight, layer.bias)
    rounded_like_a_convolution = plain(x.bfloat16(), layer.weight.bfloat16(), layer.bias.bfloat16())
    error = (y.float() - exact).square().mean()
    assert error < 2 * (rounded_like_a_convolution.float() - exact).square().mean()
    y.float().mean().backward()
    assert layer.weight.grad.dtype == torch.float32


def test_channels_last_stays_and_changes_nothing():
    layer = UpsampleConv3d(16, 8)
    x = torch.randn(2, 16, 5, 5, 5)
    y = layer(x.contiguous(memory_format=torch.channels_last_3d))
    assert y.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(y, layer(x), rtol=1e-5, atol=1e-5)


def test_compiles_as_one_graph():
    level = UpsampleLevel(16, 8)
    x = torch.randn(1, 16, 4, 4, 4)
    compiled = torch.compile(level, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), level(x))


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_pixel_shuffle_places_eight_channels_in_one_block(kernel_size):
    level = PixelShuffleLevel(4, 8, kernel_size)
    x = torch.randn(2, 4, 2, 3, 2)
    coarse = level.conv(x)
    fine = torch.empty(2, 8, 4, 6, 4)
    for c in range(8):
        for i in range(2):
            for j in range(2):
                for k in range(2):
                    fine[:, c, i::2, j::2, k::2] = coarse[:, 8 * c + 4 * i + 2 * j + k]
    torch.testing.assert_close(level(x), F.leaky_relu(F.group_norm(fine, 8, eps=1e-6), 0.2))


@pytest.mark.parametrize("kernel_size", [0, 2])
def test_pixel_shuffle_refuses_even_kernels(kernel_size):
    with pytest.raises(InputError, match="odd"):
        PixelShuffleLevel(4, 8, kernel_size)
