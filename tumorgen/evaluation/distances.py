"""Distances between sets of volumes as records: in the space of each feature extractor, of block means, and of voxels."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tumorgen.evaluation.extractors import FeatureExtractor, Features
from tumorgen.evaluation.groups import POOLED, Comparison, Group, Volumes
from tumorgen.metrics import frechet, kid, manifold, mmd
from tumorgen.metrics.resampling import half_split_floor, jackknife_interval
from tumorgen.metrics.two_sample import mmd2, mmd2_floor, mmd2_interval, mmd2_p_value
from tumorgen.results.records import Interval, Record

_PAPER_INTERVAL = {
    "interval": "over volumes, around the expectation over passes; the floor is of this expectation, too"
}


def feature_records(
    comparison: Comparison, extractor: FeatureExtractor, generated: Features, real: Features
) -> Iterator[Record]:
    """MMD, KID, FID, precision, recall, density and coverage in one feature space.

    Args:
        comparison: What is compared.
        extractor: Where the features are from.
        generated: Features of all generated volumes.
        real: Features of all real volumes.
    """
    said = {"extractor": extractor.description()}
    bandwidth = mmd.median_bandwidth(real[_everything(comparison)])
    for group in comparison.groups:
        x, y = generated[group.generated], real[group.real]
        pooled = torch.cat([x, y])
        kernels = {
            "mmd_rbf_features": (mmd.rbf_kernel(pooled, pooled, bandwidth), mmd.definition(bandwidth)),
            "kid": (kid.polynomial_kernel(pooled, pooled), kid.definition()),
        }
        for metric, (kernel, definition) in kernels.items():
            yield _kernel_record(comparison, group, metric, kernel, {**definition, **said})
        yield _fid_record(comparison, group, x, y, said)
        yield from _manifold_records(comparison, group, x, y, said)


def block_records(
    comparison: Comparison, generated: Float[Tensor, "m width"], real: Float[Tensor, "n width"]
) -> Iterator[Record]:
    """MMD on means over blocks of voxels: coarse, but free of any network.

    Args:
        comparison: What is compared.
        generated: Block means of all generated volumes.
        real: Block means of all real volumes.
    """
    bandwidth = mmd.median_bandwidth(real[_everything(comparison)])
    blocks = comparison.settings.blocks
    definition = mmd.definition(bandwidth, f"means of {blocks}^3 blocks of voxels in [-1, 1]")
    for group in comparison.groups:
        pooled = torch.cat([generated[group.generated], real[group.real]])
        kernel = mmd.rbf_kernel(pooled, pooled, bandwidth)
        yield _kernel_record(comparison, group, "mmd_rbf_blocks", kernel, definition)


def paper_records(comparison: Comparison) -> Iterator[Record]:
    """The published MMD, on voxels; volumes are read a few at a time."""
    settings = comparison.settings
    x, y = _union(comparison, "generated"), _union(comparison, "real")
    block = max(8, int(settings.memory * 2**30) // (4 * comparison.real.roi_size**3))
    gram = mmd.linear_gram(Volumes(comparison.generated, x), Volumes(comparison.real, y), block=block)
    for group in comparison.groups:
        own = gram.select(torch.searchsorted(x, group.generated), torch.searchsorted(y, group.real))
        batch = min(settings.mmd_batch, *group.counts.values())
        score = mmd.mmd_paper(own, batch, settings.passes, seed=settings.seed)
        yield Record(
            metric="mmd_paper",
            value=score.mean,
            definition=_definition(comparison, group, mmd.paper_definition(batch, settings.passes), _PAPER_INTERVAL),
            group=comparison.group(group.name),
            counts=group.counts,
            interval=mmd.mmd_paper_interval(own, batch, seed=settings.seed),
            floor=mmd.mmd_paper_floor(own, batch, seed=settings.seed, splits=settings.splits),
            details={"sd": score.sd},
        )


def _kernel_record(
    comparison: Comparison, group: Group, metric: str, kernel: Float[Tensor, "n n"], definition: dict[str, Any]
) -> Record:
    """MMD^2 of a kernel matrix, generated volumes first."""
    settings, m = comparison.settings, len(group.generated)
    return Record(
        metric=metric,
        value=mmd2(kernel, m),
        definition=_definition(comparison, group, definition),
        group=comparison.group(group.name),
        counts=group.counts,
        interval=mmd2_interval(kernel, m, seed=settings.seed, resamples=settings.resamples),
        floor=mmd2_floor(kernel[m:, m:], seed=settings.seed, splits=settings.splits),
        p_value=mmd2_p_value(kernel, m, seed=settings.seed, permutations=settings.permutations),
        details={"test": f"permutation, {settings.permutations} relabellings"},
    )


def _fid_record(comparison: Comparison, group: Group, x: Features, y: Features, said: dict[str, Any]) -> Record:
    settings, width = comparison.settings, x.shape[1]
    shrink = frechet.needs_shrinkage(width, len(x), len(y) // 2)

    def statistic(a: Features, b: Features) -> float:
        return frechet.fid(a, b, shrink=shrink)

    interval = jackknife_interval(statistic, x, y, seed=settings.seed, groups=10)
    return Record(
        metric="fid",
        value=statistic(x, y),
        definition=_definition(comparison, group, frechet.definition(shrink=shrink, width=width), said),
        group=comparison.group(group.name),
        counts=group.counts,
        interval=_within_range(interval, share=False),
        floor=half_split_floor(statistic, y, seed=settings.seed, splits=max(1, settings.splits // 4)),
    )


def _manifold_records(
    comparison: Comparison, group: Group, x: Features, y: Features, said: dict[str, Any]
) -> Iterator[Record]:
    """Precision, recall, density, coverage; none where a half of the real volumes has no k-th neighbour."""
    settings = comparison.settings
    k = min(settings.neighbours, len(x) - 2, len(y) // 2 - 1)
    if k < 1:
        return
    apart = manifold.distances(x, y)
    indices = (torch.arange(len(x)), torch.arange(len(y)))
    figures = manifold.manifold(apart, k)._asdict()
    for name, value in figures.items():
        between, halves = _figure_of(apart.select, name, k), _figure_of(apart.real_halves, name, k)
        yield Record(
            metric=name,
            value=value,
            definition=_definition(comparison, group, manifold.definition(k), said),
            group=comparison.group(group.name),
            counts=group.counts,
            interval=_within_range(jackknife_interval(between, *indices, seed=settings.seed), share=name != "density"),
            floor=half_split_floor(halves, indices[1], seed=settings.seed, splits=settings.splits),
        )


def _within_range(interval: Interval, share: bool) -> Interval:
    """The part of a symmetric interval that the figure can take: at least 0, and a share at most 1."""
    low, high = max(interval.low, 0.0), min(interval.high, 1.0) if share else interval.high
    return replace(interval, low=low, high=high, method=f"{interval.method}, cut to possible values")


def _figure_of(
    chosen: Callable[[Tensor, Tensor], manifold.Distances], name: str, k: int
) -> Callable[[Tensor, Tensor], float]:
    return lambda a, b: float(getattr(manifold.manifold(chosen(a, b), k), name))


def _definition(comparison: Comparison, group: Group, *parts: dict[str, Any]) -> dict[str, Any]:
    return comparison.definition(*parts, pooled=group.name == POOLED)


def _everything(comparison: Comparison) -> Tensor:
    """All real volumes of the comparison: the bandwidth is one per set of real data, whatever the generator."""
    return _union(comparison, "real")


def _union(comparison: Comparison, which: str) -> Tensor:
    return torch.unique(torch.cat([getattr(group, which) for group in comparison.groups]))
