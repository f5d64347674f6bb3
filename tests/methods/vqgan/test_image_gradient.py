"""The image gradient loss equals a loop over slices with 2D convolutions, in value and gradient."""

import pytest
import torch
import torch.nn.functional as F

from tumorgen.methods.vqgan.image_gradient import image_gradient_loss

SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])


def loop_over_slices(x, x_hat):
    """The published definition: every slice perpendicular to each axis, Sobel x and y, zero padding 1."""
    total = 0.0
    for axis in (2, 3, 4):
        for kernel in (SOBEL, SOBEL.T):
            weight = kernel.to(x.dtype).expand(1, 1, 3, 3)
            squares = []
            for index in range(x.shape[axis]):
                for channel in range(x.shape[1]):
                    real, fake = (v.select(axis, index)[:, channel : channel + 1] for v in (x, x_hat))
                    squares.append((F.conv2d(real, weight, padding=1) - F.conv2d(fake, weight, padding=1)).square())
            total = total + torch.cat([s.flatten() for s in squares]).mean()
    return total


@pytest.mark.parametrize("shape", [(1, 1, 8, 8, 8), (2, 1, 5, 7, 6), (1, 3, 4, 3, 9), (1, 1, 1, 2, 1)])
def test_equals_the_loop_in_value_and_gradient(shape):
    torch.manual_seed(0)
    x, x_hat = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for _ in range(2))
    fast, slow = image_gradient_loss(x, x_hat), loop_over_slices(x, x_hat)
    # computed in float32
    torch.testing.assert_close(fast.double(), slow, rtol=1e-6, atol=0)
    for a, b in zip(torch.autograd.grad(3 * fast, (x, x_hat)), torch.autograd.grad(3 * slow, (x, x_hat)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_float32_under_autocast_and_zero_for_equal_volumes():
    torch.manual_seed(0)
    x = torch.rand(1, 1, 8, 8, 8)
    x_hat = torch.rand(1, 1, 8, 8, 8, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = image_gradient_loss(x, x_hat)
    assert torch.equal(loss, image_gradient_loss(x, x_hat))
    assert loss.dtype == torch.float32
    assert float(image_gradient_loss(x, x)) == 0


def test_channels_last_and_half_precision_reconstructions():
    torch.manual_seed(0)
    x, x_hat = torch.rand(2, 1, 2, 8, 8, 8)
    expected = image_gradient_loss(x, x_hat)
    laid_out = [v.contiguous(memory_format=torch.channels_last_3d) for v in (x, x_hat)]
    torch.testing.assert_close(image_gradient_loss(*laid_out), expected)
    half = x_hat.bfloat16().requires_grad_()
    image_gradient_loss(x, half).backward()
    assert half.grad.dtype == torch.bfloat16


def test_gradient_checks_numerically():
    torch.manual_seed(0)
    x, x_hat = torch.rand(2, 1, 1, 4, 4, 4)
    x_hat.requires_grad_()
    (gradient,) = torch.autograd.grad(image_gradient_loss(x, x_hat), x_hat)
    step = torch.zeros_like(x_hat)
    step[0, 0, 0, 2, 3] = 1e-2
    with torch.no_grad():
        slope = (image_gradient_loss(x, x_hat + step) - image_gradient_loss(x, x_hat - step)) / 2e-2
    assert float(gradient[0, 0, 0, 2, 3]) == pytest.approx(float(slope), rel=1e-3)
