"""What is measured on samples while a generator trains; each measure states what it costs before it is taken.

The same definitions as in `tumorgen evaluate`, on fewer volumes: figures of different numbers of volumes do not compare.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from tumorgen.evaluation.budget import Clock
from tumorgen.evaluation.real_cases import RealCases, Samples
from tumorgen.metrics import mmd
from tumorgen.metrics.gram import linear_gram
from tumorgen.metrics.resampling import half_split_floor
from tumorgen.metrics.two_sample import mmd2, mmd2_floor, mmd2_interval, mmd2_p_value
from tumorgen.results.records import Floor, Interval, Record
from tumorgen.types import Volume

SEED = 0
BLOCKS = 8
_RESAMPLES = 200


@dataclass(frozen=True)
class Numbers:
    """What an evaluation is going to compare.

    Attributes:
        classes: Classes.
        generated: Volumes to be sampled, of all classes together.
        training: Training cases, generated ones that are trained on included.
        held_out: Validation cases.
    """

    classes: int
    generated: int
    training: int
    held_out: int


class Measure(ABC):
    """Figures of sampled volumes."""

    @abstractmethod
    def seconds(self, one: Volume, cases: Numbers, clock: Clock) -> float:
        """Predicted duration of `prepare` and the first `records`, from a small piece of the work.

        Args:
            one: A volume (1, C, D, H, W).
            cases: How many there are going to be.
            clock: To time the piece with.
        """

    @abstractmethod
    def prepare(self, real: RealCases, class_names: tuple[str, ...]) -> None:
        """Takes what depends on the real cases alone: bandwidths, floors, references."""

    @abstractmethod
    def records(self, samples: Samples) -> list[Record]:
        """The figures; a class without enough real cases has none."""


class KernelMMD(Measure):
    """`mmd_rbf_blocks`: unbiased MMD^2 with an RBF kernel on means of 8^3 blocks, against training and validation cases."""

    def seconds(self, one: Volume, cases: Numbers, clock: Clock) -> float:
        """Nearly all of it is permutations and resamples, which depend on the number of cases."""
        total = cases.generated + cases.training + cases.held_out
        kernel = torch.ones(total, total, dtype=torch.float64)
        return 4 * timed(lambda: mmd2_p_value(kernel, cases.generated, seed=SEED, permutations=_RESAMPLES), clock)

    def prepare(self, real: RealCases, class_names: tuple[str, ...]) -> None:
        """Bandwidth over all classes, and the floor of each."""
        self.class_names = class_names
        both = zip(real.training_small, real.held_out_small, strict=True)
        self.real = [_block_means(torch.cat(parts)) for parts in both]
        self.bandwidth = mmd.median_bandwidth(torch.cat(self.real))
        self.floors = [self._floor(cases) for cases in self.real]

    def _floor(self, cases: torch.Tensor) -> Floor | None:
        if len(cases) < 4:
            return None
        return mmd2_floor(mmd.rbf_kernel(cases, cases, self.bandwidth), seed=SEED, splits=_RESAMPLES)

    def records(self, samples: Samples) -> list[Record]:
        """One per class."""
        found = []
        inputs = f"means of {BLOCKS}^3 blocks of voxels in [-1, 1]"
        definition = mmd.definition(self.bandwidth, inputs) | {"real": "training and validation cases"}
        for name, small, real, floor in zip(self.class_names, samples.small, self.real, self.floors, strict=True):
            generated = _block_means(small)
            if min(len(generated), len(real)) < 2:
                continue
            pooled = torch.cat([generated, real])
            kernel = mmd.rbf_kernel(pooled, pooled, self.bandwidth)
            found.append(
                record(
                    "mmd_rbf_blocks",
                    mmd2(kernel, len(generated)),
                    definition,
                    samples,
                    name,
                    {"real": len(real), "generated": len(generated)},
                    floor=floor,
                    interval=mmd2_interval(kernel, len(generated), seed=SEED, resamples=_RESAMPLES),
                    p_value=mmd2_p_value(kernel, len(generated), seed=SEED, permutations=_RESAMPLES),
                )
            )
        return found


class PaperMMD(Measure):
    """`mmd_paper`: the published MMD of raw voxels at a stated batch size, against the validation cases.

    Args:
        batch_size: B; its figures do not compare with those of another B.
        passes: Over the real cases.
    """

    def __init__(self, batch_size: int = 4, passes: int = 100) -> None:
        self.batch_size, self.passes = batch_size, passes

    def seconds(self, one: Volume, cases: Numbers, clock: Clock) -> float:
        """Inner products of all pairs; passes cost little beside."""
        pairs = (cases.generated + 2 * cases.held_out) ** 2
        chunk = list(one.expand(4, *one.shape[1:]))
        passes = (cases.held_out / self.batch_size + 1) * self.passes * 2e-5
        return timed(lambda: linear_gram(chunk, chunk), clock) * pairs / 64 + passes

    def prepare(self, real: RealCases, class_names: tuple[str, ...]) -> None:
        """The floor of each class, by the closed form."""
        self.class_names, self.real = class_names, real.held_out
        self.floors = [self._floor(volumes) for volumes in real.held_out]

    def _floor(self, volumes: Volume) -> Floor | None:
        if len(volumes) < max(4, 2 * self.batch_size):
            return None
        gram = linear_gram([], list(volumes))
        indices = torch.arange(len(volumes))
        return half_split_floor(
            lambda a, b: mmd.mmd_paper_expected(gram.real_halves(a, b), self.batch_size),
            indices,
            seed=SEED,
            splits=_RESAMPLES,
        )

    def records(self, samples: Samples) -> list[Record]:
        """One per class that has a batch of real and of generated volumes."""
        found = []
        definition = mmd.paper_definition(self.batch_size, self.passes) | {"real": "validation cases"}
        for name, made, real, floor in zip(self.class_names, samples.volumes, self.real, self.floors, strict=True):
            if min(len(made), len(real)) < self.batch_size:
                continue
            score = mmd.mmd_paper(linear_gram(list(made), list(real)), self.batch_size, self.passes, seed=SEED)
            counts = {"real": len(real), "generated": len(made)}
            found.append(
                record(
                    "mmd_paper", score.mean, definition, samples, name, counts, floor=floor, details={"sd": score.sd}
                )
            )
        return found


def record(
    metric: str,
    value: float,
    definition: Mapping[str, Any],
    samples: Samples,
    class_name: str,
    counts: Mapping[str, int],
    *,
    floor: Floor | None = None,
    interval: Interval | None = None,
    p_value: float | None = None,
    details: Mapping[str, Any] | None = None,
) -> Record:
    """A record of sampled volumes of one class, or `pooled`."""
    group = {"class": class_name, "generated": samples.name}
    return Record(metric, value, definition, group, counts, interval, floor, p_value, details or {})


def timed(work: Callable[[], object], clock: Clock) -> float:
    """Seconds that `work` takes, done twice: the first time is slower than all that follow."""
    work()
    begin = clock()
    work()
    return clock() - begin


def _block_means(small: Volume) -> torch.Tensor:
    return mmd.block_means(small, min(BLOCKS, *small.shape[2:])) if len(small) else small.flatten(1)
