"""Maximum mean discrepancy: of raw voxels as published (`paper`), and unbiased with an RBF kernel.

`paper` is the evaluation code of the 3D alpha-WGAN (Kwon et al. 2019, MICCAI, arXiv:1908.02498): a linear kernel, pairs
of a volume with itself included, in batches of B. Its expectation is |mu_x - mu_y|^2 + (tr S_x + tr S_y) / B with means
and covariances over voxels: two samples of one distribution do not score zero, and score the less the larger B. So B and
the range of the data belong to the name of the figure.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from tumorgen.metrics.feature_metric import FeatureMetric
from tumorgen.metrics.gram import LinearGram, linear_gram
from tumorgen.metrics.resampling import half_split_floor, jackknife_interval
from tumorgen.metrics.two_sample import mmd2, mmd2_unbiased
from tumorgen.results.records import Floor, Interval
from tumorgen.types import Scalar, Volume

__all__ = [
    "MMD",
    "PaperMMD",
    "PaperScore",
    "block_means",
    "definition",
    "linear_gram",
    "median_bandwidth",
    "mmd2_unbiased",
    "mmd_paper",
    "mmd_paper_batch",
    "mmd_paper_expected",
    "mmd_paper_floor",
    "mmd_paper_interval",
    "paper_definition",
    "rbf_kernel",
]

Features = Float[Tensor, "cases width"]


class PaperScore(NamedTuple):
    """Mean and standard deviation (n - 1) of the paper's MMD over passes; not an interval: all passes share the volumes."""

    mean: float
    sd: float


def mmd_paper_batch(x: Features, y: Features) -> Scalar:
    """The paper's MMD of two batches of B flattened volumes each: (sum x x^T + sum y y^T - 2 sum x y^T) / B^2."""
    return ((x @ x.T).sum() + (y @ y.T).sum() - 2 * (x @ y.T).sum()) / len(x) ** 2


def mmd_paper(gram: LinearGram, batch_size: int, passes: int = 100, *, seed: int) -> PaperScore:
    """The paper's MMD from inner products: batches of all real volumes, averaged, and that `passes` times.

    In each pass the real volumes come in a new order, the last batch may be smaller, and every batch counts the same.
    Each meets as many generated volumes, drawn without replacement; the original draws fresh ones from its generator.

    Args:
        gram: of the generated (x) and real (y) volumes.
        batch_size: B.
        passes: how many times; 100 in the original.
        seed: of orders and draws.

    Raises:
        ValueError: There are fewer generated volumes than a batch takes, or no real ones.
    """
    generator = torch.Generator().manual_seed(seed)
    m, n = gram.xy.shape
    whole = n - n % batch_size
    if n == 0 or m < min(batch_size, n):
        raise ValueError(f"batches of {min(batch_size, n)} out of {m} generated and {n} real volumes: too few volumes")

    def batches(y: Int[Tensor, "batches B"]) -> Float[Tensor, " batches"]:
        x = torch.rand(len(y), m, generator=generator).argsort(1)[:, : y.shape[1]]
        inside = _block_sums(gram.xx, x, x) + _block_sums(gram.yy, y, y)
        return (inside - 2 * _block_sums(gram.xy, x, y)) / y.shape[1] ** 2

    def one_pass() -> Scalar:
        order = torch.randperm(n, generator=generator)
        parts = [order[:whole].view(-1, batch_size), order[None, whole:]]
        return torch.cat([batches(part) for part in parts if part.numel()]).mean()

    scores = torch.stack([one_pass() for _ in range(passes)])
    return PaperScore(float(scores.mean()), float(scores.std()) if passes > 1 else 0.0)


def _block_sums(
    gram: Float[Tensor, "m n"], rows: Int[Tensor, "batches B"], columns: Int[Tensor, "batches B"]
) -> Float[Tensor, " batches"]:
    return gram[rows[:, :, None], columns[:, None, :]].sum((1, 2))


def mmd_paper_expected(gram: LinearGram, batch_size: int, *, real_volumes: int | None = None) -> float:
    """What `mmd_paper` tends to over infinitely many passes, in closed form.

    The unbiased MMD^2 of the linear kernel, plus what a volume's own product adds: (tr S_x + tr S_y) times the mean of
    1 / B over batches, S the covariances (n - 1) over the volumes.

    Args:
        gram: of the generated (x) and real (y) volumes.
        batch_size: B.
        real_volumes: how many real volumes the batches are of, where `gram` holds only some of them. The size of the
            last batch, and with it the figure, jumps with this number: parts and halves keep that of the whole.

    Raises:
        ValueError: There are fewer than two volumes of either.
    """
    sizes = _batch_sizes(len(gram.yy) if real_volumes is None else real_volumes, batch_size)
    share_of_diagonal = sum(1 / size for size in sizes) / len(sizes)
    spread = sum(
        kernel.trace() / len(kernel) - (kernel.sum() - kernel.trace()) / (len(kernel) * (len(kernel) - 1))
        for kernel in (gram.xx, gram.yy)
    )
    return float(mmd2_unbiased(gram.xx, gram.yy, gram.xy) + share_of_diagonal * spread)


