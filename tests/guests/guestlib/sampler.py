"""A sampler of one file: all tokens at once, for networks of either kind."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from tumorgen.methods.transformer.decoding import Sampler
from tumorgen.methods.transformer.network import TokenTransformer
from tumorgen.methods.transformer.vocabulary import Vocabulary


class AllAtOnce(Sampler):
    """Draws every code from what the network makes of [MASK] everywhere.

    Args:
        temperature: Divides the logits.
    """

    def __init__(self, temperature: float = 0.9) -> None:
        self.temperature = temperature

    def check(self, network: TokenTransformer, vocabulary: Vocabulary) -> None:
        """Every network will do."""

    def _decode(
        self,
        network: TokenTransformer,
        vocabulary: Vocabulary,
        labels: Tensor,
        draws: Sequence[Generator],
        grid: tuple[int, int, int],
    ) -> Tensor:
        masked = torch.full((len(labels), network.length), vocabulary.mask_token, device=labels.device)
        logits = vocabulary.code_logits(network.token_logits(vocabulary.condition(labels), masked))
        shares = (logits.float() / self.temperature).softmax(-1).cpu()
        drawn = [torch.multinomial(share, 1, generator=draw) for share, draw in zip(shares, draws, strict=True)]
        return torch.stack(drawn)[..., 0].to(labels.device)
