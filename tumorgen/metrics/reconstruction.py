"""How close reconstructions are to their inputs: L1, PSNR and MS-SSIM whole and inside the tumour, and shape Dice.

The background is most of the voxels of a tumour region, so values of the whole volume mostly describe the background; L1
and PSNR of the background alone say how black it stays.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torchmetrics import Metric

from data_modules.roi.extract import foreground
from tumorgen.metrics.ms_ssim import DATA_RANGE, LEAST_SIZE, ms_ssim_fidelity
from tumorgen.types import Volume

LEAST_MSE = 1e-10

PerVolume = Float[Tensor, " batch"]
Mask = Bool[Tensor, "batch channel D H W"]


def tumour_mask(x: Volume) -> Mask:
    """Voxels of the tumour's shape, {x > -0.9}, of volumes in [-1, 1]."""
    return foreground(x)


def mean_absolute_error(x: Volume, x_hat: Volume, mask: Mask | None = None) -> PerVolume:
    """L1 per volume, in units of intensity (range 2); inside `mask` where given, NaN where that is empty."""
    return _mean((x.float() - x_hat.float()).abs(), mask)


def psnr(x: Volume, x_hat: Volume, mask: Mask | None = None) -> PerVolume:
    """Peak signal-to-noise ratio per volume in dB, data range 2; inside `mask` where given, NaN where that is empty.

    The mean squared error counts as at least 1e-10, so that equal volumes give 106 dB and not infinity.
    """
    mse = _mean((x.float() - x_hat.float()).square(), mask)
    return 10 * torch.log10(DATA_RANGE**2 / mse.clamp_min(LEAST_MSE))


def shape_dice(x: Volume, x_hat: Volume) -> PerVolume:
    """Dice coefficient per volume of {voxel > -0.9} between input and reconstruction; 1 where both are empty."""
    a, b = tumour_mask(x).flatten(1), tumour_mask(x_hat).flatten(1)
    sizes = a.sum(1) + b.sum(1)
    return torch.where(sizes > 0, 2 * (a & b).sum(1) / sizes.clamp_min(1), 1.0)


def relative_volume(x: Volume, x_hat: Volume) -> PerVolume:
    """Number of voxels {x > -0.9} of the reconstruction over the input's; above 1 is too large, NaN for an empty input."""
    a, b = (tumour_mask(volume).flatten(1).sum(1).float() for volume in (x, x_hat))
    return torch.where(a > 0, b / a, torch.nan)


def _mean(values: Volume, mask: Mask | None) -> PerVolume:
    if mask is None:
        return values.flatten(1).mean(1)
    weights = mask.flatten(1).float()
    return (values.flatten(1) * weights).sum(1) / weights.sum(1)


def _similarity(x: Volume, x_hat: Volume, mask: Mask) -> tuple[PerVolume, PerVolume]:
    """MS-SSIM whole and inside the tumour; NaN for volumes that are too small for it."""
    if min(x.shape[2:]) < LEAST_SIZE:
        undefined = x.new_full((len(x),), torch.nan, dtype=torch.float32)
        return undefined, undefined
    return ms_ssim_fidelity(x, x_hat, mask)


class ReconstructionMetrics(Metric):
    """Means over volumes of L1, PSNR and MS-SSIM (standard form), whole and inside the tumour, of Dice and relative volume.

    L1 and PSNR also of the background. The tumour is the input's. A volume without any tumour voxel, or without background,
    does not enter the values of that part. Every volume weighs the same, whatever batches and ranks it comes in. Values
    without a volume are NaN, and so is MS-SSIM of volumes below 6 voxels per side.
    """

    full_state_update = False
    totals: Tensor
    volumes: Tensor

    NAMES = (
        "l1",
        "psnr",
        "l1_tumour",
        "psnr_tumour",
        "dice",
        "l1_background",
        "psnr_background",
        "ms_ssim_fidelity",
        "ms_ssim_fidelity_tumour",
        "relative_volume_tumour",
    )

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        zeros = torch.zeros(len(self.NAMES))
        self.add_state("totals", zeros, dist_reduce_fx="sum")
        self.add_state("volumes", zeros.clone(), dist_reduce_fx="sum")

    def update(self, x: Volume, x_hat: Volume) -> None:
        """Adds inputs and their reconstructions, both in [-1, 1]."""
        mask = tumour_mask(x)
        values = torch.stack(
            [
                mean_absolute_error(x, x_hat),
                psnr(x, x_hat),
                mean_absolute_error(x, x_hat, mask),
                psnr(x, x_hat, mask),
                shape_dice(x, x_hat),
                mean_absolute_error(x, x_hat, ~mask),
                psnr(x, x_hat, ~mask),
                *_similarity(x, x_hat, mask),
                relative_volume(x, x_hat),
            ]
        )
        parts = {"tumour": mask.flatten(1).any(1), "background": ~mask.flatten(1).all(1)}
        whole = torch.ones_like(parts["tumour"])
        valid = torch.stack([parts.get(name.rsplit("_")[-1], whole) for name in self.NAMES])
        self.totals += torch.where(valid, values, 0).sum(1)
        self.volumes += valid.sum(1)

    def compute(self) -> dict[str, Tensor]:
        """Mean by name."""
        means = self.totals / self.volumes
        return dict(zip(self.NAMES, means, strict=True))
