"""How a volume's tokens are corrupted for training: which become [MASK], and which a random code.

A strategy decides positions; turning positions into corrupted tokens is the same for all of them. Everything is
computed for the whole batch on its device, from random numbers of each volume's own.

Legend: B batch, N tokens of a volume in raster order (depth, row, column).
"""

import math
from abc import ABC, abstractmethod
from typing import NamedTuple, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from data_modules.errors import InputError
from tumorgen.methods.transformer.neighbours import nearest_in_raster, nearest_in_space
from tumorgen.methods.transformer.vocabulary import Vocabulary, check_grid
from tumorgen.nn.draws import Draws
from tumorgen.types import Scores, Tokens

Positions: TypeAlias = Bool[Tensor, "batch length"]


class Corrupted(NamedTuple):
    """Corrupted tokens (B, N), and which positions became [MASK] and which a random code (disjoint)."""

    inputs: Tokens
    masked: Positions
    replaced: Positions

    @property
    def positions(self) -> Positions:
        """All corrupted positions. A replaced one may hold its original code by chance."""
        return self.masked | self.replaced


class MaskingStrategy(ABC):
    """Chooses the positions to corrupt.

    Args:
        corrupted_only: Whether the training loss counts the corrupted positions only. The published recipe counts all;
            a bidirectional network sees the intact tokens that it would be asked for, so it needs `True`.
    """

    def __init__(self, corrupted_only: bool = False) -> None:
        self.corrupted_only = corrupted_only

    @property
    def needs_importance(self) -> bool:
        """Whether positions are chosen by importance scores, which a tokenizer without score net cannot give: here not."""
        return False

    def __call__(
        self,
        tokens: Tokens,
        scores: Scores,
        grid: tuple[int, int, int],
        vocabulary: Vocabulary,
        draws: Draws,
    ) -> Corrupted:
        """Corrupts a batch.

        Args:
            tokens: Codes (B, N) in raster order.
            scores: Importance of every token, in (0, 1); strategies that do not need it ignore it.
            grid: Tokens per axis (depth, rows, columns).
            vocabulary: Says which token is [MASK] and how many codes there are.
            draws: Random numbers of every volume, on the tokens' device.

        Raises:
            InputError: `grid` does not hold N tokens.
        """
        masked, replaced = self.choose(scores, check_grid(grid, tokens.shape[1]), draws)
        codes = draws.integers(vocabulary.num_codes, tokens.shape[1])
        inputs = torch.where(replaced, codes, tokens).masked_fill(masked, vocabulary.mask_token)
        return Corrupted(inputs, masked, replaced)

    @abstractmethod
    def choose(self, scores: Scores, grid: tuple[int, int, int], draws: Draws) -> tuple[Positions, Positions]:
        """Disjoint positions (B, N) that become [MASK], and those that become a random code."""


class RandomMasking(MaskingStrategy):
    """Uniform draws: half of the corrupted tokens become [MASK], the other half a random code.

    The comparison of the poster's ablation (top-k ratio 0 %). round(mask_ratio * N) tokens are corrupted; of an odd
    number, [MASK] gets one more.

    Args:
        mask_ratio: Share of the tokens that is corrupted, in (0, 1].
        corrupted_only: Whether the training loss counts the corrupted positions only.
    """

    def __init__(self, mask_ratio: float = 0.5, corrupted_only: bool = False) -> None:
        super().__init__(corrupted_only)
        _check_share("mask_ratio", mask_ratio, zero_allowed=False)
        self.mask_ratio = mask_ratio

    def counts(self, length: int) -> tuple[int, int]:
        """How many of `length` tokens become [MASK] and how many a random code."""
        corrupted = math.floor(self.mask_ratio * length + 0.5)
        return corrupted - corrupted // 2, corrupted // 2

    def choose(self, scores: Scores, grid: tuple[int, int, int], draws: Draws) -> tuple[Positions, Positions]:
        """Uniform positions (B, N), exact counts."""
        masks, replacements = self.counts(scores.shape[1])
        rank = _rank(draws.exponential(scores.shape[1]))
        return rank < masks, (rank >= masks) & (rank < masks + replacements)


