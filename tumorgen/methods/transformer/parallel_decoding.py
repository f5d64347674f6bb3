"""Filling a volume with tokens in a few steps (MaskGIT), in the order of confidence or of a 3D Halton sequence.

Legend: B volumes, N tokens of a volume in raster order, K codes.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import torch
from jaxtyping import Float, Float64
from torch import Generator, Tensor

from data_modules.errors import InputError
from tumorgen.methods.transformer.decoding import Sampler, check_temperature, inverse_cdf, uniforms
from tumorgen.methods.transformer.network import TokenTransformer
from tumorgen.methods.transformer.vocabulary import Vocabulary
from tumorgen.types import Labels, Tokens


class TokenOrder(ABC):
    """Decides which of the open tokens are committed first."""

    @abstractmethod
    def priorities(
        self,
        confidences: Float64[Tensor, "batch length"],
        numbers: Float64[Tensor, "batch length"],
        left: float,
        grid: tuple[int, int, int],
    ) -> Float[Tensor, "batch length"]:
        """Priority of every token (B, N); those of highest priority among the open ones are committed.

        Args:
            confidences: Probability of the code drawn for each token.
            numbers: Uniform random numbers in [0, 1), each volume's own.
            left: Share of the steps that is left after this one, in [0, 1).
            grid: Tokens per axis (depth, rows, columns).
        """


class ConfidenceOrder(TokenOrder):
    """The most confident tokens first, with Gumbel noise that fades from step to step (MaskGIT).

    Args:
        choice_temperature: Size of the noise on the log probabilities before the first step; 0 for none.
    """

    def __init__(self, choice_temperature: float = 4.5) -> None:
        if not choice_temperature >= 0:
            raise InputError(f"choice_temperature of the order is {choice_temperature}: it cannot be negative.")
        self.choice_temperature = choice_temperature

    def priorities(
        self,
        confidences: Float64[Tensor, "batch length"],
        numbers: Float64[Tensor, "batch length"],
        left: float,
        grid: tuple[int, int, int],
    ) -> Float[Tensor, "batch length"]:
        """Log probability plus noise."""
        gumbel = -(-numbers.clamp_min(1e-300).log()).log()
        return confidences.log() + self.choice_temperature * left * gumbel


class HaltonOrder(TokenOrder):
    """Tokens in the order of a 3D Halton sequence: those of one step are spread over the volume.

    Tokens that are drawn in one step do not see each other, and distant ones depend on each other least. The order is
    the same for all volumes; diversity comes from drawing the codes.
    """

    def priorities(
        self,
        confidences: Float64[Tensor, "batch length"],
        numbers: Float64[Tensor, "batch length"],
        left: float,
        grid: tuple[int, int, int],
    ) -> Float[Tensor, "batch length"]:
        """Earlier in the sequence is higher."""
        order = torch.tensor(halton_order(grid), device=confidences.device)
        return -order.argsort().double().expand_as(confidences)


@lru_cache
def halton_order(grid: tuple[int, int, int]) -> tuple[int, ...]:
    """Raster indices of all tokens of the grid, in the order in which a Halton sequence (bases 2, 3, 5) visits them."""
    total = math.prod(grid)
    order: dict[int, None] = {}
    index = 0
    while len(order) < total:
        index += 1
        depth, row, column = (
            int(_radical_inverse(index, base) * size) for base, size in zip((2, 3, 5), grid, strict=True)
        )
        order.setdefault((depth * grid[1] + row) * grid[2] + column)
    return tuple(order)


def _radical_inverse(index: int, base: int) -> float:
    """The digits of `index` in `base`, mirrored behind the point: in [0, 1)."""
    inverse, weight = 0.0, 1.0
    while index:
        index, digit = divmod(index, base)
        weight /= base
        inverse += digit * weight
    return inverse


class ParallelDecoding(Sampler):
    """Starts from [MASK] everywhere and commits more tokens in each of a few steps: bidirectional networks only.

    After step s of S, floor(N * cos(pi/2 * s/S)) tokens are still open (MaskGIT's cosine schedule); every step commits
    at least one. In each step a code is drawn for every open token, and the order decides which are kept. A committed
    token never changes.

    Args:
        steps: S, passes through the network (twice as much work with guidance).
        order: Which tokens are committed first; `ConfidenceOrder()` if not given.
        guidance_scale: g of classifier-free guidance, logits (1 + g) * of the class - g * of no class; 0 for none.
            Needs a network trained with class dropout.
        temperature: Divides the logits, above 0.
    """

    def __init__(
        self,
        steps: int = 12,
        order: TokenOrder | None = None,
        guidance_scale: float = 0.0,
        temperature: float = 1.0,
    ) -> None:
        if steps < 1:
            raise InputError(f"steps of the sampler is {steps}: it must be at least 1.")
        if not guidance_scale >= 0:
            raise InputError(f"guidance_scale of the sampler is {guidance_scale}: it cannot be negative.")
        check_temperature(temperature)
        self.steps = steps
        self.order = order or ConfidenceOrder()
        self.guidance_scale = guidance_scale
        self.temperature = temperature

    def check(self, network: TokenTransformer, vocabulary: Vocabulary) -> None:
        """Refuses a causal network, and guidance without a "no class" token."""
        if network.causal:
            raise InputError(
                "ParallelDecoding fills tokens in any order, but this transformer is causal, it sees only what stands "
                "before a token: use tumorgen.methods.transformer.decoding.CachedAutoregressive for it."
            )
        if self.guidance_scale > 0:
            _ = vocabulary.no_class_token

    def open_after(self, length: int) -> list[int]:
        """How many of `length` tokens are open after each step: strictly falling, 0 at the end.

        Shorter than `steps` where there are fewer tokens than steps.
        """
        schedule, still_open = [], length
        for step in range(1, self.steps + 1):
            if still_open == 0:
                break
            wanted = math.floor(length * math.cos(0.5 * math.pi * step / self.steps))
            still_open = min(still_open - 1, wanted)
            schedule.append(still_open)
        return schedule

    def _decode(
        self,
        network: TokenTransformer,
        vocabulary: Vocabulary,
        labels: Labels,
        draws: Sequence[Generator],
        grid: tuple[int, int, int],
    ) -> Tokens:
        length, device = network.length, network.device
        tokens = torch.full((len(labels), length), vocabulary.mask_token, device=device)
        schedule = self.open_after(length)
        for step, (before, after) in enumerate(pairwise([length, *schedule]), start=1):
            is_open = tokens == vocabulary.mask_token
            # two numbers for every token, open or not: what a volume draws does not depend on what it has committed
            numbers = uniforms(draws, 2 * length).to(device)
            probabilities = (self._logits(network, vocabulary, labels, tokens) / self.temperature).softmax(-1)
            codes = inverse_cdf(probabilities, numbers[:, :length])
            confidences = probabilities.gather(-1, codes[..., None])[..., 0]
            left = 1 - step / len(schedule)
            priorities = self.order.priorities(confidences, numbers[:, length:], left, grid)
            rank = priorities.argsort(dim=1, descending=True, stable=True).argsort(1)
            rank = (rank + length * ~is_open).argsort(1).argsort(1)  # what is committed already comes last
            tokens = codes.where(rank < before - after, tokens)
        return tokens

    def _logits(
        self, network: TokenTransformer, vocabulary: Vocabulary, labels: Labels, tokens: Tokens
    ) -> Float64[Tensor, "batch length codes"]:
        """Logits of the codes for all tokens, guided where wanted."""
        condition = vocabulary.condition(labels)
        if self.guidance_scale == 0:
            return vocabulary.code_logits(network.token_logits(condition, tokens)).double()
        without = vocabulary.condition(labels, dropped=torch.ones_like(labels, dtype=torch.bool))
        both = network.token_logits(torch.cat([condition, without]), tokens.repeat(2, 1))
        of_class, of_none = vocabulary.code_logits(both).double().chunk(2)
        return of_class + self.guidance_scale * (of_class - of_none)
