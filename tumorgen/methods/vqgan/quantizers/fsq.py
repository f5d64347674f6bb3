"""Finite scalar quantisation (Mentzer et al. 2023)."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor, nn

from data_modules.errors import InputError
from tumorgen.methods.vqgan.quantizers.base import Quantized, Quantizer
from tumorgen.types import Codes, Latent


class FSQQuantizer(Quantizer):
    """Finite scalar quantisation (Mentzer et al. 2023): each of a few channels is rounded to a fixed number of levels.

    There is no codebook that could die, no state and no commitment loss; a code that no feature reaches is simply not
    used, and counts as such in the codebook's usage.

    Args:
        levels: levels per channel, at least 2 each; K is their product (8 x 8 x 8 = 512).
        code_dim: channels of the features that enter and leave; learned 1x1x1 projections lead to the few channels
            and back.
    """

    _levels: Int[Tensor, "channels 1 1 1"]
    _places: Int[Tensor, "channels 1 1 1"]

    def __init__(self, levels: Sequence[int] = (8, 8, 8), code_dim: int = 128) -> None:
        if not levels or min(levels) < 2:
            raise InputError(f"levels of FSQQuantizer are {list(levels)}; expected one or more numbers of at least 2.")
        super().__init__(math.prod(levels), code_dim)
        self.levels = tuple(levels)
        self.project_in = nn.Conv3d(code_dim, len(self.levels), kernel_size=1)
        self.project_out = nn.Conv3d(len(self.levels), code_dim, kernel_size=1)
        places = [math.prod(self.levels[:channel]) for channel in range(len(self.levels))]
        for name, values in (("_levels", self.levels), ("_places", places)):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1, 1), persistent=False)

    def _quantize(self, z: Latent) -> Quantized:
        bounded = self._bound(self.project_in(z))
        rounded = bounded.detach().round()
        # rounded + 0, so the value is bit for bit that of `decode`
        latent = self._widen(rounded + (bounded - bounded.detach()))
        # A NaN (fp16 overflow) stays in `latent`, where the loss scaler sees it, but must not become an index
        digits = rounded.nan_to_num().long() + self._levels // 2
        return Quantized(latent, (digits * self._places).sum(1), z.new_zeros(()))

    def _bound(self, low: Latent) -> Latent:
        """Squash each channel so that rounding yields exactly its number of levels, with 0 staying 0.

        An even number of levels reaches from -L/2 to L/2 - 1, hence the offset of one half (paper, section 3).
        """
        half = (self._levels - 1) * (1 + 1e-3) / 2
        offset = 0.5 * (self._levels % 2 == 0)
        return torch.tanh(low + torch.atanh(offset / half)) * half - offset

    def _widen(self, rounded: Latent) -> Latent:
        return self.project_out(rounded / (self._levels // 2))

    def _decode(self, codes: Codes) -> Latent:
        digits = codes[:, None] // self._places % self._levels
        return self._widen((digits - self._levels // 2).float())
