"""Codes on the unit sphere that follow the features (published quantiser).

Legend: B batch, K codes, n = B*d*h*w features, d h w token grid.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from data_modules.errors import InputError
from tumorgen.methods.vqgan.quantizers import codebook as book
from tumorgen.methods.vqgan.quantizers.base import Quantized, Quantizer
from tumorgen.types import Codes, Latent


class CosineEMAQuantizer(Quantizer):
    """Codes on the unit sphere that follow the features by exponential moving averages (published quantiser).

    Features are L2-normalised first. In training mode every forward pass moves each code that was hit,
    w <- l2(0.99 w + 0.01 l2(mean of its features)), with counts and sums over all ranks; the others keep their value.
    The first batch in training mode initialises the codes by k-means.

    Args:
        num_codes: K; the published stage 2 uses 512.
        code_dim: channels of a code.
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
        code_dim: int = 128,
        decay: float = 0.99,
        beta: float = 1.0,
        kmeans_iterations: int = 10,
        revive_after: int | None = 50,
    ) -> None:
        super().__init__(num_codes, code_dim)
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
        self.register_buffer("codebook", F.normalize(torch.randn(num_codes, code_dim), dim=1))
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
