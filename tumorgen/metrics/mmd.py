"""Unbiased maximum mean discrepancy with an RBF kernel, on means over blocks of voxels and on features."""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from tumorgen.metrics.metric import Measure, Metric, Real, Rows, Volumes, at_least_one, joined
from tumorgen.metrics.two_sample import kernel_measure
from tumorgen.types import Volume


def median_bandwidth(real: Rows) -> float:
    """Median distance between two real cases: the RBF kernel's bandwidth (median heuristic, Gretton et al. 2012).

    Taken once per set of real data and stored, so that values of different generators share a kernel.

    Raises:
        ValueError: There are fewer than two cases, or more than half of the pairs are equal.
    """
    distances = F.pdist(real.flatten(1).double()) if len(real) > 1 else torch.zeros(1)
    median = float(distances.quantile(0.5)) if len(distances) < 1 << 24 else float(distances.median())
    if median == 0:
        raise ValueError(f"the median distance of {len(real)} real cases is 0: they are too few or mostly the same")
    return median


def rbf_kernel(a: Rows, b: Rows, bandwidth: float) -> Float[Tensor, "m n"]:
    """exp(-|a - b|^2 / (2 bandwidth^2)), float64; pooled cases against themselves are what `mmd2` and its kin take."""
    distances = torch.cdist(a.double(), b.double(), compute_mode="donot_use_mm_for_euclid_dist")
    return torch.exp(-distances.square() / (2 * bandwidth**2))


def block_means(volume: Volume, blocks: int = 8) -> Float[Tensor, "batch width"]:
    """Means over `blocks`^3 cells of equal size, channel by channel: (B, C * blocks^3), in [-1, 1].

    Where the sides are no multiples of `blocks`, neighbouring cells share a layer of voxels.

    Raises:
        ValueError: A side is shorter than `blocks`.
    """
    if min(volume.shape[2:]) < blocks:
        raise ValueError(f"a volume of {tuple(volume.shape[2:])} voxels has no {blocks} blocks per side")
    return rearrange(F.adaptive_avg_pool3d(volume.float(), blocks), "n c d h w -> n (c d h w)")


def definition(title: str, bandwidth: float, inputs: str) -> dict[str, Any]:
    """What an unbiased MMD^2 with the RBF kernel means.

    Args:
        title: in tables.
        bandwidth: of the kernel, as `median_bandwidth` of the real cases gave it.
        inputs: what the kernel sees, for example `means of 8^3 blocks of voxels in [-1, 1]`.
    """
    return {
        "title": title,
        "recipe": "unbiased squared maximum mean discrepancy (Gretton et al. 2012, equation 3)",
        "kernel": "exp(-d^2 / (2 s^2))",
        "bandwidth": bandwidth,
        "bandwidth_rule": "median distance between the real cases of all classes, the same for every generator",
        "inputs": inputs,
        "test": "permutation of the labels generated and real",
        "unit": "1",
        "better": "lower",
    }


class BlockMMD(Metric):
    """`mmd_rbf_blocks`: MMD^2 on means over blocks of voxels: coarse, but free of any network.

    Args:
        blocks: Blocks a side; as many as there are voxels, where those are fewer.
    """

    def __init__(self, blocks: int = 8) -> None:
        at_least_one("blocks", blocks)
        self.blocks = blocks

    def prepare(self, real: Real) -> Measure:
        """The kernel's bandwidth."""
        if len(real.compared) < 2:
            return joined([])
        blocks = min(self.blocks, real.compared.side)

        def rows(volumes: Volumes) -> Rows:
            return volumes.rows(("block means", blocks), partial(block_means, blocks=blocks))

        bandwidth = median_bandwidth(rows(real.compared))
        inputs = f"means of {blocks}^3 blocks of voxels in [-1, 1]"
        described = definition("MMD², RBF, block means", bandwidth, inputs)
        return kernel_measure(real, "mmd_rbf_blocks", rows, partial(rbf_kernel, bandwidth=bandwidth), described)


class FeatureMMD(Metric):
    """`mmd_rbf_features`: MMD^2 on the features of every extractor."""

    def prepare(self, real: Real) -> Measure:
        """The kernel's bandwidth in each feature space."""
        measures = []
        for extractor in real.extractors if len(real.compared) > 1 else ():
            rows = partial(Volumes.features, extractor=extractor)
            bandwidth = median_bandwidth(rows(real.compared))
            described = definition("MMD², RBF, features", bandwidth, "features")
            described["extractor"] = extractor.description()
            kernel = partial(rbf_kernel, bandwidth=bandwidth)
            measures.append(kernel_measure(real, "mmd_rbf_features", rows, kernel, described))
        return joined(measures)