def mmd_paper_interval(gram: LinearGram, batch_size: int, *, seed: int, groups: int = 20) -> Interval:
    """Jackknife over the volumes, around `mmd_paper_expected`."""
    m, n = gram.xy.shape

    def statistic(x: Tensor, y: Tensor) -> float:
        return mmd_paper_expected(gram.select(x, y), batch_size, real_volumes=n)

    return jackknife_interval(statistic, torch.arange(m), torch.arange(n), seed=seed, groups=groups)


def mmd_paper_floor(gram: LinearGram, batch_size: int, *, seed: int, splits: int = 200) -> Floor:
    """`mmd_paper_expected` between random halves of the real volumes, in batches as of all of them.

    Raises:
        ValueError: There are fewer than four real volumes.
    """
    n = len(gram.yy)

    def statistic(a: Tensor, b: Tensor) -> float:
        return mmd_paper_expected(gram.real_halves(a, b), batch_size, real_volumes=n)

    return half_split_floor(statistic, torch.arange(n), seed=seed, splits=splits)


def _batch_sizes(volumes: int, batch_size: int) -> list[int]:
    whole, rest = divmod(volumes, batch_size)
    return [batch_size] * whole + [rest] * (rest > 0)


def paper_definition(batch_size: int, passes: int = 100, data_range: str = "[-1, 1]") -> dict[str, Any]:
    """What a figure of `mmd_paper` means; B and range are part of it."""
    return {
        "name": f"MMD, paper, B = {batch_size}, voxels in {data_range}",
        "recipe": "3D alpha-WGAN evaluation (Kwon et al. 2019): (sum xx' + sum yy' - 2 sum xy') / B^2 over batches of B "
        "generated (x) and B real (y) volumes, mean over the batches of a pass, mean over passes",
        "kernel": "linear, raw voxels",
        "estimator": "biased: expectation |mu_x - mu_y|^2 + (tr S_x + tr S_y) / B",
        "batch_size": batch_size,
        "passes": passes,
        "data_range": data_range,
        "sd": "over passes (n - 1), which share their volumes: how far one pass is off, not how sure the figure is",
        "unit": "squared intensity, summed over voxels",
        "better": "lower",
    }


def median_bandwidth(real: Features) -> float:
    """Median distance between two real cases: the RBF kernel's bandwidth (median heuristic, Gretton et al. 2012).

    Taken once per set of real data and stored, so that figures of different generators share a kernel.

    Raises:
        ValueError: There are fewer than two cases, or more than half of the pairs are equal.
    """
    distances = F.pdist(real.flatten(1).double()) if len(real) > 1 else torch.zeros(1)
    median = float(distances.quantile(0.5)) if len(distances) < 1 << 24 else float(distances.median())
    if median == 0:
        raise ValueError(f"the median distance of {len(real)} real cases is 0: they are too few or mostly the same")
    return median


def rbf_kernel(a: Features, b: Features, bandwidth: float) -> Float[Tensor, "m n"]:
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


def definition(bandwidth: float, inputs: str = "features") -> dict[str, Any]:
    """What an unbiased MMD^2 with the RBF kernel means.

    Args:
        bandwidth: of the kernel, as `median_bandwidth` of the real cases gave it.
        inputs: what the kernel sees, for example `means of 8^3 blocks of voxels in [-1, 1]`.
    """
    return {
        "name": f"MMD^2, RBF, {inputs}",
        "recipe": "unbiased squared maximum mean discrepancy (Gretton et al. 2012, equation 3)",
        "kernel": "exp(-d^2 / (2 s^2))",
        "bandwidth": bandwidth,
        "bandwidth_rule": "median distance between the real cases of all classes, the same for every generator",
        "inputs": inputs,
        "test": "permutation of the labels generated and real",
        "unit": "1",
        "better": "lower",
    }


class MMD(FeatureMetric):
    """Unbiased MMD^2 with the RBF kernel between generated and real features.

    Args:
        bandwidth: of the kernel; without, the median heuristic on the real features.
    """

    def __init__(self, bandwidth: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bandwidth = bandwidth

    def figure(self, generated: Features, real: Features) -> float:
        """MMD^2."""
        bandwidth = median_bandwidth(real) if self.bandwidth is None else self.bandwidth
        pooled = torch.cat([generated, real])
        return mmd2(rbf_kernel(pooled, pooled, bandwidth), len(generated))


class PaperMMD(FeatureMetric):
    """The paper's MMD of flattened volumes, as `mmd_paper_expected`: for volumes that fit into memory.

    Args:
        batch_size: B.
    """

    def __init__(self, batch_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.batch_size = batch_size

    def figure(self, generated: Features, real: Features) -> float:
        """The expectation over passes."""
        return mmd_paper_expected(linear_gram(list(generated), list(real)), self.batch_size)
