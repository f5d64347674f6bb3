"""Augmentation of regions of interest with TorchIO."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torchio as tio
from jaxtyping import Float
from torch import Tensor

from data_modules.errors import InputError
from data_modules.roi.extract import BACKGROUND, DARKEST


class Augmentation(ABC):
    """Changes a training volume at random; injected by `class_path`."""

    @abstractmethod
    def __call__(self, volume: Float[Tensor, "C D H W"]) -> Float[Tensor, "C D H W"]:
        """A changed copy of a volume in [-1, 1]; the background stays at exactly -1."""


class TumourAugmentation(Augmentation):
    """Random flips, small affine movements and mild changes of contrast that leave the background at exactly -1.

    The affine resamples the tumour and its mask with the same linear kernel and divides one by the other: black does
    not leak into the rim, nor the tumour into the background. Contrast changes inside the tumour only. Random numbers
    come from torch's generator, so that a seeded run repeats itself and the workers of a loader differ.

    Args:
        flip_axes: Axes that are flipped, by their index in (D, H, W); the default mirrors left and right, which the
            anatomy of the brain allows. An empty list flips nothing.
        flip_probability: Probability of a flip along each of them.
        degrees: Largest rotation about each axis.
        scale: Largest relative change of size, the same along all axes.
        translation: Largest shift along each axis in voxels.
        log_gamma: Intensities in [0, 1] are raised to exp(g) with g within +-log_gamma; zero and the maximum stay.
    """

    def __init__(
        self,
        flip_axes: Sequence[int] = (2,),
        flip_probability: float = 0.5,
        degrees: float = 10.0,
        scale: float = 0.1,
        translation: float = 2.0,
        log_gamma: float = 0.15,
    ) -> None:
        if not 0 <= flip_probability <= 1 or not 0 <= scale < 1 or min(degrees, translation, log_gamma) < 0:
            raise InputError(
                f"augmentation: flip_probability {flip_probability} must lie in [0, 1], scale {scale} in [0, 1), and "
                f"degrees {degrees}, translation {translation} and log_gamma {log_gamma} must not be negative"
            )
        if not set(flip_axes) <= {0, 1, 2}:
            raise InputError(
                f"augmentation: flip_axes {list(flip_axes)} may hold 0 (depth), 1 (row) and 2 (column) only"
            )
        moves = [
            tio.RandomAffine(
                scales=scale,
                isotropic=True,
                degrees=degrees,
                translation=translation,
                default_pad_value=0,
                image_interpolation="linear",
            )
        ]
        if flip_axes:
            moves.insert(0, tio.RandomFlip(axes=tuple(flip_axes), flip_probability=flip_probability))
        self._move = tio.Compose(moves)
        self._contrast = tio.RandomGamma(log_gamma=log_gamma)

    def __call__(self, volume: Float[Tensor, "C D H W"]) -> Float[Tensor, "C D H W"]:
        """A changed copy of a volume in [-1, 1] with the background at -1.

        Channels move together; the tumour is where any channel differs from the background.
        """
        tumour = (volume > BACKGROUND).any(dim=0, keepdim=True).to(volume.dtype)
        grey = (volume - BACKGROUND) / 2 * tumour  # black is 0, so that padding and averaging need no special case
        moved = self._move(tio.Subject(grey=tio.ScalarImage(tensor=grey), tumour=tio.ScalarImage(tensor=tumour)))
        share = moved["tumour"].data
        inside = share > 0.5
        if not inside.any():  # a few voxels, rotated between the grid's points
            return volume.clone()
        grey = torch.where(inside, moved["grey"].data / share, 0).clamp(0, 1)
        grey = self._contrast(grey)
        return torch.where(inside, 2 * grey.clamp(DARKEST, 1) + BACKGROUND, BACKGROUND)
