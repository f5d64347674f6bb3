"""What every quantiser is: features on the token grid -> discrete codes and back.

To change how tumorgen quantises, write a subclass of `Quantizer` in a file of its own and name it in an overlay.
Legend: B batch, K codes, d h w token grid.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import nn

from data_modules.errors import InputError
from tumorgen.types import Codes, Latent, Scalar


class Quantized(NamedTuple):
    """What a quantiser returns.

    Attributes:
        latent: float32 quantised features (B, code_dim, d, h, w) for the decoder; their values are exactly
            `decode(codes)`, their gradient passes straight through to the features.
        codes: int64 code indices (B, d, h, w) in [0, num_codes).
        commitment: float32 scalar that pulls features towards their codes; 0 where a quantiser has no use for it.
    """

    latent: Latent
    codes: Codes
    commitment: Scalar


class Quantizer(nn.Module, ABC):
    """The contract of all quantisers.

    A quantiser takes the pre-quantiser's features as they are (it normalises or projects them itself), computes in
    float32 whatever autocast says, and changes none of its buffers in evaluation mode.

    Args:
        num_codes: size K of the code vocabulary.
        code_dim: channels of the features that enter and leave.
    """

    def __init__(self, num_codes: int, code_dim: int) -> None:
        super().__init__()
        if num_codes < 2 or code_dim < 1:
            raise InputError(
                f"A quantiser with num_codes {num_codes} and code_dim {code_dim} cannot be built. Expected at "
                f"least 2 codes of width 1."
            )
        self.num_codes = num_codes
        self.code_dim = code_dim

    def forward(self, z: Latent) -> Quantized:
        """Quantise features (B, code_dim, d, h, w).

        Raises:
            InputError: the width of `z` is not `code_dim`.
        """
        if z.shape[1] != self.code_dim:
            raise InputError(
                f"The quantiser expects features of width {self.code_dim} and got {z.shape[1]}. Give the quantiser "
                f"and the convolution before it the same `code_dim`."
            )
        with torch.autocast(z.device.type, enabled=False):
            return self._quantize(z.float())

    def decode(self, codes: Codes) -> Latent:
        """Return the float32 features (B, code_dim, d, h, w) that the codes (B, d, h, w) stand for.

        Raises:
            InputError: a code is not in [0, num_codes).
        """
        if codes.numel() and (int(codes.min()) < 0 or int(codes.max()) >= self.num_codes):
            raise InputError(
                f"Codes range from {int(codes.min())} to {int(codes.max())}; the quantiser has {self.num_codes}. "
                f"Tokens of classes and [MASK] must be removed before decoding."
            )
        with torch.autocast(codes.device.type, enabled=False):
            return self._decode(codes)

    @abstractmethod
    def _quantize(self, z: Latent) -> Quantized: ...

    @abstractmethod
    def _decode(self, codes: Codes) -> Latent: ...
