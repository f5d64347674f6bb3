"""Small 3D classifiers."""

from collections.abc import Sequence

from torch import Tensor, nn

from tumorgen.types import Volume


class SmallCNN(nn.Sequential):
    """Strided convolutions, global average, one linear layer: 41 thousand parameters for two classes at the defaults.

    Args:
        num_classes: Classes to tell apart; the output is (B, num_classes) logits.
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
        layers: list[nn.Module] = []
        for before, after in zip((in_channels, *widths), widths, strict=False):
            layers += [nn.Conv3d(before, after, 3, stride=2, padding=1), nn.BatchNorm3d(after), nn.ReLU()]
        super().__init__(
            *layers, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(widths[-1], num_classes)
        )

    def forward(self, volume: Volume) -> Tensor:
        """Logits (B, num_classes) of volumes in [-1, 1]."""
        logits: Tensor = super().forward(volume)
        return logits
