"""How large the networks of a published checkpoint are, read from the shapes of its tensors."""

from dataclasses import dataclass
from typing import Any

from data_modules.errors import InputError
from tumorgen.methods.published import names
from tumorgen.methods.published.tensors import PublishedFile, check_names

PUBLISHED_HEADS = 16
POSITIONS = f"{names.TRANSFORMER}.pos_emb"


@dataclass(frozen=True)
class TokenizerSizes:
    """Sizes of encoder, quantiser, importance score net and decoder.

    Attributes:
        in_channels: MRI sequences per volume.
        channels: Widths of the encoder's levels, finest first.
        num_codes: K.
        code_dim: Channels of a code.
        hidden: Width of the classifier.
        num_classes: Classes that it tells apart.
        grid: Side of the token grid.
    """

    in_channels: int
    channels: tuple[int, ...]
    num_codes: int
    code_dim: int
    hidden: int
    num_classes: int
    grid: int

    @property
    def roi_size(self) -> int:
        """Side of the ROI in voxels: every level but the last halves it."""
        return self.grid * 2 ** (len(self.channels) - 1)

    @property
    def tokens(self) -> int:
        """N, tokens per volume."""
        return self.grid**3


@dataclass(frozen=True)
class Layout:
    """Which tensor of a published file goes where, and how large the networks are.

    Attributes:
        rows: The table of all tensors in the file.
        sizes: Of the tokenizer.
        network: Constructor arguments of the transformer; empty for stage 1.
    """

    rows: list[names.Row]
    sizes: TokenizerSizes
    network: dict[str, Any]


def read_layout(file: PublishedFile, heads: int | None = None) -> Layout:
    """Recognises every tensor by its name and reads all sizes off the shapes; cuts surplus positions off.

    Args:
        file: Of either stage.
        heads: Attention heads, which no shape tells; None: the published 16. Stage 2 only.

    Raises:
        InputError: Tensors are missing or unknown, or the shapes that tell the sizes make no sense.
    """
    levels = names.count_levels(file.tensors, file.parts)
    rows = names.tokenizer_rows(levels, file.parts)
    if file.stage == 1:
        if heads is not None:
            raise InputError(
                f"--heads: {file.source} is a tokenizer (stage 1) and has no attention heads; leave it out."
            )
        check_names(rows, file)
        return Layout(rows, tokenizer_sizes(file, levels), {})
    layers = names.count_layers(file.tensors)
    rows += names.transformer_rows(layers)
    check_names(rows, file)
    sizes = tokenizer_sizes(file, levels)
    _, width = _shape(file, f"{names.TRANSFORMER}.tok_emb.weight", 2)
    _positions(file, sizes.tokens, width)
    heads = PUBLISHED_HEADS if heads is None else heads
    return Layout(rows, sizes, {"layers": layers, "heads": heads, "width": width, "causal": True})


def tokenizer_sizes(file: PublishedFile, levels: int) -> TokenizerSizes:
    """Reads the tokenizer's sizes; all tensors must be there.

    Args:
        file: Of either stage.
        levels: Levels of the encoder.

    Raises:
        InputError: A tensor that says a size has the wrong number of dimensions, or the classifier's input is no cube.
    """
    encoder, score_net = file.parts["Encoder"], file.parts["ScoreNet"]
    first, *others = (_shape(file, f"{encoder}.conv{number + 1}.conv.0.weight", 5) for number in range(levels))
    num_codes, code_dim = _shape(file, f"{file.parts['Codebook']}.embedding.weight", 2)
    hidden, inputs = _shape(file, f"{score_net}.classifier.0.weight", 2)
    num_classes, _ = _shape(file, f"{score_net}.classifier.4.weight", 2)
    grid = round((inputs / max(code_dim, 1)) ** (1 / 3))
    if grid < 1 or code_dim * grid**3 != inputs:
        raise InputError(
            f"{file.source}: {score_net}.classifier.0.weight has {inputs} inputs, expected the code width {code_dim} times a "
            "cube of tokens (published: 65536 = 128 x 8^3). A checkpoint of volumes that are no cubes cannot be imported."
        )
    channels = (first[0], *(shape[0] for shape in others))
    return TokenizerSizes(first[1], channels, num_codes, code_dim, hidden, num_classes, grid)


def _positions(file: PublishedFile, tokens: int, width: int) -> None:
    """Cuts the published table of positions (1, as many as codes, width) to one row per token.

    Raises:
        InputError: It has another width, another form, or too few rows.
    """
    shape = _shape(file, POSITIONS, 3)
    if shape[0] != 1 or shape[2] != width:
        raise InputError(
            f"{file.source}: {POSITIONS} is {shape}, expected (1, positions, {width}), {width} being the width of "
            f"{names.TRANSFORMER}.tok_emb.weight. Take the file as training wrote it."
        )
    if shape[1] < tokens:
        raise InputError(
            f"{file.source}: {POSITIONS} has {shape[1]} positions for {tokens} tokens, expected at least one per token. The "
            "published code has as many positions as codes, so fewer codes than tokens cannot work. Take another run."
        )
    # A copy: a view would be saved with all that it is cut from
    file.tensors[POSITIONS] = file.tensors[POSITIONS][0, :tokens].clone()


def _shape(file: PublishedFile, name: str, dimensions: int) -> tuple[int, ...]:
    shape = tuple(file.tensors[name].shape)
    if len(shape) != dimensions:
        raise InputError(
            f"{file.source}: {name} is {shape}, expected {dimensions} dimensions. Take the file as training wrote it."
        )
    return shape
