"""Importance score net: which tokens tell the classes apart (poster, "importance score map")."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from data_modules.errors import InputError
from tumorgen.nn.blocks import group_norm
from tumorgen.types import Latent, ScoreMap

GROUPS = 32
"""Groups of the classifier's normalisation; with two channels each it leaves only signs."""


class ImportanceOutput(NamedTuple):
    """What the net returns.

    Attributes:
        scores: (B, 1, d, h, w) in (0, 1), one per token.
        logits: (B, num_classes) of the class of the whole volume.
    """

    scores: ScoreMap
    logits: Float[Tensor, "batch num_classes"]


class ImportanceScoreNet(nn.Module):
    """Scores every token by weighing it in the classification of its volume.

    The score map gates the features on their way to a classifier; cross entropy of the classes is what trains the map,
    and its gradients reach the encoder. 67.6 M parameters at the published size, nearly all in the first linear layer.

    Args:
        num_classes: classes of the data set.
        grid: side of the token grid (published 8).
        code_dim: channels of the pre-quantised features.
        hidden: width of the classifier; a multiple of 32, the groups of its normalisation.
        dropout: before the last layer.
    """

    def __init__(
        self, num_classes: int = 2, grid: int = 8, code_dim: int = 128, hidden: int = 1024, dropout: float = 0.2
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise InputError(f"num_classes is {num_classes}; the importance score net needs at least 2 classes.")
        if hidden < 2 * GROUPS:
            raise InputError(
                f"importance.hidden is {hidden}; expected a multiple of {GROUPS}, at least {2 * GROUPS}: its GroupNorm has "
                f"{GROUPS} groups, and one channel alone is normalised to nothing. 256 or more works well."
            )
        self.input_shape = (code_dim, grid, grid, grid)
        self.score = nn.Sequential(
            nn.Conv3d(code_dim, code_dim, kernel_size=3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv3d(code_dim, 1, kernel_size=1),
            group_norm(1, groups=1),
        )
        self.classifier = nn.Sequential(
            nn.Linear(code_dim * grid**3, hidden),
            group_norm(hidden, groups=GROUPS),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, z: Latent) -> ImportanceOutput:
        """Score and classify the features before the quantiser.

        Raises:
            InputError: `z` has another width or grid than the net was built for.
        """
        normed = self._normalise(z)
        scores = self._score(normed)
        return ImportanceOutput(scores, self.classifier((normed * scores).flatten(1)))

    def scores(self, z: Latent) -> ScoreMap:
        """Return the score map alone, without the large classifier."""
        return self._score(self._normalise(z))

    def _normalise(self, z: Latent) -> Latent:
        if tuple(z.shape[1:]) != self.input_shape:
            raise InputError(
                f"The importance score net was built for features of shape {self.input_shape} and got "
                f"{tuple(z.shape[1:])}. Its `code_dim` must be the quantiser's, its `grid` "
                f"roi_size / 2^downsamplings."
            )
        return F.layer_norm(z, self.input_shape)

    def _score(self, normed: Latent) -> ScoreMap:
        return torch.sigmoid(self.score(normed))
