"""Convolution blocks that the networks of several methods share."""

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from data_modules.errors import InputError

Features = Float[Tensor, "batch channel D H W"]

GROUPS = 8


def leaky_relu() -> nn.Module:
    """Return the activation of encoder and discriminator; in place, since GroupNorm's backward needs only its input."""
    return nn.LeakyReLU(0.2, inplace=True)


def relu() -> nn.Module:
    """Return the activation of the decoder, in place for the same reason."""
    return nn.ReLU(inplace=True)


def group_norm(channels: int, groups: int = GROUPS) -> nn.GroupNorm:
    """Return the affine GroupNorm of the published code: eps 1e-6.

    Raises:
        InputError: `channels` is not a multiple of `groups`.
    """
    if channels < groups or channels % groups:
        raise InputError(
            f"GroupNorm with {groups} groups cannot divide {channels} channels. Expected a multiple of {groups}: "
            f"change `channels` (or `hidden`) of the network."
        )
    return nn.GroupNorm(groups, channels, eps=1e-6)


def initialise_convolutions(module: nn.Module, std: float = 0.02) -> None:
    """Draw every convolution weight inside `module` from N(0, std); biases and all else keep PyTorch's default.

    The published code does so in encoder, decoder and discriminator.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv3d):
            nn.init.normal_(part.weight, mean=0.0, std=std)


class ConvNormAct(nn.Sequential):
    """Convolution -> GroupNorm(8) -> activation.

    Args:
        convolution: built beforehand, since kernels and strides differ between networks.
        activation: factory, called once.
    """

    def __init__(self, convolution: nn.Conv3d, activation: Callable[[], nn.Module] = leaky_relu) -> None:
        super().__init__(convolution, group_norm(convolution.out_channels), activation())


class ResidualBlock(nn.Module):
    """y = x + f(x), f = conv3 -> GN(8) -> activation -> conv3 -> GN(8) -> activation.

    Args:
        channels: width of x and y.
        activation: factory, called twice.
        shared_norm: True makes both GroupNorms one module with one pair of weights, as in the published code; its
            checkpoints need it.
    """

    def __init__(
        self, channels: int, activation: Callable[[], nn.Module] = leaky_relu, shared_norm: bool = False
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, channels, kernel_size=3, padding=1)
        self.norm1 = group_norm(channels)
        self.act1 = activation()
        self.conv2 = nn.Conv3d(channels, channels, kernel_size=3, padding=1)
        self.norm2 = self.norm1 if shared_norm else group_norm(channels)
        self.act2 = activation()

    def forward(self, x: Features) -> Features:
        """Return x + f(x), of the shape of x."""
        y = self.act1(self.norm1(self.conv1(x)))
        return x + self.act2(self.norm2(self.conv2(y)))


def run_levels(levels: Iterable[nn.Module], x: Features, recomputed: Callable[[int], bool]) -> Features:
    """Apply levels one after another; those whose index is `recomputed` keep no activations for the backward pass.

    Recomputing trades one more forward pass of a level for the memory of everything inside it.
    """
    for index, level in enumerate(levels):
        recompute = recomputed(index) and torch.is_grad_enabled()
        x = checkpoint(level, x, use_reentrant=False) if recompute else level(x)
    return x
