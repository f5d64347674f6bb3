"""Upsampling by two: the published convolution in an exact, cheaper form, and sub-voxel shuffling."""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from data_modules.errors import InputError
from tumorgen.nn.blocks import ConvNormAct, Features, ResidualBlock, group_norm, leaky_relu, relu


def transposed_kernel(weight: Float[Tensor, "out in 3 3 3"]) -> Float[Tensor, "in out 4 4 4"]:
    """Return the transposed kernel that equals nearest upsampling followed by a zero-padded 3^3 convolution.

    Upsampled voxels 2i and 2i+1 are copies, so taps that fall on the same copy can be added beforehand: (w2, w1 + w2,
    w0 + w1, w0) along each axis, stride 2, padding 1.
    """
    kernel = weight.transpose(0, 1)
    for axis in (2, 3, 4):
        w0, w1, w2 = kernel.unbind(axis)
        kernel = torch.stack((w2, w1 + w2, w0 + w1, w0), axis)
    return kernel


class UpsampleConv3d(nn.Conv3d):
    """Nearest upsampling x2, then a 3^3 convolution with zero padding, evaluated as one transposed convolution.

    Parameters, state dict and values are those of the 3^3 convolution (published decoder); the transposed form needs
    64 multiplications per coarse voxel instead of 216 and never writes the upsampled volume.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=3, padding=1)

    def forward(self, x: Features) -> Features:
        """Return the volume with twice the side length."""
        return F.conv_transpose3d(x, transposed_kernel(self.weight), self.bias, stride=2, padding=1)


class UpsampleLevel(nn.Sequential):
    """Level of the published decoder: upsampling convolution -> GN(8) -> ReLU -> residual block.

    Args:
        in_channels: width of the coarse features.
        out_channels: width of the fine features.
        shared_norm: see `ResidualBlock`.
    """

    def __init__(self, in_channels: int, out_channels: int, shared_norm: bool = False) -> None:
        super().__init__(
            ConvNormAct(UpsampleConv3d(in_channels, out_channels), relu),
            ResidualBlock(out_channels, relu, shared_norm),
        )


class PixelShuffleLevel(nn.Module):
    """A cheap finest level: all convolutions on the coarse grid, then eight channels become 2x2x2 voxels.

    No convolution runs at full resolution, which is where the published level spends its time and memory; meant for CPU
    demonstrations, not for published sizes.

    Args:
        in_channels: width of the coarse features.
        out_channels: width of the fine features.
        kernel_size: odd kernel of the coarse convolution; 1 is cheapest, 3 smoother across block borders.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise InputError(f"kernel_size of PixelShuffleLevel is {kernel_size}; expected an odd number, 1 or 3.")
        self.conv = nn.Conv3d(in_channels, 8 * out_channels, kernel_size, padding=kernel_size // 2)
        self.norm = group_norm(out_channels)
        # a ReLU here dies inside the tumour, which then comes out flat: only a 1x1x1 convolution follows
        self.act = leaky_relu()

    def forward(self, x: Features) -> Features:
        """Return the volume with twice the side length."""
        fine = rearrange(self.conv(x), "b (c i j k) d h w -> b c (d i) (h j) (w k)", i=2, j=2, k=2)
        return self.act(self.norm(fine))
