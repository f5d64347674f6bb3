"""Stage 1 in the service of stage 2: volumes to tokens and importance, tokens to volumes, frozen."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import nn

from data_modules.errors import InputError
from tumorgen.methods.loading import architecture, build, read_checkpoint
from tumorgen.methods.vqgan.module import VQGAN
from tumorgen.types import Scores, Tokens, Volume


class FrozenTokenizer(nn.Module):
    """A trained VQGAN without what only its own training needs (discriminator, classifier, optimizers).

    It stays in evaluation mode whatever `.train()` says and none of its parameters asks for gradients: the codebook that a
    transformer is trained on never moves.

    Args:
        vqgan: A trained VQGAN; its parts are taken over, not copied.
    """

    def __init__(self, vqgan: VQGAN) -> None:
        super().__init__()
        self.class_names, self.roi_size = vqgan.class_names, vqgan.roi_size
        self.spacing, self.in_channels = vqgan.spacing, vqgan.in_channels
        self.num_codes = vqgan.quantizer.num_codes
        self.grid = (vqgan.grid,) * 3
        self.encoder, self.pre_quantizer = vqgan.encoder, vqgan.pre_quantizer
        self.quantizer, self.importance = vqgan.quantizer, vqgan.importance
        self.post_quantizer, self.decoder = vqgan.post_quantizer, vqgan.decoder
        del self.importance.classifier
        self.requires_grad_(False)
        self.train(False)

    @property
    def length(self) -> int:
        """N, tokens per volume."""
        depth, rows, columns = self.grid
        return depth * rows * columns

    def train(self, mode: bool = True) -> "FrozenTokenizer":
        """Stays in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def encode(self, volume: Volume) -> tuple[Tokens, Scores]:
        """Tokens (B, N) in raster order and their importance scores in (0, 1), from volumes in [-1, 1].

        Never in mixed precision: a volume has the same tokens however the transformer is trained.
        """
        with torch.autocast(volume.device.type, enabled=False):
            z = self.pre_quantizer(self.encoder(volume))
            codes, scores = self.quantizer(z).codes, self.importance.scores(z)
        return rearrange(codes, "b d h w -> b (d h w)"), rearrange(scores.float(), "b 1 d h w -> b (d h w)")

    @torch.no_grad()
    def decode(self, tokens: Tokens) -> Volume:
        """Volumes in [-1, 1] from tokens (B, N), codes only."""
        depth, rows, columns = self.grid
        codes = rearrange(tokens, "b (d h w) -> b d h w", d=depth, h=rows, w=columns)
        volume: Volume = self.decoder(self.post_quantizer(self.quantizer.decode(codes)))
        return volume.float()


def read_tokenizer(path: Path | str) -> tuple[FrozenTokenizer, dict[str, Any]]:
    """Reads a tokenizer from a stage-1 checkpoint, or the one that a stage-2 checkpoint carries.

    Returns:
        The tokenizer, and what a checkpoint needs to carry to build it again: hyperparameters and origin.

    Raises:
        InputError: The checkpoint is unreadable or holds no tokenizer.
    """
    checkpoint = read_checkpoint(path)
    if "tokenizer" in checkpoint:
        section = checkpoint["tokenizer"]
        weights = _without_prefix(checkpoint["state_dict"], "tokenizer.")
    else:
        origin = checkpoint.get("tumorgen", {}).get("origin")
        section = {"hyper_parameters": checkpoint["hyper_parameters"], "origin": origin}
        weights = checkpoint["state_dict"]
    class_path, arguments = architecture(section, path, VQGAN)
    tokenizer = FrozenTokenizer(build(class_path, arguments, VQGAN))
    names = tokenizer.state_dict().keys()
    missing = sorted(set(names) - set(weights))
    if missing:
        raise InputError(
            f"{path}: lacks {len(missing)} tensors of its tokenizer ({missing[0]}, ...); take another file."
        )
    tokenizer.load_state_dict({name: weights[name] for name in names})
    return tokenizer, section


def _without_prefix(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
