"""Checkpoints of the published code as checkpoints of tumorgen: the same values in the same networks.

What the files do not say is filled in openly: the discriminator is initialised anew, and nobody knows the training patients.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import lightning as L
import torch

from data_modules.errors import InputError
from data_modules.origin import Origin
from tumorgen import __version__
from tumorgen.methods.published.sizes import Layout, TokenizerSizes, read_layout
from tumorgen.methods.published.tensors import (
    PublishedFile,
    Tensors,
    check_aliases,
    check_codebook,
    check_masks,
    check_shapes,
    ignored,
    translate,
)
from tumorgen.methods.transformer.module import MaskedTransformer
from tumorgen.methods.transformer.network import TokenTransformer
from tumorgen.methods.transformer.vocabulary import Vocabulary
from tumorgen.methods.vqgan.autoencoder import Decoder, Encoder
from tumorgen.methods.vqgan.discriminator import KERNEL, PatchDiscriminator3D
from tumorgen.methods.vqgan.importance import ImportanceScoreNet
from tumorgen.methods.vqgan.module import VQGAN
from tumorgen.methods.vqgan.quantizers.cosine_ema import CosineEMAQuantizer

PUBLISHED_CLASSES = ("LGG", "HGG")
DISCRIMINATOR_CHANNELS = (64, 128, 256, 512)
DISCRIMINATOR_SEED = 0

Parts: TypeAlias = dict[str, tuple[type, dict[str, Any]]]

_CLASSIFIER = "model.importance.classifier."

_SYSTEM = {"name": "published", "title": "Published checkpoint", "source": "Zhou and Khalvati, MIDL 2024"}


@dataclass(frozen=True)
class Imported:
    """A checkpoint of tumorgen, ready to be written.

    Attributes:
        checkpoint: Its content.
        layout: What was found in the file.
        class_names: In the order of their labels.
        taken: Published tensors whose values are in the checkpoint, shared ones counted under every name.
        ignored: Published tensors that are not, by reason.
    """

    checkpoint: dict[str, Any]
    layout: Layout
    class_names: tuple[str, ...]
    taken: int
    ignored: Counter[str]


def convert(
    file: PublishedFile,
    source: Mapping[str, Any],
    class_names: Sequence[str] | None = None,
    spacing: float = 1.0,
    heads: int | None = None,
) -> Imported:
    """Makes a checkpoint of tumorgen of a published one; a stage-2 file yields one that samples alone.

    Args:
        file: What `read_published` returned; its table of positions is cut to the number of tokens.
        source: What the checkpoint should say of the file that it came from, plain data.
        class_names: Names of the classes in the order of their labels; None: the published LGG and HGG.
        spacing: Side of a voxel in mm (published: 1).
        heads: Attention heads, which no shape tells; None: the published 16. Stage 2 only.

    Raises:
        InputError: Tensors are missing, unknown or of the wrong shape, values contradict the published network, or the
            options do not fit the file.
    """
    layout = read_layout(file, heads)
    names = _class_names(file, class_names, layout.sizes.num_classes)
    tokenizer = {"class_names": list(names), "roi_size": layout.sizes.roi_size, "spacing": spacing}
    tokenizer |= {"in_channels": layout.sizes.in_channels}
    parts = tokenizer_parts(layout.sizes)
    check_shapes(layout.rows, file, empty_networks(file, layout, tokenizer, parts))
    check_aliases(layout.rows, file)
    check_codebook(file)
    check_masks(file)
    hyper_parameters = {"_class_path": _path(VQGAN), **tokenizer, **_sections(parts)}
    nobody = Origin(unknown=True).to_json()
    stated = {"version": __version__, "imported": True, "source": dict(source), "origin": nobody, "system": _SYSTEM}
    checkpoint: dict[str, Any] = {"epoch": 0, "global_step": 0, "pytorch-lightning_version": L.__version__}
    checkpoint |= {"state_dict": assemble(file, layout, parts), "tumorgen": stated}
    if file.stage == 2:
        checkpoint["tokenizer"] = {"hyper_parameters": hyper_parameters, "origin": nobody}
        network: Parts = {"network": (TokenTransformer, layout.network)}
        hyper_parameters = {"_class_path": _path(MaskedTransformer), **_sections(network)}
    checkpoint["hyper_parameters"] = hyper_parameters
    left = not_taken(file, layout)
    return Imported(checkpoint, layout, names, len(file.tensors) - left.total(), left)


def tokenizer_parts(sizes: TokenizerSizes) -> Parts:
    """Classes and constructor arguments of the parts of the VQGAN.

    The discriminator has the published widths, as many of them as fit the ROI.
    """
    halvings = max(1, (sizes.roi_size // KERNEL).bit_length() - 1)
    return {
        "encoder": (Encoder, {"channels": list(sizes.channels), "shared_norm": True}),
        "decoder": (Decoder, {"shared_norm": True}),
        "quantizer": (CosineEMAQuantizer, {"num_codes": sizes.num_codes, "code_dim": sizes.code_dim}),
        "importance": (ImportanceScoreNet, {"hidden": sizes.hidden}),
        "discriminator": (PatchDiscriminator3D, {"channels": list(DISCRIMINATOR_CHANNELS[:halvings])}),
    }


def empty_networks(file: PublishedFile, layout: Layout, tokenizer: Mapping[str, Any], parts: Parts) -> Tensors:
    """All tensors of the networks that are to be filled, by name: shapes without memory.

    Args:
        file: For messages, and its stage.
        layout: Sizes of the networks.
        tokenizer: Constructor arguments of the VQGAN that are plain data.
        parts: Its other constructor arguments.

    Raises:
        InputError: The sizes of the file fit no network.
    """
    try:
        with torch.device("meta"):
            factories: dict[str, Any] = {name: partial(part, **arguments) for name, (part, arguments) in parts.items()}
            own: Tensors = VQGAN(**tokenizer, **factories).state_dict()
            if file.stage == 2:
                size = Vocabulary(layout.sizes.num_codes, layout.sizes.num_classes).size
                network = TokenTransformer(size, layout.sizes.tokens, **layout.network)
                own |= {f"network.{name}": value for name, value in network.state_dict().items()}
    except InputError as error:
        raise InputError(f"{file.source}: its sizes make no network of tumorgen. {error}") from error
    return own


def assemble(file: PublishedFile, layout: Layout, parts: Parts) -> Tensors:
    """The state dict of the checkpoint."""
    state = translate(layout.rows, file)
    state["model.quantizer.initialised"] = torch.tensor(True)
    state["model.quantizer.idle_steps"] = torch.zeros(layout.sizes.num_codes, dtype=torch.int64)
    if file.stage == 2:
        kept = {name: value for name, value in state.items() if not name.startswith(_CLASSIFIER)}
        return {name if name.startswith("network.") else f"tokenizer.{name}": value for name, value in kept.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(DISCRIMINATOR_SEED)
        discriminator = PatchDiscriminator3D(layout.sizes.in_channels, **parts["discriminator"][1])
    return state | {f"discriminator.{name}": value for name, value in discriminator.state_dict().items()}


def not_taken(file: PublishedFile, layout: Layout) -> Counter[str]:
    """How many published tensors are left aside, by reason."""
    left = ignored(layout.rows)
    if file.stage == 2:
        unused = [row for row in layout.rows if row.ours and row.ours[0].startswith(_CLASSIFIER)]
        left["classifier of the score net, which a frozen tokenizer has no use for"] = sum(
            len(row.published) for row in unused
        )
    return left


def _class_names(file: PublishedFile, given: Sequence[str] | None, number: int) -> tuple[str, ...]:
    """Names of all classes, checked against their number in the file."""
    names = tuple(PUBLISHED_CLASSES if given is None else given)
    if len(names) != number or len(set(names)) != number or not all(names):
        raise InputError(
            f"--class_names: {file.source} tells {number} classes apart, found {', '.join(names) or 'no name'}; expected "
            f"{number} different names in the order of their labels, for example LGG,HGG."
        )
    return names


def _path(part: type) -> str:
    return f"{part.__module__}.{part.__qualname__}"


def _sections(parts: Parts) -> dict[str, Any]:
    """Parts as a configuration names them."""
    return {name: {"class_path": _path(part), "init_args": arguments} for name, (part, arguments) in parts.items()}
