"""The transformer of stage 2: a GPT-2-like pre-norm network over the tokens of a volume, with a key-value cache.

Legend: B batch, T positions of this call, S positions seen so far (cached ones included), N tokens of a volume.
Published size: 24 layers, 16 heads, width 1024, 512 tokens, 512 codes and 2 classes, causal: 303,890,432 parameters.
"""

from typing import Any, TypeAlias

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from data_modules.errors import InputError
from tumorgen.methods.transformer.vocabulary import TokenSequence
from tumorgen.types import Tokens

Hidden: TypeAlias = Float[Tensor, "batch positions width"]
Logits: TypeAlias = Float[Tensor, "batch positions vocabulary"]
Heads: TypeAlias = Float[Tensor, "batch heads positions head_width"]


class LayerCache:
    """Keys and values of one layer, (B, heads, positions, head width), allocated once and filled from the left."""

    def __init__(self, keys: Heads, values: Heads) -> None:
        self.keys = keys
        self.values = values

    def append(self, start: int, keys: Heads, values: Heads) -> tuple[Heads, Heads]:
        """Writes T new positions at `start`; returns all S = start + T of them."""
        stop = start + keys.shape[2]
        self.keys[:, :, start:stop] = keys
        self.values[:, :, start:stop] = values
        return self.keys[:, :, :stop], self.values[:, :, :stop]


class KeyValueCache:
    """What a causal network remembers of the positions it has already seen; `length` counts them.

    Made by `TokenTransformer.new_cache`, filled by its `forward`.
    """

    def __init__(self, layers: list[LayerCache]) -> None:
        self.layers = layers
        self.length = 0


class SelfAttention(nn.Module):
    """Multi-head self-attention; queries, keys and values come from one matrix product.

    Args:
        width: Width of the hidden states.
        heads: Number of heads; divides `width`.
        causal: Whether a position attends to itself and the positions before it only.
    """

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.query_key_value = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)

    def forward(self, x: Hidden, cache: LayerCache | None = None, start: int = 0) -> Hidden:
        """Attends from the T positions of `x` to the S positions known."""
        queries, keys, values = rearrange(
            self.query_key_value(x), "b t (three h w) -> three b h t w", three=3, h=self.heads
        )
        if cache is not None:
            keys, values = cache.append(start, keys, values)
        hidden = self._hidden_future(queries.shape[2], keys.shape[2], x.device)
        y = F.scaled_dot_product_attention(queries, keys, values, **hidden)
        return self.projection(rearrange(y, "b h t w -> b t (h w)"))

    def _hidden_future(self, queries: int, keys: int, device: torch.device) -> dict[str, Any]:
        """Arguments of the attention that hide the future; none where there is nothing to hide."""
        if not self.causal or queries == 1:
            return {}
        if queries == keys:
            return {"is_causal": True}  # the fast kernels know this case without a mask
        visible: Bool[Tensor, "queries keys"] = torch.ones(queries, keys, dtype=torch.bool, device=device)
        return {"attn_mask": visible.tril(keys - queries)}


class Block(nn.Module):
    """Pre-norm transformer block: attention, then a perceptron of four times the width, each added to its input."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads, causal)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Hidden, cache: LayerCache | None = None, start: int = 0) -> Hidden:
        """Hidden states (B, T, width) to hidden states."""
        x = x + self.attention(self.attention_norm(x), cache, start)
        return x + self.mlp(self.mlp_norm(x))


class TokenTransformer(nn.Module):
    """Predicts the tokens of a volume from a condition and (corrupted) tokens.

    Causal (the published recipe) or bidirectional; the sequence of either form is made by `TokenSequence`. Learned
    positions, no dropout, an untied head without bias. Linear and embedding weights start as N(0, 0.02), biases and
    positions at 0.

    Args:
        vocabulary_size: Number of different tokens, `Vocabulary.size`.
        length: N, tokens per volume.
        layers: Number of blocks.
        heads: Attention heads per block; divides `width`.
        width: Width of the hidden states.
        causal: Whether a position sees only those before it.

    Raises:
        InputError: `heads` does not divide `width`.
    """

    def __init__(
        self,
        vocabulary_size: int,
        length: int,
        layers: int = 24,
        heads: int = 16,
        width: int = 1024,
        causal: bool = True,
    ) -> None:
        super().__init__()
        if width % heads:
            raise InputError(f"A transformer of width {width} cannot have {heads} heads: heads must divide width.")
        self.sequence = TokenSequence(length, causal)
        self.heads = heads
        self.token_embedding = nn.Embedding(vocabulary_size, width)
        self.position_embedding = nn.Parameter(torch.empty(self.sequence.positions, width))
        self.blocks = nn.ModuleList(Block(width, heads, causal) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary_size, bias=False)
        self._initialise()

    @property
    def causal(self) -> bool:
        """Whether a position sees only those before it."""
        return self.sequence.causal

    @property
    def length(self) -> int:
        """N, tokens per volume."""
        return self.sequence.length

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.position_embedding.device

    def _initialise(self) -> None:
        nn.init.zeros_(self.position_embedding)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(
        self, inputs: Int[Tensor, "batch positions"], cache: KeyValueCache | None = None
    ) -> Float[Tensor, "batch positions vocabulary"]:
        """Logits at every position of `inputs`, float32 whatever the weights are.

        Args:
            inputs: Tokens (B, T) of a sequence made by `TokenSequence`, from its start or, with a cache, from position
                `cache.length` on.
            cache: Remembers the positions of earlier calls and takes in those of this one; causal networks only.

        Raises:
            ValueError: The sequence is longer than the table of positions, or a bidirectional network got a cache.
        """
        start = 0 if cache is None else cache.length
        stop = start + inputs.shape[1]
        if stop > self.sequence.positions:
            raise ValueError(f"{stop} positions do not fit this network: it has {self.sequence.positions}")
        if cache is not None and not self.causal:
            raise ValueError("a bidirectional network has no cache: every output depends on every input")
        x = self.token_embedding(inputs) + self.position_embedding[start:stop]
        for index, block in enumerate(self.blocks):
            x = block(x, None if cache is None else cache.layers[index], start)
        if cache is not None:
            cache.length = stop
        return self.head(self.norm(x)).float()

    def token_logits(
        self, condition: Int[Tensor, "batch condition"], tokens: Tokens
    ) -> Float[Tensor, "batch length vocabulary"]:
        """Logits (B, N, vocabulary) of all N tokens, from a condition and (corrupted) tokens (B, N).

        The logits at index i predict token i: in the causal form from the condition and the tokens before it, in the
        bidirectional form from the condition and all tokens given.
        """
        return self.sequence.of_tokens(self(self.sequence.inputs(condition, tokens)))

    def new_cache(self, batch_size: int) -> KeyValueCache:
        """An empty cache for sequences of `batch_size` volumes, on the network's device and in its precision."""
        like = self.position_embedding
        autocast = torch.is_autocast_enabled(like.device.type)
        dtype = torch.get_autocast_dtype(like.device.type) if autocast else like.dtype
        shape = (batch_size, self.heads, self.sequence.positions, like.shape[1] // self.heads)

        def room() -> Heads:
            return torch.empty(shape, dtype=dtype, device=like.device)

        return KeyValueCache([LayerCache(room(), room()) for _ in self.blocks])

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups for the optimizer: its weight decay acts on the weights of linear layers only (published recipe)."""
        decayed = [module.weight for module in self.modules() if isinstance(module, nn.Linear)]
        chosen = {id(parameter) for parameter in decayed}
        others = [parameter for parameter in self.parameters() if id(parameter) not in chosen]
        return [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
