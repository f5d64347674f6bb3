"""Quantisers: features on the token grid -> discrete codes and back.

To change how tumorgen quantises, add a subclass of `Quantizer` here and name it in an overlay.
Legend: B batch, K codes, n = B*d*h*w features, d h w token grid.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from data_modules.errors import InputError
from tumorgen.methods.vqgan import codebook as book
from tumorgen.types import Codes, Latent, Scalar


class Quantized(NamedTuple):
    """What a quantiser returns.

    Attributes:
        latent: float32 quantised features (B, code_width, d, h, w) for the decoder; their values are exactly
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
        code_width: channels of the features that enter and leave.
    """

    def __init__(self, num_codes: int, code_width: int) -> None:
        super().__init__()
        if num_codes < 2 or code_width < 1:
            raise InputError(
                f"A quantiser with num_codes {num_codes} and code_width {code_width} cannot be built. Expected at "
                f"least 2 codes of width 1."
            )
        self.num_codes = num_codes
        self.code_width = code_width

    def forward(self, z: Latent) -> Quantized:
        """Quantise features (B, code_width, d, h, w).

        Raises:
            InputError: the width of `z` is not `code_width`.
        """
        if z.shape[1] != self.code_width:
            raise InputError(
                f"The quantiser expects features of width {self.code_width} and got {z.shape[1]}. Give the quantiser "
                f"and the convolution before it the same `code_width`."
            )
        with torch.autocast(z.device.type, enabled=False):
            return self._quantize(z.float())

    def decode(self, codes: Codes) -> Latent:
        """Return the float32 features (B, code_width, d, h, w) that the codes (B, d, h, w) stand for.

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


class CosineEMAQuantizer(Quantizer):
    """Codes on the unit sphere that follow the features by exponential moving averages (published quantiser).

    Features are L2-normalised first. In training mode every forward pass moves each code that was hit,
    w <- l2(0.99 w + 0.01 l2(mean of its features)), with counts and sums over all ranks; the others keep their value.
    The first batch in training mode initialises the codes by k-means.

    Args:
        num_codes: K; the published stage 2 uses 512.
        code_width: channels of a code.
        decay: share of the old code in the moving average.
        beta: weight inside the commitment loss, beta * mean((code - feature)^2) with the normalised feature.
        kmeans_iterations: of the initialisation.
        revive_after: a code without a hit for this many training steps in a row is dead, and restarts at a current
            feature with its counter at zero; features that their codes describe worst are the likeliest. None: dead
            codes stay dead, as in the published code.
    """

    codebook: Float[Tensor, "K width"]
    idle_steps: Int[Tensor, " K"]
    initialised: Tensor

    def __init__(
        self,
        num_codes: int = 512,
        code_width: int = 128,
        decay: float = 0.99,
        beta: float = 1.0,
        kmeans_iterations: int = 10,
        revive_after: int | None = 50,
    ) -> None:
        super().__init__(num_codes, code_width)
        if not 0.0 <= decay <= 1.0:
            raise InputError(f"decay of the codebook is {decay}; expected a share in [0, 1], published 0.99.")
        if revive_after is not None and revive_after < 1:
            raise InputError(
                f"revive_after is {revive_after}; expected a number of steps from 1 on, or null for never."
            )
        self.decay = decay
        self.beta = beta
        self.kmeans_iterations = kmeans_iterations
        self.revive_after = revive_after
        self.register_buffer("codebook", F.normalize(torch.randn(num_codes, code_width), dim=1))
        self.register_buffer("idle_steps", torch.zeros(num_codes, dtype=torch.int64))
        # A buffer, so that a resumed run does not initialise again
        self.register_buffer("initialised", torch.tensor(False))

    def _quantize(self, z: Latent) -> Quantized:
        unit = F.normalize(z, dim=1)
        features = rearrange(unit.detach(), "b c d h w -> (b d h w) c")
        if self.training and not self.initialised:
            self.codebook.copy_(book.kmeans_over_ranks(features, self.num_codes, self.kmeans_iterations))
            self.initialised.fill_(True)
        hit = book.nearest(features, self.codebook)
        batch, _, d, h, w = z.shape
        codes = rearrange(hit, "(b d h w) -> b d h w", b=batch, d=d, h=h, w=w)
        target = self._decode(codes)
        if self.training:
            self._follow(features, hit)
        # target + 0, so the value is bit for bit the code; unit + (target - unit) would round
        latent = target + (unit - unit.detach())
        return Quantized(latent, codes, self.beta * F.mse_loss(unit, target))

    def _decode(self, codes: Codes) -> Latent:
        return rearrange(self.codebook[codes], "b d h w c -> b c d h w")

    @torch.no_grad()
    def _follow(self, features: book.Features, hit: Int[Tensor, " n"]) -> None:
        """Move the codes after the features of one training step, and revive the dead ones."""
        errors = 1 - (features * self.codebook[hit]).sum(1)
        hits = book.add_over_ranks(book.collect_hits(features, hit, self.num_codes))
        alive = hits.counts > 0
        target = book.mean_directions(hits, otherwise=self.codebook)
        moved = F.normalize(self.decay * self.codebook + (1 - self.decay) * target, dim=1)
        self.codebook.copy_(torch.where(alive[:, None], moved, self.codebook))
        self.idle_steps.copy_(torch.where(alive, 0, self.idle_steps + 1))
        if self.revive_after is None:
            return
        dead = self.idle_steps >= self.revive_after
        number = int(dead.sum())
        if number:
            self.codebook[dead] = book.draw_by_error(features, errors, number)
            self.idle_steps[dead] = 0


class FSQQuantizer(Quantizer):
    """Finite scalar quantisation (Mentzer et al. 2023): each of a few channels is rounded to a fixed number of levels.

    There is no codebook that could die, no state and no commitment loss; a code that no feature reaches is simply not
    used, and counts as such in the codebook's usage.

    Args:
        levels: levels per channel, at least 2 each; K is their product (8 x 8 x 8 = 512).
        code_width: channels of the features that enter and leave; learned 1x1x1 projections lead to the few channels
            and back.
    """

    _levels: Int[Tensor, "channels 1 1 1"]
    _places: Int[Tensor, "channels 1 1 1"]

    def __init__(self, levels: Sequence[int] = (8, 8, 8), code_width: int = 128) -> None:
        if not levels or min(levels) < 2:
            raise InputError(f"levels of FSQQuantizer are {list(levels)}; expected one or more numbers of at least 2.")
        super().__init__(math.prod(levels), code_width)
        self.levels = tuple(levels)
        self.project_in = nn.Conv3d(code_width, len(self.levels), kernel_size=1)
        self.project_out = nn.Conv3d(len(self.levels), code_width, kernel_size=1)
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
