"""3D networks that tell classes apart."""

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

from jaxtyping import Float
from torch import Tensor, nn

from data_modules.errors import InputError
from tumorgen.types import Volume

Features: TypeAlias = Float[Tensor, "batch width"]
Logits: TypeAlias = Float[Tensor, "batch num_classes"]


class Classifier(nn.Module):
    """A network that turns volumes into features and features into logits.

    Attributes:
        body: From volumes to features.
        head: From features to logits.
        num_classes: Classes to tell apart.
        num_features: Width F of the features.
    """

    body: nn.Module
    head: nn.Module
    num_classes: int
    num_features: int

    def features(self, volume: Volume) -> Features:
        """What the last linear layer sees (B, F) of volumes in [-1, 1]: averages of the last feature maps."""
        features: Features = self.body(volume)
        return features

    def forward(self, volume: Volume) -> Logits:
        """Logits (B, num_classes) of volumes in [-1, 1]."""
        logits: Logits = self.head(self.features(volume))
        return logits


NetworkFactory: TypeAlias = Callable[[int, int], Classifier]
"""Builds a network from the number of classes and of channels."""


class SmallCNN(Classifier):
    """Strided convolutions, global average, one linear layer: 41 thousand parameters for two classes at the defaults.

    Args:
        num_classes: Classes to tell apart.
        in_channels: MRI sequences per volume.
        widths: Channels, one halving of the side each.
        dropout: Before the linear layer.
    """

    def __init__(
        self,
        num_classes: int = 2,
        in_channels: int = 1,
        widths: Sequence[int] = (12, 24, 48),
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.num_classes, self.num_features = num_classes, widths[-1]
        layers: list[nn.Module] = []
        for before, after in zip((in_channels, *widths), widths, strict=False):
            layers += [nn.Conv3d(before, after, 3, stride=2, padding=1), nn.BatchNorm3d(after), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten())
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(widths[-1], num_classes))


class ResNet3D(Classifier):
    """A 3D residual network of basic blocks (He et al. 2016; 3D: Hara et al. 2018), MONAI's implementation.

    One block per stage is known as ResNet-10, two as ResNet-18. Of 128 voxels a side 4 are left before the average.

    Args:
        num_classes: Classes to tell apart.
        in_channels: MRI sequences per volume.
        stage_widths: Channels of the four stages; the defaults, half of the published ones, make 3.6 million parameters.
        stage_blocks: Blocks of the four stages.
        norm: `group` does not depend on the other volumes of a batch, so small batches and several GPUs change nothing.
        groups: Groups of the group norm.
        dropout: Before the linear layer.

    Raises:
        InputError: There are not four stages, or the widths cannot be grouped.
    """

    def __init__(
        self,
        num_classes: int = 2,
        in_channels: int = 1,
        stage_widths: Sequence[int] = (32, 64, 128, 256),
        stage_blocks: Sequence[int] = (1, 1, 1, 1),
        norm: Literal["group", "batch"] = "group",
        groups: int = 8,
        dropout: float = 0.3,
    ) -> None:
        from monai.networks.nets.resnet import ResNet  # takes seconds, and most networks here are not of this kind

        super().__init__()
        if len(stage_widths) != 4 or len(stage_blocks) != 4:
            raise InputError(
                f"model.network: stage_widths {list(stage_widths)} and stage_blocks {list(stage_blocks)}; expected four of each, "
                "one per stage."
            )
        if norm == "group" and any(width % groups for width in stage_widths):
            raise InputError(
                f"model.network.groups is {groups}, expected a divisor of all stage_widths {list(stage_widths)}; change either."
            )
        self.num_classes, self.num_features = num_classes, stage_widths[-1]
        self.body = ResNet(
            "basic",
            list(stage_blocks),
            list(stage_widths),
            spatial_dims=3,
            n_input_channels=in_channels,
            conv1_t_size=7,
            conv1_t_stride=2,
            feed_forward=False,
            bias_downsample=False,
        )
        if norm == "group":
            _group_norms(self.body, groups)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(stage_widths[-1], num_classes))


def _group_norms(network: nn.Module, groups: int) -> None:
    """Puts group norms in the place of batch norms; MONAI's own option reaches the first layer only."""
    for name, part in network.named_children():
        if isinstance(part, nn.BatchNorm3d):
            setattr(network, name, nn.GroupNorm(groups, part.num_features))
        else:
            _group_norms(part, groups)
