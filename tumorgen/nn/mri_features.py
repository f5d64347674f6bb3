"""The encoder of a 3D brain MRI segmentation network, as a pyramid of features.

deepbet (Fisch et al. 2024, MIT licence) is a LinkNet trained on 7,837 T1-weighted scans to find the brain. Its encoder
is restated here in plain PyTorch; the parameters carry the names of the original, so that its tensors load as they are.
"""

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

WIDTHS = (16, 32, 64, 128)


class StemConvolution(nn.Conv3d):
    """A 7^3 convolution of stride 2 and padding 3, from one channel, computed as a 4^3 convolution of stride 1.

    The volume's cells of 2^3 voxels become eight channels, and the kernel, with a plane of zeros in front, likewise.
    Equal to the plain form, whose gradient for a one-channel input is several times slower. Parameters stay 7^3.
    """

    def __init__(self, out_channels: int) -> None:
        super().__init__(1, out_channels, kernel_size=7, stride=2, padding=3, bias=False)

    def forward(self, x: Float[Tensor, "batch 1 D H W"]) -> Float[Tensor, "batch out d h w"]:
        """Halves each side, rounded up."""
        depth, height, width = (side % 2 for side in x.shape[2:])
        x = F.pad(x, (4, 2 + width, 4, 2 + height, 4, 2 + depth))
        cells = "n 1 (d a) (h b) (w c) -> n (a b c) d h w"
        kernel = rearrange(F.pad(self.weight, (1, 0, 1, 0, 1, 0)), cells, a=2, b=2, c=2)
        return F.conv3d(rearrange(x, cells, a=2, b=2, c=2), kernel)


class ResidualBlock(nn.Module):
    """Two 3^3 convolutions with instance norm and a shortcut: y = relu(f(x) + shortcut(x)); no biases, no affine."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv3d(in_channels, out_channels, 3, stride, 1, bias=False),
            nn.InstanceNorm3d(out_channels),
            nn.ReLU(),
            nn.Conv3d(out_channels, out_channels, 3, 1, 1, bias=False),
            nn.InstanceNorm3d(out_channels),
        )
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv3d(in_channels, out_channels, 1, stride, bias=False), nn.InstanceNorm3d(out_channels)
            )

    def forward(self, x: Float[Tensor, "batch in D H W"]) -> Float[Tensor, "batch out d h w"]:
        """Halves each side (rounded up) where the stride is 2, keeps it otherwise."""
        return F.relu(self.double_conv(x) + self.downsample(x))


class Stage(nn.Module):
    """Two residual blocks; the first may halve the resolution."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.block1 = ResidualBlock(in_channels, out_channels, stride)
        self.block2 = ResidualBlock(out_channels, out_channels, 1)

    def forward(self, x: Float[Tensor, "batch in D H W"]) -> Float[Tensor, "batch out d h w"]:
        """Features of the stage."""
        return self.block2(self.block1(x))


class MRIFeatures(nn.Module):
    """Feature maps of one-channel volumes at strides 2, 4, 8, 16 and 32, with 16, 16, 32, 64 and 128 channels.

    The finest map is the stem's (7^3 convolution of stride 2, instance norm, ReLU); a max pooling and four residual
    stages follow. Instance norm takes the statistics of each volume, in training and evaluation alike. It has no
    meaning on a single voxel, so stages that would be left with one are not computed: 128^3 and 64^3 give five maps,
    32^3 gives four.
    """

    def __init__(self) -> None:
        super().__init__()
        self.init = nn.Sequential(StemConvolution(WIDTHS[0]), nn.InstanceNorm3d(WIDTHS[0]))
        self.down0 = Stage(WIDTHS[0], WIDTHS[0], stride=1)
        self.down1 = Stage(WIDTHS[0], WIDTHS[1], stride=2)
        self.down2 = Stage(WIDTHS[1], WIDTHS[2], stride=2)
        self.down3 = Stage(WIDTHS[2], WIDTHS[3], stride=2)

    def forward(self, x: Float[Tensor, "batch 1 D H W"]) -> list[Float[Tensor, "batch width d h w"]]:
        """Feature maps from the finest to the coarsest, all after a ReLU.

        Raises:
            ValueError: A side of fewer than 5 voxels, which leaves no residual stage.
        """
        if min(x.shape[2:]) < 5:
            raise ValueError(f"MRI features need volumes of at least 5 voxels per side, found {tuple(x.shape[2:])}")
        features = [F.relu(self.init(x))]
        y = F.max_pool3d(features[0], 3, 2, 1)
        for stage in (self.down0, self.down1, self.down2, self.down3):
            if max(y.shape[2:]) <= stage.stride:
                break
            y = stage(y)
            features.append(y)
        return features
