"""A quantiser of one file: the nearest code, learned by gradients (VQ-VAE)."""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from tumorgen.methods.vqgan.quantizers.base import Quantized, Quantizer


class NearestCode(Quantizer):
    """Nearest of the learned codes.

    Args:
        num_codes: Codes.
        code_dim: Channels of a code.
        beta: Weight of the pull on the features; the codes are pulled with weight 1.
    """

    def __init__(self, num_codes: int = 12, code_dim: int = 4, beta: float = 0.5) -> None:
        super().__init__(num_codes, code_dim)
        self.beta = beta
        self.codebook = nn.Parameter(torch.randn(num_codes, code_dim))

    def _quantize(self, z: Tensor) -> Quantized:
        features = rearrange(z, "b c d h w -> b d h w c")
        codes = torch.cdist(features.flatten(0, 3), self.codebook).argmin(1).view(features.shape[:4])
        found = self._decode(codes)
        commitment = F.mse_loss(found, z.detach()) + self.beta * F.mse_loss(z, found.detach())
        return Quantized(z + (found - z).detach(), codes, commitment)

    def _decode(self, codes: Tensor) -> Tensor:
        return rearrange(self.codebook[codes], "b d h w c -> b c d h w")
