"""The names of all tensors in the published checkpoints, beside the names that tumorgen gives them. Tables, no arithmetic.

Levels of encoder and decoder and blocks of the transformer are counted, not assumed; the rest is as the published code has
it. A GroupNorm module that the published code shares appears in its files under several names.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product

STAGE1_PARTS = {part: part for part in ("Encoder", "Decoder", "ScoreNet", "Codebook", "preV_conv", "postV_conv")}
"""Parts of the tokenizer, and the sections of a stage-1 file that hold them."""

STAGE2_PARTS = {
    "Encoder": "vqgan_encoder",
    "Decoder": "vqgan_decoder",
    "ScoreNet": "score_net",
    "Codebook": "codebook",
    "preV_conv": "prev_conv",
    "postV_conv": "postV_conv",
}
"""The same parts, and the prefixes of their tensors in a stage-2 file."""

OPTIMIZER = "OptimizerV_state_dict"
TRANSFORMER = "transformer"
UNUSED_HEAD = "linear_prob_head"

PUBLISHED_LEVELS, PUBLISHED_LAYERS = 5, 24

_ATTENTION = "attention of the score net, which its forward pass never uses"
_COUNTERS = "counters of the codebook's moving average, which nothing reads"
_MASK = "attention masks, which follow from the sequence length"
_HEAD = "linear probe, which nothing uses"


@dataclass(frozen=True)
class Row:
    """One tensor of tumorgen, or one that it has no use for.

    Attributes:
        published: Names in the file. Several are one shared tensor under several names, or parts of one if `joined`.
        ours: Names that take the value; none where the tensor is ignored.
        joined: The published tensors are stacked along their first axis, in this order.
        ignored: Why tumorgen has no use for the tensor.
    """

    published: tuple[str, ...]
    ours: tuple[str, ...] = ()
    joined: bool = False
    ignored: str = ""


def tokenizer_rows(levels: int, parts: Mapping[str, str]) -> list[Row]:
    """Rows of the tokenizer.

    Args:
        levels: Levels of the encoder (published: 5); the decoder has one less.
        parts: `STAGE1_PARTS` or `STAGE2_PARTS`.
    """
    encoder, decoder, score_net = parts["Encoder"], parts["Decoder"], parts["ScoreNet"]
    rows: list[Row] = []
    for index in range(levels):
        rows += _convolution(f"{encoder}.conv{index + 1}", "conv", 0, f"encoder.levels.{index}.0")
        rows += _residual_block(f"{encoder}.res_block{index + 1}", f"encoder.levels.{index}.1")
    for index, number in enumerate(range(levels - 1, 0, -1)):
        rows += _convolution(f"{decoder}.upsize{number}", "up", 1, f"decoder.levels.{index}.0")
        rows += _residual_block(f"{decoder}.res_block{number}", f"decoder.levels.{index}.1")
    rows += _affine([f"{decoder}.final_conv"], ["decoder.final"])
    rows += _affine([f"{parts['preV_conv']}.conv"], ["pre_quantizer"])
    rows += _affine([f"{parts['postV_conv']}.conv"], ["post_quantizer"])
    rows += _score_net(score_net) + _codebook(parts["Codebook"])
    return [replace(row, ours=tuple(f"model.{name}" for name in row.ours)) for row in rows]


def transformer_rows(layers: int) -> list[Row]:
    """Rows of the transformer and of the unused head beside it.

    Args:
        layers: Number of blocks (published: 24).
    """
    rows = [
        Row((f"{TRANSFORMER}.pos_emb",), ("network.position_embedding",)),
        Row((f"{TRANSFORMER}.tok_emb.weight",), ("network.token_embedding.weight",)),
        Row((f"{TRANSFORMER}.head.weight",), ("network.head.weight",)),
        *_affine([f"{TRANSFORMER}.ln_f"], ["network.norm"]),
        *_ignored(UNUSED_HEAD, ("weight", "bias"), _HEAD),
    ]
    same = {"ln1": "attention_norm", "ln2": "mlp_norm", "attn.proj": "attention.projection"}
    same |= {"mlp.0": "mlp.0", "mlp.2": "mlp.2"}
    for index in range(layers):
        theirs, ours = f"{TRANSFORMER}.blocks.{index}", f"network.blocks.{index}"
        for name, own in same.items():
            rows += _affine([f"{theirs}.{name}"], [f"{ours}.{own}"])
        heads = [f"{theirs}.attn.{name}" for name in ("query", "key", "value")]
        rows += _affine(heads, [f"{ours}.attention.query_key_value"], joined=True)
        rows += _ignored(f"{theirs}.attn", ("mask",), _MASK)
    return rows


def count_levels(names: Iterable[str], parts: Mapping[str, str]) -> int:
    """Levels of the encoder whose tensors have these names; the published number where there is none."""
    return _highest(names, rf"{parts['Encoder']}\.(?:conv|res_block)(\d{{1,2}})\.") or PUBLISHED_LEVELS


def count_layers(names: Iterable[str]) -> int:
    """Blocks of the transformer whose tensors have these names; the published number where there is none."""
    last = _highest(names, rf"{TRANSFORMER}\.blocks\.(\d{{1,3}})\.")
    return PUBLISHED_LAYERS if last is None else last + 1


def _highest(names: Iterable[str], pattern: str) -> int | None:
    return max((int(found[1]) for name in names if (found := re.match(pattern, name))), default=None)


def _affine(published: Iterable[str], ours: Iterable[str], joined: bool = False) -> list[Row]:
    """Weight and bias of a layer."""
    theirs, own = list(published), list(ours)
    return [
        Row(tuple(f"{name}.{kind}" for name in theirs), tuple(f"{name}.{kind}" for name in own), joined)
        for kind in ("weight", "bias")
    ]


def _ignored(prefix: str, names: Iterable[str], why: str) -> list[Row]:
    return [Row((f"{prefix}.{name}",), ignored=why) for name in names]


def _convolution(published: str, sequence: str, index: int, ours: str) -> list[Row]:
    """A convolution at `index` of the published `sequence`, and its GroupNorm behind it."""
    norm = [f"{published}.group_norm.gn", f"{published}.{sequence}.{index + 1}.gn"]
    return [*_affine([f"{published}.{sequence}.{index}"], [f"{ours}.0"]), *_affine(norm, [f"{ours}.1"])]


def _residual_block(published: str, ours: str) -> list[Row]:
    """Two convolutions, and one GroupNorm behind each of them that is the same module."""
    norm = [f"{published}.group_norm.gn", f"{published}.conv_module.1.gn", f"{published}.conv_module.4.gn"]
    return [
        *_affine([f"{published}.conv_module.0"], [f"{ours}.conv1"]),
        *_affine([f"{published}.conv_module.3"], [f"{ours}.conv2"]),
        *_affine(norm, [f"{ours}.norm1", f"{ours}.norm2"]),
    ]


def _score_net(prefix: str) -> list[Row]:
    unused = [f"{layer}.{kind}" for layer, kind in product(("q", "k", "v", "proj_out", "norm.gn"), ("weight", "bias"))]
    return [
        *_affine([f"{prefix}.score_pred_net.1"], ["importance.score.0"]),
        *_affine([f"{prefix}.score_pred_net.3"], ["importance.score.2"]),
        *_affine([f"{prefix}.groupnorm1.gn", f"{prefix}.score_pred_net.4.gn"], ["importance.score.3"]),
        *_affine([f"{prefix}.classifier.0"], ["importance.classifier.0"]),
        *_affine([f"{prefix}.group_norm.gn", f"{prefix}.classifier.1.gn"], ["importance.classifier.1"]),
        *_affine([f"{prefix}.classifier.4"], ["importance.classifier.4"]),
        *_ignored(f"{prefix}.att", unused, _ATTENTION),
        *_ignored(f"{prefix}.group_norm_att.gn", ("weight", "bias"), _ATTENTION),
    ]


def _codebook(prefix: str) -> list[Row]:
    counters = ("cluster_size", "embedding.cluster_size", "embedding.embed_avg", "embedding.initted")
    return [Row((f"{prefix}.embedding.weight",), ("quantizer.codebook",)), *_ignored(prefix, counters, _COUNTERS)]
