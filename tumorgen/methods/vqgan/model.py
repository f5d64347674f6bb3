"""The tokenizer's networks without its training: volume -> features -> codes -> volume (poster, stage 1).

Legend: B batch, C MRI sequences, D H W voxels, d h w token grid.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import nn

from tumorgen.methods.vqgan.autoencoder import Decoder, Encoder
from tumorgen.methods.vqgan.importance import ImportanceScoreNet
from tumorgen.methods.vqgan.quantizers.base import Quantizer
from tumorgen.types import Codes, Latent, ScoreMap, Volume


class Encoding(NamedTuple):
    """What the tokenizer makes of a volume.

    Attributes:
        codes: (B, d, h, w) int64, indices into the codebook.
        scores: (B, 1, d, h, w) importance in (0, 1); 0.5 everywhere where the model has no importance score net.
        latent: (B, code_dim, d, h, w) quantised features.
    """

    codes: Codes
    scores: ScoreMap
    latent: Latent


class VQGANModel(nn.Module):
    """Encoder, quantiser, importance score net and decoder.

    The 1x1x1 convolutions before and after the quantiser belong to neither encoder nor decoder, as in the published counts.

    Args:
        in_channels: C.
        num_classes: Classes that the importance score net tells apart.
        roi_size: D = H = W.
        encoder: Builds the encoder from `in_channels`.
        decoder: Builds the decoder from `in_channels` and the encoder's widths.
        quantizer: Builds the quantiser; its `code_dim` is the width of the features that are quantised.
        importance: Builds the importance score net from the number of classes, the grid side and the code width; None: without.

    Raises:
        InputError: Sizes that do not fit each other, with the numbers.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        roi_size: int,
        encoder: Callable[[int], Encoder],
        decoder: Callable[[int, Sequence[int]], Decoder],
        quantizer: Callable[[], Quantizer],
        importance: Callable[[int, int, int], ImportanceScoreNet] | None,
    ) -> None:
        super().__init__()
        self.encoder = encoder(in_channels)
        self.decoder = decoder(in_channels, self.encoder.channels)
        self.grid = self.encoder.grid_size(roi_size)
        self.quantizer = quantizer()
        width = self.quantizer.code_dim
        self.pre_quantizer = nn.Conv3d(self.encoder.out_channels, width, kernel_size=1)
        self.post_quantizer = nn.Conv3d(width, self.encoder.out_channels, kernel_size=1)
        self.importance = importance(num_classes, self.grid, width) if importance is not None else None

    def features(self, volume: Volume) -> Latent:
        """Features before the quantiser (B, code_dim, d, h, w), of volumes in [-1, 1]."""
        return self.pre_quantizer(self.encoder(volume))

    def synthesize(self, latent: Latent) -> Volume:
        """Volumes in [-1, 1] from quantised features (B, code_dim, d, h, w)."""
        return self.decoder(self.post_quantizer(latent))

    def encode(self, volume: Volume) -> Encoding:
        """Codes and importance scores of volumes in [-1, 1], without the classifier."""
        z = self.features(volume)
        quantized = self.quantizer(z)
        scores = torch.full_like(z[:, :1], 0.5) if self.importance is None else self.importance.scores(z)
        return Encoding(quantized.codes, scores, quantized.latent)

    def decode(self, codes: Codes) -> Volume:
        """Volumes in [-1, 1] from codes (B, d, h, w)."""
        return self.synthesize(self.quantizer.decode(codes))

    def forward(self, volume: Volume) -> Volume:
        """Reconstructions of volumes in [-1, 1]."""
        return self.synthesize(self.quantizer(self.features(volume)).latent)

    def to_channels_last(self) -> None:
        """Convolution weights in channels_last_3d, network by network: quantisers may hold buffers of another rank."""
        for network in filter(None, (self.encoder, self.decoder, self.importance)):
            network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # not in torch's stubs
