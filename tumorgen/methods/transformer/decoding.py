"""From labels and seeds to tokens: the contract of all samplers, and sampling token by token with a key-value cache.

Legend: B volumes, N tokens of a volume in raster order, K codes.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float, Float64
from torch import Generator, Tensor

from data_modules.errors import InputError
from tumorgen.methods.transformer.network import TokenTransformer
from tumorgen.methods.transformer.vocabulary import Vocabulary, check_grid
from tumorgen.nn.packed_linear import packed_linear_layers
from tumorgen.types import Labels, Tokens


class Sampler(ABC):
    """Samples the tokens of volumes.

    Every volume has its own random numbers, which depend on its seed alone and not on the volumes sampled beside it.
    So the same network, label, seed and batch size give the same tokens. Across batch sizes the logits differ in their
    last digits, which flips a token whose random number falls between the two: rarely in float32, often in bfloat16.
    """

    @torch.no_grad()
    def sample(
        self,
        network: TokenTransformer,
        vocabulary: Vocabulary,
        labels: Labels,
        seeds: Sequence[int],
        grid: tuple[int, int, int],
    ) -> Tokens:
        """Codes (B, N), all below K, on the network's device.

        Args:
            network: In any precision and on any device.
            vocabulary: The one that the network was trained with.
            labels: Class of every volume (B,), on any device.
            seeds: One per volume.
            grid: Tokens per axis (depth, rows, columns).

        Raises:
            InputError: This sampler does not fit the network, a class does not exist, labels and seeds are not equally
                many, or the grid is not the network's.
        """
        self.check(network, vocabulary)
        grid = check_grid(grid, network.length)
        if len(seeds) != len(labels):
            raise InputError(f"{len(labels)} labels and {len(seeds)} seeds: every volume needs one of each.")
        for label in labels.tolist():
            vocabulary.class_token(label)
        draws = [torch.Generator().manual_seed(seed) for seed in seeds]
        return self._decode(network, vocabulary, labels.to(network.device), draws, grid)

    @abstractmethod
    def check(self, network: TokenTransformer, vocabulary: Vocabulary) -> None:
        """Says whether this sampler fits the network, before anything is computed.

        Raises:
            InputError: It does not; the message names the sampler that does.
        """

    @abstractmethod
    def _decode(
        self,
        network: TokenTransformer,
        vocabulary: Vocabulary,
        labels: Labels,
        draws: Sequence[Generator],
        grid: tuple[int, int, int],
    ) -> Tokens:
        """The sampler's own part of `sample`, on checked input; `draws` has one generator per volume, on the CPU."""


class CachedAutoregressive(Sampler):
    """One token after the other in raster order, as published, but remembering keys and values: causal networks only.

    The published recipe is the default: temperature 1, no top-k, no top-p. Temperature comes first, then top-k, then
    top-p of what is left.

    Args:
        temperature: Divides the logits, above 0; below 1 prefers likely codes.
        top_k: Draws among the `top_k` most likely codes only.
        top_p: Draws among the fewest codes whose probabilities sum to at least `top_p`, in (0, 1].
    """

    def __init__(self, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None) -> None:
        check_temperature(temperature)
        if top_k is not None and top_k < 1:
            raise InputError(
                f"top_k of the sampler is {top_k}: give a number of codes from 1 on, or null for all codes."
            )
        if top_p is not None and not 0 < top_p <= 1:
            raise InputError(f"top_p of the sampler is {top_p}: give a probability above 0 and at most 1, or null.")
        self.temperature = temperature
        self.top_k = top_k
        self.top_p = top_p

    def check(self, network: TokenTransformer, vocabulary: Vocabulary) -> None:
        """Refuses a bidirectional network."""
        if not network.causal:
            raise InputError(
                "CachedAutoregressive samples from left to right, but this transformer attends in both directions: "
                "use tumorgen.methods.transformer.parallel_decoding.ParallelDecoding for it."
            )

    def _decode(
        self,
        network: TokenTransformer,
        vocabulary: Vocabulary,
        labels: Labels,
        draws: Sequence[Generator],
        grid: tuple[int, int, int],
    ) -> Tokens:
        # all random numbers at once: one transfer to the device instead of N
        numbers = uniforms(draws, network.length).to(network.device)
        tokens = torch.empty(len(labels), network.length, dtype=torch.int64, device=network.device)
        cache = network.new_cache(len(labels))
        inputs = vocabulary.condition(labels)
        with packed_linear_layers(network, rows=len(labels)):
            for position in range(network.length):
                logits = vocabulary.code_logits(network(inputs, cache)[:, -1])
                tokens[:, position] = inverse_cdf(self.probabilities(logits), numbers[:, position])
                inputs = tokens[:, position, None]
        return tokens

    def probabilities(self, logits: Float[Tensor, "*batch codes"]) -> Float64[Tensor, "*batch codes"]:
        """What codes are drawn with: the softmax at the temperature, cut to top-k and top-p."""
        logits = logits.double() / self.temperature
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            values, indices = logits.topk(self.top_k)
            logits = torch.full_like(logits, -torch.inf).scatter(-1, indices, values)
        probabilities = logits.softmax(-1)
        if self.top_p is not None:
            ordered, indices = probabilities.sort(dim=-1, descending=True)
            enough = ordered.cumsum(-1) - ordered >= self.top_p  # the more likely codes reach it without this one
            probabilities = torch.zeros_like(probabilities).scatter(-1, indices, ordered.masked_fill(enough, 0))
            probabilities = probabilities / probabilities.sum(-1, keepdim=True)
        return probabilities


def uniforms(draws: Sequence[Generator], count: int) -> Float64[Tensor, "batch count"]:
    """`count` numbers in [0, 1) from each volume's own generator, (B, count) on the CPU."""
    return torch.stack([torch.rand(count, generator=draw, dtype=torch.float64) for draw in draws])


def inverse_cdf(probabilities: Float64[Tensor, "*batch codes"], numbers: Float64[Tensor, "*batch"]) -> Tokens:
    """The codes drawn by uniform `numbers`: a change of 1e-6 in the logits changes one draw in about a million.

    A code of probability 0 is never drawn.
    """
    cumulative = probabilities.cumsum(-1)
    # ends in exactly 1, which no number reaches
    cumulative = cumulative / cumulative[..., -1:]
    return torch.searchsorted(cumulative, numbers[..., None].contiguous(), right=True)[..., 0]


def check_temperature(temperature: float) -> None:
    """Refuses temperatures that cannot divide.

    Raises:
        InputError: The temperature is not above 0.
    """
    if not temperature > 0:
        raise InputError(
            f"temperature of the sampler is {temperature}: it must be above 0; for the most likely code use top_k 1."
        )
