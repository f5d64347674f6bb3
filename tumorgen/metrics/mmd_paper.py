"""The published maximum mean discrepancy, of raw voxels.

It is the evaluation code of the 3D alpha-WGAN (Kwon et al. 2019, MICCAI, arXiv:1908.02498): a linear kernel, pairs of a
volume with itself included, in batches of B. Its expectation is |mu_x - mu_y|^2 + (tr S_x + tr S_y) / B with means and
covariances over voxels: two samples of one distribution do not score zero, and score the less the larger B. So B and the
range of the data belong to its name.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tumorgen.metrics.gram import LinearGram, linear_gram
from tumorgen.metrics.metric import Group, Measure, Metric, Real, Rows, Volumes, at_least_one, groups
from tumorgen.metrics.resampling import half_split_floor, jackknife_interval
from tumorgen.metrics.two_sample import mmd2_unbiased
from tumorgen.results.records import Floor, Interval, Record
from tumorgen.types import Scalar


class PaperScore(NamedTuple):
    """Mean and standard deviation (n - 1) of the paper's MMD over passes; not an interval: all passes share the volumes."""

    mean: float
    sd: float


def mmd_paper_batch(x: Rows, y: Rows) -> Scalar:
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
            last batch, and with it the value, jumps with this number: parts and halves keep that of the whole.

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


def definition(batch_size: int, passes: int = 100, data_range: str = "[-1, 1]") -> dict[str, Any]:
    """What a value of `mmd_paper` means; B and range are part of it."""
    return {
        "title": f"MMD, published (linear, biased), B = {batch_size}",
        "recipe": "3D alpha-WGAN evaluation (Kwon et al. 2019): (sum xx' + sum yy' - 2 sum xy') / B^2 over batches of B "
        "generated (x) and B real (y) volumes, mean over the batches of a pass, mean over passes",
        "kernel": "linear, raw voxels",
        "estimator": "biased: expectation |mu_x - mu_y|^2 + (tr S_x + tr S_y) / B",
        "batch_size": batch_size,
        "passes": passes,
        "data_range": data_range,
        "sd": "over passes (n - 1), which share their volumes: how far one pass is off, not how sure the value is",
        "interval": "over volumes, around the expectation over passes; the floor is of this expectation, too",
        "unit": "squared intensity, summed over voxels",
        "better": "lower",
    }


class PaperMMD(Metric):
    """`mmd_paper`: the published MMD of raw voxels.

    Args:
        batch_size: B; fewer, where a group has fewer volumes. Values of different B do not compare.
        passes: Over the real volumes; 100 in the original.
        memory: GiB of volumes that are held at a time.
    """

    def __init__(self, batch_size: int = 4, passes: int = 100, memory: float = 1.0) -> None:
        at_least_one("batch_size", batch_size)
        at_least_one("passes", passes)
        self.batch_size, self.passes, self.memory = batch_size, passes, memory

    def prepare(self, real: Real) -> Measure:
        """Nothing: inner products are taken of all volumes at once."""
        return lambda generated: self._records(real, generated)

    def _records(self, real: Real, generated: Volumes) -> list[Record]:
        found = groups(real, generated)
        if not found:
            return []
        block = max(8, int(self.memory * 2**30) // (4 * generated[0].numel()))
        whole = linear_gram(generated, real.compared, block=block)
        records = []
        for group in found:
            x = torch.searchsorted(generated.positions, group.generated.positions)
            y = torch.searchsorted(real.compared.positions, group.real.positions)
            records.append(self._record(real, group, whole.select(x, y)))
        return records

    def _record(self, real: Real, group: Group, gram: LinearGram) -> Record:
        how, batch = real.resampling, min(self.batch_size, *group.counts.values())
        score = mmd_paper(gram, batch, self.passes, seed=how.seed)
        return Record(
            metric="mmd_paper",
            value=score.mean,
            definition=definition(batch, self.passes),
            group={"class": group.name},
            counts=group.counts,
            interval=group.interval(lambda: mmd_paper_interval(gram, batch, seed=how.seed)),
            floor=group.floor(lambda: mmd_paper_floor(gram, batch, seed=how.seed, splits=how.splits)),
            details={"sd": score.sd},
        )
