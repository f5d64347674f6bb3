"""What a token number means, and how the sequence that a transformer sees is made from a volume's tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from data_modules.errors import InputError
from tumorgen.types import Labels, Tokens


@dataclass(frozen=True)
class Vocabulary:
    """The layout of the token numbers (published recipe): codes, then [MASK], then one token per class.

    With K codes: 0..K-1 are codes, K is [MASK], K+1+label is the class token of `label`. Only a network that is trained
    with class dropout, for classifier-free guidance, appends a token that stands for no class; without it the size is
    the published K+1+num_classes.

    Args:
        num_codes: K, the size of the tokenizer's codebook.
        num_classes: Number of classes.
        unconditional: Whether the "no class" token exists.
    """

    num_codes: int
    num_classes: int
    unconditional: bool = False

    @property
    def mask_token(self) -> int:
        """[MASK]."""
        return self.num_codes

    @property
    def no_class_token(self) -> int:
        """The token in place of the class token when the class is not told.

        Raises:
            InputError: This vocabulary has none.
        """
        if not self.unconditional:
            raise InputError(
                "This transformer has no 'no class' token: it was trained without class dropout. "
                "Classifier-free guidance needs a checkpoint trained with class dropout; set the guidance scale to 0."
            )
        return self.num_codes + 1 + self.num_classes

    @property
    def size(self) -> int:
        """Number of different tokens."""
        return self.num_codes + 1 + self.num_classes + int(self.unconditional)

    def class_token(self, label: int) -> int:
        """The token of class `label` (0-based).

        Raises:
            InputError: There is no such class.
        """
        if not 0 <= label < self.num_classes:
            raise InputError(
                f"Class {label} does not exist: this transformer knows the classes 0 to {self.num_classes - 1}; "
                "ask for one of these."
            )
        return self.num_codes + 1 + label

    def condition(self, labels: Labels, dropped: Bool[Tensor, " batch"] | None = None) -> Int[Tensor, "batch 1"]:
        """What is prepended to a volume's tokens: the class token, or the "no class" token where `dropped` is true.

        Args:
            labels: Class of every volume, in 0..num_classes-1 (not checked here: that would wait for the device).
            dropped: Volumes whose class is withheld (class dropout, guidance).

        Raises:
            InputError: Classes are dropped and the vocabulary has no token for that.
        """
        condition = labels + self.num_codes + 1
        if dropped is not None:
            condition = torch.where(dropped, self.no_class_token, condition)
        return condition[:, None]

    def code_logits(self, logits: Float[Tensor, "*any vocabulary"]) -> Float[Tensor, "*any codes"]:
        """The logits of the codes alone: class tokens and [MASK] are forbidden in a volume (published recipe)."""
        return logits[..., : self.num_codes]


@dataclass(frozen=True)
class TokenSequence:
    """How condition and tokens become the network's input, and which of its outputs predicts which token.

    Causal: input [condition, tokens without the last]; the output at each position predicts the token that comes next.
    Bidirectional: input [condition, tokens]; the output at each token's own position predicts it.

    Args:
        length: N, tokens per volume.
        causal: Whether an output sees only what stands before it.
        condition_length: Tokens of the condition; 1 for a class.
    """

    length: int
    causal: bool
    condition_length: int = 1

    @property
    def positions(self) -> int:
        """Length of the network's input, and so of its table of positions (published: 512 for 512 tokens)."""
        return self.condition_length + self.length - int(self.causal)

    def inputs(self, condition: Int[Tensor, "batch condition"], tokens: Tokens) -> Int[Tensor, "batch positions"]:
        """Network input (B, positions) of (corrupted) tokens (B, N)."""
        return torch.cat([condition, tokens[:, :-1] if self.causal else tokens], dim=1)

    def of_tokens(self, outputs: Float[Tensor, "batch positions any"]) -> Float[Tensor, "batch length any"]:
        """The N outputs that predict the N tokens, in their order."""
        return outputs[:, self.condition_length - int(self.causal) :]


def check_grid(grid: Sequence[int], length: int) -> tuple[int, int, int]:
    """The token grid (depth, rows, columns) of `length` tokens in raster order.

    Raises:
        InputError: The grid does not hold exactly `length` tokens.
    """
    depth, rows, columns = grid
    if min(grid) < 1 or depth * rows * columns != length:
        raise InputError(
            f"A token grid of {depth}x{rows}x{columns} does not hold {length} tokens: tokenizer and transformer do not "
            "belong together; use the tokenizer that the transformer was trained with."
        )
    return depth, rows, columns
