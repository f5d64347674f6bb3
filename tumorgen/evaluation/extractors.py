"""Networks that turn volumes into features, behind one contract; distances between sets of volumes are taken there.

Rankings of generators differ from one extractor to the next, so two or more are used and each record names its own.
"""

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from einops import reduce
from jaxtyping import Float
from torch import Tensor, nn

from data_modules.errors import InputError
from data_modules.files import sha256
from data_modules.roi.extract import foreground
from tumorgen.classifier.networks import Classifier
from tumorgen.metrics.distances import reduced
from tumorgen.nn.mri_features import MRIFeatures
from tumorgen.pretrained.weights import MRI_FEATURES, load_weights
from tumorgen.types import Volume

Features: TypeAlias = Float[Tensor, "n features"]
Normalisation: TypeAlias = Literal["none", "zscore"]


class FeatureExtractor(nn.Module, ABC):
    """Volumes (B, 1, D, H, W) in [-1, 1] to features (B, F), float32, on the CPU; in evaluation mode, without gradients.

    Attributes:
        name: Short name, part of the definition of every record.
        checksum: SHA-256 of the weights.
    """

    name: str
    checksum: str

    @abstractmethod
    def features(self, volume: Volume) -> Features:
        """Features of one batch."""

    def description(self) -> dict[str, Any]:
        """What a record's definition says of the extractor, as JSON types."""
        return {"name": self.name, "sha256": self.checksum}

    @torch.no_grad()
    def forward(self, volume: Volume) -> Features:
        """Features (B, F) of volumes in [-1, 1].

        Raises:
            InputError: They are not finite.
        """
        self.eval()
        device = next((tensor.device for tensor in self.state_dict().values()), volume.device)
        features = self.features(volume.to(device).float()).float().cpu()
        if not torch.isfinite(features).all():
            raise InputError(f"feature extractor {self.name}: features hold NaN or infinite values for these volumes")
        return features


class MRIExtractor(FeatureExtractor):
    """Averages over space of all feature maps of the deepbet encoder, trained on T1-weighted whole heads.

    FLAIR, tumours and crops are outside of what it was trained on. 256 features from 64 voxels a side on, 128 at 32.

    Args:
        path: Converted weights; None takes those that `tumorgen weights` left in the cache.

    Raises:
        InputError: The weights are not there; says the command that fetches them.
    """

    def __init__(self, path: Path | None = None) -> None:
        super().__init__()
        self.name = "mri"
        self.network = MRIFeatures().eval().requires_grad_(False)
        try:
            load_weights(self.network, MRI_FEATURES, path)
        except InputError as error:
            raise InputError(
                f"features mri: {path or MRI_FEATURES.path} cannot be used ({str(error).split('. Type')[0]}). Type "
                f"`{MRI_FEATURES.command}` once, or choose features without it, for example --features classifier"
            ) from error
        self.checksum = weights_checksum(self.network)

    def features(self, volume: Volume) -> Features:
        """Means of the maps, finest first."""
        return torch.cat([reduce(level, "b c d h w -> b c", "mean") for level in self.network(volume)], dim=1)

    def description(self) -> dict[str, Any]:
        """Adds what the features are."""
        return {**super().description(), "features": "deepbet 1.0.2 encoder, spatial means of all levels"}


class ClassifierExtractor(FeatureExtractor):
    """What the last linear layer of a grade classifier sees.

    Args:
        network: A trained classifier.
        origin: Where it is from, for the definition: a file, or how it was trained on the spot.
        side: Larger volumes are averaged in blocks down to this many voxels a side before the network sees them.
    """

    def __init__(self, network: Classifier, origin: str, side: int | None = None) -> None:
        super().__init__()
        self.name = "classifier"
        self.network = network.eval().requires_grad_(False)
        self.origin, self.side = origin, side
        self.checksum = weights_checksum(self.network)

    @classmethod
    def from_checkpoint(cls, path: Path) -> "ClassifierExtractor":
        """The classifier that `tumorgen fit --config experiments/classifier.yaml` trained.

        Raises:
            InputError: The checkpoint is missing or of another model.
        """
        from tumorgen.classifier.module import GradeClassifier
        from tumorgen.methods.loading import load_method

        return cls(load_method(path, GradeClassifier).network, f"{path.name}, sha256 {sha256(path)}")

    def features(self, volume: Volume) -> Features:
        """The classifier's features."""
        return self.network.features(volume if self.side is None else reduced(volume, self.side))

    def description(self) -> dict[str, Any]:
        """Adds where the network is from and what it is shown."""
        shown = {} if self.side is None else {"input": f"block means, {self.side} voxels a side"}
        return {
            **super().description(),
            "features": "grade classifier, last but one layer",
            "origin": self.origin,
            **shown,
        }


class TorchScriptExtractor(FeatureExtractor):
    """Any network saved with `torch.jit.save`, for example one of MedicalNet.

    The network takes (B, 1, D, H, W) float32, D counting axial slices upwards, H rows towards posterior, W columns towards
    left, and returns (B, F) or maps (B, F, d, h, w), which are averaged. Loading TorchScript runs what the file says: take
    it only from where you trust.

    Args:
        path: The file.
        normalisation: `none`: intensities in [-1, 1], background -1. `zscore`: over the voxels above -0.9 of each volume,
            minus their mean, over their standard deviation; background 0 (what MedicalNet expects, but for its random
            background).

    Raises:
        InputError: The file is missing or no TorchScript network.
    """

    def __init__(self, path: Path, normalisation: Normalisation = "none") -> None:
        super().__init__()
        if not path.is_file():
            raise InputError(
                f"features {path}: no such file; expected mri, classifier, a checkpoint (.ckpt) or TorchScript"
            )
        self.name, self.checksum = path.name, sha256(path)
        self.normalisation = normalisation
        try:
            self.network = torch.jit.load(path, map_location="cpu").eval()
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"features {path}: not a TorchScript network ({reason}); save it with torch.jit.save"
            ) from None

    def features(self, volume: Volume) -> Features:
        """The network's output, averaged over space where it has any.

        Raises:
            InputError: The network fails on these volumes, or returns something else.
        """
        x = volume if self.normalisation == "none" else _zscore(volume)
        try:
            y = self.network(x)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise InputError(
                f"features {self.name}: the network fails on volumes of shape {tuple(x.shape)} ({reason}); expected one "
                "that takes (B, 1, D, H, W)"
            ) from None
        if isinstance(y, Tensor) and y.ndim == 5:
            y = reduce(y, "b c d h w -> b c", "mean")
        if not isinstance(y, Tensor) or y.ndim != 2 or len(y) != len(x):
            shape = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
            raise InputError(f"features {self.name}: returned {shape}, expected (B, F) or (B, F, d, h, w)")
        return y

    def description(self) -> dict[str, Any]:
        """Adds how intensities were normalised."""
        return {**super().description(), "features": "TorchScript", "normalisation": self.normalisation}


def weights_checksum(network: nn.Module) -> str:
    """SHA-256 over names, types and bytes of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _zscore(volume: Volume) -> Volume:
    mask = foreground(volume)
    count = mask.sum((1, 2, 3, 4), keepdim=True).clamp(min=1)
    mean = (volume * mask).sum((1, 2, 3, 4), keepdim=True) / count
    variance = ((volume - mean).square() * mask).sum((1, 2, 3, 4), keepdim=True) / count
    return (volume - mean) / variance.sqrt().clamp(min=1e-6) * mask
