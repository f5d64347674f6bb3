"""Encoder and decoder of the 3D VQGAN (poster; sizes of the published code).

Published sizes: 1x128^3 -> 512x8^3 with 25,156,384 parameters, and back with 9,403,713. That is with `shared_norm`; two
GroupNorms per residual block, the default, are 1,984 and 960 parameters more.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from data_modules.errors import InputError
from tumorgen.nn.blocks import ConvNormAct, ResidualBlock, initialise_convolutions, run_levels
from tumorgen.nn.upsampling import UpsampleLevel
from tumorgen.types import Latent, Volume

PUBLISHED_CHANNELS = (32, 64, 128, 256, 512)


def grid_size(roi_size: int, downsamplings: int) -> int:
    """Return the side of the token grid, roi_size / 2^downsamplings.

    Raises:
        InputError: `roi_size` cannot be halved that often.
    """
    factor = 2**downsamplings
    if roi_size < factor or roi_size % factor:
        raise InputError(
            f"roi_size {roi_size} cannot be halved {downsamplings} times. Expected a multiple of {factor}: change "
            f"`roi_size`, or give encoder and decoder {downsamplings} or fewer `channels`."
        )
    return roi_size // factor


def _check_channels(channels: Sequence[int], part: str) -> tuple[int, ...]:
    if len(channels) < 2:
        raise InputError(
            f"`channels` of the {part} is {list(channels)}. Expected at least two widths: one per halving, finest "
            f"first, and one for the coarsest level."
        )
    return tuple(channels)


class Encoder(nn.Module):
    """Volume -> features on the token grid.

    One level per width: convolution -> GN(8) -> LeakyReLU(0.2) -> residual block. All levels but the last halve the
    side (kernel 4, stride 2); the last keeps it (kernel 3).

    The 1x1x1 convolutions before and after the quantiser belong to neither encoder nor decoder, as in the published
    counts.

    Args:
        in_channels: MRI sequences per volume.
        channels: widths, finest level first; len(channels) - 1 halvings.
        shared_norm: True as in the published code (needed to import its checkpoints), see `ResidualBlock`.
    """

    def __init__(
        self,
        in_channels: int = 1,
        channels: Sequence[int] = PUBLISHED_CHANNELS,
        shared_norm: bool = False,
    ) -> None:
        super().__init__()
        widths = _check_channels(channels, "encoder")
        self.in_channels = in_channels
        self.channels = widths
        self.out_channels = widths[-1]
        self.downsamplings = len(widths) - 1
        self.checkpoint_levels = 0  # finest levels that recompute their activations; set by whoever trains
        levels = []
        for index, (before, after) in enumerate(zip((in_channels, *widths), widths, strict=False)):
            halves = index < self.downsamplings
            kernel, stride = (4, 2) if halves else (3, 1)
            conv = nn.Conv3d(before, after, kernel, stride, padding=1)
            levels.append(nn.Sequential(ConvNormAct(conv), ResidualBlock(after, shared_norm=shared_norm)))
        self.levels = nn.ModuleList(levels)
        initialise_convolutions(self)

    def grid_size(self, roi_size: int) -> int:
        """Return the side of the token grid for a cubic ROI of `roi_size` voxels; raise `InputError` if none fits."""
        return grid_size(roi_size, self.downsamplings)

    def forward(self, volume: Volume) -> Latent:
        """Return features (B, channels[-1], d, h, w), d = D / 2^downsamplings.

        Raises:
            InputError: channels or side lengths of `volume` do not fit the network.
        """
        if volume.shape[1] != self.in_channels:
            raise InputError(
                f"The encoder was built for {self.in_channels} channel(s) and got a volume with {volume.shape[1]}. Set "
                f"`in_channels` of the encoder to the number of MRI sequences."
            )
        for side in volume.shape[2:]:
            self.grid_size(side)
        return run_levels(self.levels, volume, lambda index: index < self.checkpoint_levels)


class Decoder(nn.Module):
    """Features on the token grid -> volume in [-1, 1].

    One level per halving of the encoder: nearest upsampling x2 -> conv3 -> GN(8) -> ReLU -> residual block; then a
    1x1x1 convolution and tanh.

    Args:
        out_channels: MRI sequences per volume.
        channels: the encoder's widths, finest level first; channels[-1] enters.
        shared_norm: True as in the published code (needed to import its checkpoints), see `ResidualBlock`.
        finest: builds the last level from (in_channels, out_channels); None is the published `UpsampleLevel`.
            `tumorgen.nn.upsampling.PixelShuffleLevel` makes small CPU runs affordable.
    """

    def __init__(
        self,
        out_channels: int = 1,
        channels: Sequence[int] = PUBLISHED_CHANNELS,
        shared_norm: bool = False,
        finest: Callable[[int, int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        widths = _check_channels(channels, "decoder")[::-1]
        self.in_channels = widths[0]
        self.out_channels = out_channels
        self.upsamplings = len(widths) - 1
        self.checkpoint_levels = 0  # finest levels that recompute their activations; set by whoever trains
        published = partial(UpsampleLevel, shared_norm=shared_norm)
        builders = [published] * (self.upsamplings - 1) + [finest or published]
        self.levels = nn.ModuleList(
            build(before, after) for build, (before, after) in zip(builders, pairwise(widths), strict=True)
        )
        self.final = nn.Conv3d(widths[-1], out_channels, kernel_size=1)
        initialise_convolutions(self)

    @property
    def last_layer(self) -> Tensor:
        """The weight at which the adaptive weight of the adversarial term compares gradients."""
        return self.final.weight

    def forward(self, latent: Latent) -> Volume:
        """Return float32 volumes (B, out_channels, 2^upsamplings * d, ...) in [-1, 1], also under autocast."""
        first = self.upsamplings - self.checkpoint_levels
        x = run_levels(self.levels, latent, lambda index: index >= first)
        # bfloat16 has steps of 1/256 near the background's -1: tanh must not be rounded to it
        return torch.tanh(self.final(x).float())
