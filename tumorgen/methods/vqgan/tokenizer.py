"""Stage 1 in the service of stage 2: volumes to tokens and importance, tokens to volumes, frozen."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import nn

from data_modules.errors import InputError
from tumorgen.methods.loading import architecture, build, path_of, read_checkpoint
from tumorgen.methods.vqgan.module import VQGAN
from tumorgen.types import Latent, Scores, Tokens, Volume


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
        self.model = vqgan.model
        self.num_codes, self.code_dim = self.model.quantizer.num_codes, self.model.quantizer.code_dim
        self.grid = (self.model.grid,) * 3
        self.has_importance = self.model.importance is not None
        if self.model.importance is not None:
            del self.model.importance.classifier
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

        Never in mixed precision: a volume has the same tokens however the transformer is trained. A tokenizer without
        importance score net says 0.5 of all tokens.
        """
        with torch.autocast(volume.device.type, enabled=False):
            codes, scores, _ = self.model.encode(volume)
        return rearrange(codes, "b d h w -> b (d h w)"), rearrange(scores.float(), "b 1 d h w -> b (d h w)")

    @torch.no_grad()
    def decode(self, tokens: Tokens) -> Volume:
        """Volumes in [-1, 1] from tokens (B, N), codes only."""
        depth, rows, columns = self.grid
        volume: Volume = self.model.decode(rearrange(tokens, "b (d h w) -> b d h w", d=depth, h=rows, w=columns))
        return volume.float()

    @torch.no_grad()
    def features(self, volume: Volume) -> Latent:
        """Features before the quantiser (B, code_dim, d, h, w), float32: what latent diffusion learns."""
        with torch.autocast(volume.device.type, enabled=False):
            return self.model.features(volume)

    @torch.no_grad()
    def decode_features(self, features: Latent) -> Volume:
        """Volumes in [-1, 1] from features (B, code_dim, d, h, w), which are quantised first."""
        volume: Volume = self.model.synthesize(self.model.quantizer(features).latent)
        return volume.float()

    @torch.no_grad()
    def codebook_range(self) -> tuple[float, float]:
        """Lowest and highest value in the codebook, by which latent diffusion brings features to about [-1, 1]."""
        codes = torch.arange(self.num_codes, device=next(self.parameters()).device)
        values = self.model.quantizer.decode(rearrange(codes, "k -> k 1 1 1"))
        return float(values.min()), float(values.max())


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
    kind, arguments = architecture(section, path, VQGAN)
    tokenizer = FrozenTokenizer(build(path_of(kind), arguments, kind))
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