class TemporalAgnosticMasking(RandomMasking):
    """The poster's hybrid masking: important tokens become [MASK], unimportant ones a random code.

    "Temporal" is the depth axis. With N tokens, mask ratio r and top-k ratio t: the t*N tokens of highest score are the
    candidates; r*N/4 seeds are drawn among them one after the other. Every seed takes one neighbour along, with even
    odds within its slice or in the next slice (the previous one in the last slice), and its neighbours can no longer
    be seeds. Where seeds run out or two of them take the same neighbour, tokens ranked after the candidates fill up in
    score order until r*N/2 are [MASK]. Another r*N/2 tokens, drawn from all others, become a random code. t = 0 is
    plain random masking, whatever the options below are.

    The published code draws differently. Its behaviour is the four options below, all `True`; with scores that are
    independent of the position it then corrupts 15-17 % of the first slice of an 8x8x8 grid, 72-73 % of the last, and
    37-39 % of the slice-changing tokens. (The fourth option is inferred from these figures: filled up in score order,
    the first slice would be at 12 %.)

    Args:
        mask_ratio: r, share of the tokens that is corrupted, in (0, 1].
        top_k_ratio: t, share of the tokens that are candidates, in [0, 1]; poster: 0, 0.25, 0.5.
        corrupted_only: Whether the training loss counts the corrupted positions only.
        index_proportional_draws: Seeds and replaced tokens are drawn with a probability proportional to their raster
            index, so that token 0 is never replaced, instead of uniformly.
        exclude_slice_changes: The tokens on both sides of each change of slice in raster order are neither candidates
            nor filled up with, instead of being nothing special.
        raster_neighbours: The neighbour within the slice is the next token in raster order (the previous one at the
            slice's end), which wraps around rows, instead of one of the up to four true neighbours.
        fill_in_raster_order: Fills up with the first tokens of the volume instead of the most important ones.
    """

    def __init__(
        self,
        mask_ratio: float = 0.5,
        top_k_ratio: float = 0.25,
        corrupted_only: bool = False,
        index_proportional_draws: bool = False,
        exclude_slice_changes: bool = False,
        raster_neighbours: bool = False,
        fill_in_raster_order: bool = False,
    ) -> None:
        super().__init__(mask_ratio, corrupted_only)
        _check_share("top_k_ratio", top_k_ratio, zero_allowed=True)
        self.top_k_ratio = top_k_ratio
        self.index_proportional_draws = index_proportional_draws
        self.exclude_slice_changes = exclude_slice_changes
        self.raster_neighbours = raster_neighbours
        self.fill_in_raster_order = fill_in_raster_order

    @property
    def needs_importance(self) -> bool:
        """Unless there are no candidates."""
        return self.top_k_ratio > 0

    def choose(self, scores: Scores, grid: tuple[int, int, int], draws: Draws) -> tuple[Positions, Positions]:
        """Important positions and unimportant ones (B, N), exact counts."""
        if self.top_k_ratio == 0:
            return super().choose(scores, grid, draws)
        masks, replacements = self.counts(scores.shape[1])
        important = self._important(scores, grid, masks, draws)
        arrival = self._arrival(scores, draws)
        return important, _rank(arrival.masked_fill(important, math.inf)) < replacements

    def _important(self, scores: Scores, grid: tuple[int, int, int], count: int, draws: Draws) -> Positions:
        """The `count` tokens that become [MASK]: seeds, one neighbour of each, and what fills up."""
        length, device = scores.shape[1], scores.device
        barred = _slice_changes(grid, device) if self.exclude_slice_changes else torch.zeros_like(scores[0]).bool()
        rank = _rank(-scores.float().masked_fill(barred, -math.inf))
        candidates = (rank < math.floor(self.top_k_ratio * length + 0.5)) & ~barred
        table = nearest_in_raster(grid, device) if self.raster_neighbours else nearest_in_space(grid, device)
        arrival = self._arrival(scores, draws)
        seeds = draw_seeds(arrival.masked_fill(~candidates, math.inf), table.all, count // 2)
        partners = table.draw(draws)
        # tokens that are no seeds write their partner into a column beyond the volume
        chosen = seeds | _extended(torch.zeros_like(seeds)).scatter(1, partners.where(seeds, length), True)[:, :-1]
        # first those ranked after the candidates, then unused candidates, then what is barred; what is chosen, never
        fill = torch.arange(length, device=device).expand_as(rank) if self.fill_in_raster_order else rank
        fill = fill + length * (candidates.long() + 2 * barred.long() + 4 * chosen.long())
        return chosen | (_rank(fill) < count - chosen.sum(1, keepdim=True))

    def _arrival(self, scores: Scores, draws: Draws) -> Float[Tensor, "batch length"]:
        """Exponential arrival times: their order is that of draws without replacement by the tokens' weights."""
        times = draws.exponential(scores.shape[1])
        return times / torch.arange(times.shape[1], device=times.device) if self.index_proportional_draws else times


class ScheduledMasking(MaskingStrategy):
    """Masking for the bidirectional form: only [MASK], at a share drawn per sample, as in MaskGIT.

    The share is cos(pi/2 * u) with u uniform in [0, 1), the schedule by which parallel decoding fills a volume, so
    training meets every stage of decoding; at least one token is masked.

    Args:
        corrupted_only: Whether the training loss counts the corrupted positions only.
    """

    def __init__(self, corrupted_only: bool = True) -> None:
        super().__init__(corrupted_only)

    def choose(self, scores: Scores, grid: tuple[int, int, int], draws: Draws) -> tuple[Positions, Positions]:
        """Uniform positions (B, N), a count of its own per sample; none is replaced."""
        length = scores.shape[1]
        share = torch.cos(0.5 * math.pi * draws.uniform(1))
        count = (share * length).round().clamp(1, length)
        masked = _rank(draws.exponential(length)) < count
        return masked, torch.zeros_like(masked)


def draw_seeds(
    arrival: Float[Tensor, "batch length"], neighbours: Int[Tensor, "length degree"], count: int
) -> Positions:
    """Draws up to `count` tokens one after the other, each barring its neighbours from being drawn later.

    Drawing without replacement is the same as taking tokens by increasing arrival time, skipping those that are barred.
    Which are skipped depends on earlier neighbours only, so all tokens that arrive before all of their undecided
    neighbours are decided at once: about ten rounds instead of N steps, with the result of the sequential draw.

    Args:
        arrival: Time of each token; infinite for those that cannot be drawn.
        neighbours: Indices of each token's neighbours, N standing for "none"; symmetric.
        count: Seeds wanted; fewer come back where the candidates run out.
    """
    rank = _rank(arrival)  # without ties, so that every round decides at least one token
    length = rank.shape[1]
    undecided = arrival.isfinite()
    seeds = torch.zeros_like(undecided)
    while undecided.any():
        waiting = _extended(rank.where(undecided, length), length)
        first = undecided & (rank < waiting[:, neighbours].amin(-1))
        seeds |= first
        undecided &= ~first & ~_extended(first)[:, neighbours].any(-1)
    return seeds & (_rank(rank.where(seeds, length + rank)) < count)


def _rank(values: Tensor) -> Int[Tensor, "batch length"]:
    """Position of each value in increasing order, 0 for the smallest; equal values stay in raster order."""
    order = values.argsort(dim=1, stable=True)
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, places)  # the inverse permutation, cheaper than a second sort


def _extended(values: Tensor, value: int = 0) -> Tensor:
    """One column more, which the index of a neighbour that does not exist points to."""
    return F.pad(values, (0, 1), value=value)


def _slice_changes(grid: tuple[int, int, int], device: torch.device) -> Bool[Tensor, " length"]:
    """The last token of each slice but the last, and the first of each but the first: 14 of 8x8x8."""
    depth, plane = grid[0], grid[1] * grid[2]
    index = torch.arange(depth * plane, device=device)
    first, last = index % plane == 0, index % plane == plane - 1
    return (first & (index > 0)) | (last & (index < depth * plane - 1))


def _check_share(name: str, value: float, zero_allowed: bool) -> None:
    if not (0 <= value <= 1 and (value > 0 or zero_allowed)):
        lowest = "from 0" if zero_allowed else "above 0"
        raise InputError(f"{name} of the masking is {value}: it is a share of the tokens, {lowest} and at most 1.")
