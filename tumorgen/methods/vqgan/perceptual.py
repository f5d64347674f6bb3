"""Perceptual terms: distances between a volume and its reconstruction on features of frozen networks.

Their weights belong to third parties. They are read from the cache that `tumorgen weights` fills, and only for
training: a term is constructed without them, so that a trained tokenizer loads and runs where they are not installed.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from tumorgen.nn.mri_features import MRIFeatures
from tumorgen.nn.vgg import LPIPSVGG16
from tumorgen.pretrained.weights import LPIPS_VGG16, MRI_FEATURES, ConvertedWeights, load_weights
from tumorgen.types import Scalar, Volume


class PerceptualTerm(nn.Module, ABC):
    """A distance between volumes and their reconstructions on features of a frozen network.

    The network is kept outside the module tree: it follows `.to()` and its like, but `.train()` does not reach it, and
    neither parameters, optimizers, checkpoints nor DDP see it. Call `load()` before training starts; constructing a
    term touches no file.

    Args:
        weights: the converted weights (safetensors); None takes them from the cache.
    """

    def __init__(self, weights: Path | None = None) -> None:
        super().__init__()
        self.weights = weights
        # a list hides the network from nn.Module's registration of submodules
        self._hidden: list[nn.Module] = []

    @property
    @abstractmethod
    def kind(self) -> ConvertedWeights:
        """Which converted weights the network needs."""

    @abstractmethod
    def build_network(self) -> nn.Module:
        """The network, not yet filled."""

    @abstractmethod
    def distance(self, network: nn.Module, x: Volume, x_hat: Volume) -> Scalar:
        """The distance, averaged over the batch; must not let gradients into `x`."""

    @property
    def network(self) -> nn.Module:
        """The frozen network.

        Raises:
            RuntimeError: `load()` was not called.
        """
        if not self._hidden:
            raise RuntimeError(f"{type(self).__name__} has no weights yet: call load() before training starts")
        return self._hidden[0]

    @property
    def loaded(self) -> bool:
        """Whether `load()` was called: a term that is not loaded cannot be computed."""
        return bool(self._hidden)

    def load(self, device: torch.device | str | None = None) -> None:
        """Builds the network and reads its weights; does nothing the second time.

        Raises:
            InputError: The weights are missing or do not fit; the message says the command to type.
        """
        if not self._hidden:
            network = self.build_network()
            load_weights(network, self.kind, self.weights)
            self._hidden.append(network.requires_grad_(False).eval())
        if device is not None:
            self._hidden[0].to(device)

    def forward(self, x: Volume, x_hat: Volume) -> Scalar:
        """Distance of reconstructions `x_hat` to volumes `x`, both in [-1, 1]; gradients reach `x_hat` only."""
        if x.shape != x_hat.shape:
            raise ValueError(f"volumes {tuple(x.shape)} and reconstructions {tuple(x_hat.shape)} differ in shape")
        if x.shape[1] != 1:
            raise ValueError(f"{type(self).__name__} is for one channel, found {x.shape[1]}")
        return self.distance(self.network, x.detach(), x_hat)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "PerceptualTerm":
        super()._apply(fn, recurse)
        for network in self._hidden:
            network._apply(fn, recurse)
        return self


class MRIPerceptual(PerceptualTerm):
    """3D distance on features of a network trained on brain MRI, tumorgen's default.

    Features of the residual stages at strides 4, 8, 16 and 32 (32^3 volumes: 4, 8, 16), normalised to unit length over
    the channels; squared difference, mean over space, sum over stages. The stem (stride 2) is left out: it answers more
    to faint noise in the empty background than to structure. Volumes enter at their own resolution, in [-1, 1]:
    enlarging them, or moving the background to 0, made the distance worse at telling blur from noise.

    The network saw T1-weighted scans of whole healthy brains. FLAIR, tumours and cut-out regions are outside of what it
    was trained on; the term compares structure, it does not judge realism.
    """

    @property
    def kind(self) -> ConvertedWeights:
        """The encoder of deepbet."""
        return MRI_FEATURES

    def build_network(self) -> nn.Module:
        """An empty `MRIFeatures`."""
        return MRIFeatures()

    def distance(self, network: nn.Module, x: Volume, x_hat: Volume) -> Scalar:
        """Sum over the residual stages, mean over batch and space."""
        with torch.no_grad():
            real = network(x)[1:]
        return feature_distance(real, network(x_hat)[1:], eps=1e-2).mean()


class LPIPSSlices(PerceptualTerm):
    """LPIPS (VGG16, natural images) on axial slices, the perceptual term of the published recipe.

    The sum of `slices` terms; each draws one axial slice index per volume, with replacement, from 30/128 to 98/128 of
    the depth (30..97 of 128), from PyTorch's CPU generator. Grey values in [-1, 1] are broadcast over three colours.

    Args:
        weights: the converted weights (safetensors); None takes them from the cache.
        slices: number of terms.
    """

    def __init__(self, weights: Path | None = None, slices: int = 6) -> None:
        super().__init__(weights)
        self.slices = slices

    @property
    def kind(self) -> ConvertedWeights:
        """VGG16 with the linear heads of LPIPS 0.1."""
        return LPIPS_VGG16

    def build_network(self) -> nn.Module:
        """An empty `LPIPSVGG16`."""
        return LPIPSVGG16()

    def distance(self, network: nn.Module, x: Volume, x_hat: Volume) -> Scalar:
        """Sum over the drawn slices, mean over the batch."""
        indices = draw_slices(x.shape[2], self.slices, len(x)).to(x.device)
        heads = [head for name, head in network.named_parameters() if name.startswith("heads.")]
        with torch.no_grad():
            real = network(_gather_slices(x, indices))
        generated = network(_gather_slices(x_hat, indices))
        distances = feature_distance(real, generated, eps=1e-10, heads=heads)
        return distances.sum() / len(x)


def draw_slices(depth: int, terms: int, batch: int) -> Tensor:
    """Random axial slice indices, (terms, batch) int64, uniform in [30/128, 98/128) of the depth.

    Raises:
        ValueError: The depth is too small to hold one such slice.
    """
    low, high = -(-30 * depth // 128), 98 * depth // 128
    if high <= low:
        raise ValueError(f"no axial slice lies between 30/128 and 98/128 of a depth of {depth} voxels")
    return torch.randint(low, high, (terms, batch))


def feature_distance(
    real: Sequence[Float[Tensor, "n width ..."]],
    generated: Sequence[Float[Tensor, "n width ..."]],
    eps: float,
    heads: Sequence[Float[Tensor, " width"]] | None = None,
) -> Float[Tensor, " n"]:
    """LPIPS reduction (Zhang et al. 2018), in float32 at least: one distance per sample.

    Feature vectors are divided by their length + `eps`, squared differences summed over the channels (weighted by
    `heads` where given), averaged over space, and summed over the maps. `eps` bounds the amplification of a gradient
    through a nearly empty vector to 1 / eps.
    """
    total: Tensor | None = None
    with torch.autocast(real[0].device.type, enabled=False):
        for i, (a, b) in enumerate(zip(real, generated, strict=True)):
            squared = (_unit(a, eps) - _unit(b, eps)).square().flatten(2).mean(2)
            distance = squared.sum(1) if heads is None else squared @ heads[i].to(squared.dtype)
            total = distance if total is None else total + distance
    assert total is not None
    return total


def _unit(features: Tensor, eps: float) -> Tensor:
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    # vector_norm has a zero subgradient at zero, where the root of a sum of squares gives NaN
    return features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + eps)


def _gather_slices(volumes: Volume, indices: Tensor) -> Float[Tensor, "images 1 H W"]:
    """Slice `indices[t, b]` of volume b, as images in the order (t, b)."""
    sample = torch.arange(len(volumes), device=volumes.device)
    return rearrange(volumes[sample, :, indices], "t b c h w -> (t b) c h w")
