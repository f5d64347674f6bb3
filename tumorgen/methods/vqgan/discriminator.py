"""3D patch discriminator (published code; 11,049,665 parameters at the published size)."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from data_modules.errors import InputError
from tumorgen.nn.blocks import ConvNormAct, initialise_convolutions, leaky_relu
from tumorgen.types import Volume

KERNEL = 4


class DiscriminatorOutput(NamedTuple):
    """What the discriminator returns.

    Attributes:
        logits: (B, 1, p, p, p), one per overlapping patch; positive means real.
        features: after each activation, finest first.
    """

    logits: Tensor
    features: list[Tensor]


class PatchDiscriminator3D(nn.Module):
    """Judges overlapping patches of a volume.

    Convolutions of kernel 4 that halve the side, each followed by GN(8) (except the first) and LeakyReLU(0.2), then one
    without stride or padding to a single channel. At 128^3 with four widths: 8^3 features, 5^3 logits.

    Args:
        in_channels: MRI sequences per volume.
        channels: widths; one halving each. Small ROIs need fewer: the last feature map must be at least as large as the
            kernel, so roi_size >= 4 * 2^len(channels).
    """

    def __init__(self, in_channels: int = 1, channels: Sequence[int] = (64, 128, 256, 512)) -> None:
        super().__init__()
        if not channels:
            raise InputError("`channels` of the discriminator is empty; expected at least one width.")
        first, *rest = channels
        levels: list[nn.Module] = [nn.Sequential(nn.Conv3d(in_channels, first, KERNEL, 2, padding=1), leaky_relu())]
        levels += [
            ConvNormAct(nn.Conv3d(before, after, KERNEL, 2, padding=1))
            for before, after in zip(channels, rest, strict=False)
        ]
        self.levels = nn.ModuleList(levels)
        self.final = nn.Conv3d(channels[-1], 1, KERNEL)
        initialise_convolutions(self)

    def check_roi_size(self, roi_size: int) -> None:
        """Raise `InputError` when a cubic ROI of `roi_size` voxels is too small for this depth."""
        last = roi_size
        for _ in self.levels:
            last //= 2
        if last < KERNEL:
            fitting = max(0, (roi_size // KERNEL).bit_length() - 1)
            raise InputError(
                f"The discriminator's last feature map is {last}^3 for roi_size {roi_size} and its {len(self.levels)} "
                f"`channels`, smaller than its kernel {KERNEL}. Expected at most {fitting} `channels`: remove the last "
                f"{len(self.levels) - fitting}."
            )

    def forward(self, volume: Volume) -> DiscriminatorOutput:
        """Judge volumes in [-1, 1].

        Raises:
            InputError: the volume is too small for this depth.
        """
        self.check_roi_size(min(volume.shape[2:]))
        features: list[Tensor] = []
        x = volume
        for level in self.levels:
            x = level(x)
            features.append(x)
        return DiscriminatorOutput(self.final(x), features)
