"""How varied and how plausible generated volumes look: MS-SSIM diversity and shapes, as records."""

from collections.abc import Iterator, Sequence
from typing import get_args

import numpy as np

from tumorgen.evaluation.groups import POOLED, Comparison, Group, Volumes
from tumorgen.metrics import ms_ssim, shape
from tumorgen.metrics.resampling import floor_of, half_splits, share_interval
from tumorgen.metrics.shape import Shape, plausible_share
from tumorgen.results.records import Floor, Record

_METRICS: dict[ms_ssim.Form, str] = {"standard": "ms_ssim_diversity", "paper": "ms_ssim_diversity_paper"}
_SMALLEST: dict[ms_ssim.Form, int] = {"standard": 6, "paper": 16}  # voxels a side that the scales need


def diversity_records(comparison: Comparison) -> Iterator[Record]:
    """MS-SSIM between generated volumes of a class, and between real ones of it as the floor; both forms."""
    for group in comparison.groups:
        if group.name == POOLED:  # the figure is one of a class
            continue
        for form in get_args(ms_ssim.Form):
            if comparison.real.roi_size >= _SMALLEST[form]:
                yield _diversity_record(comparison, group, form)


def shape_records(comparison: Comparison, generated: Sequence[Shape], real: Sequence[Shape]) -> Iterator[Record]:
    """Share of generated tumours inside the 5th to 95th percentile of all real ones of their class, per figure.

    Args:
        comparison: What is compared.
        generated: Of all generated volumes.
        real: Of all real volumes, whatever their part.
    """
    settings = comparison.settings
    classes = {name: index for index, name in enumerate(comparison.real.class_names)}
    for group in comparison.groups:
        cohort = [real[i] for i in comparison.real.indices(classes.get(group.name))]
        own = [generated[i] for i in group.generated.tolist()]
        shares = plausible_share(own, cohort, shape.FIGURES)
        single = [plausible_share([one], cohort, shape.FIGURES) for one in own]
        floors = _shape_floors(cohort, settings.seed, settings.splits)
        for figure, share in shares.items():
            inside = round(sum(one[figure] for one in single))
            yield Record(
                metric=f"shape_{figure}_share",
                value=share,
                definition=comparison.definition(
                    shape.definition(figure), {"real_volumes": "all"}, pooled=group.name == POOLED
                ),
                group=comparison.group(group.name),
                counts={"cohort": len(cohort), "generated": len(own)},
                interval=share_interval(inside, len(own)),
                floor=floors[figure],
            )


def _diversity_record(comparison: Comparison, group: Group, form: ms_ssim.Form) -> Record:
    settings = comparison.settings
    ours, theirs = (
        ms_ssim.diversity(Volumes(folder, positions), settings.pairs, settings.seed, form)
        for folder, positions in ((comparison.generated, group.generated), (comparison.real, group.real))
    )
    return Record(
        metric=_METRICS[form],
        value=ours.mean,
        definition=comparison.definition(ms_ssim.definition(form, comparison.real.roi_size)),
        group=comparison.group(group.name),
        counts={**group.counts, "pairs": ours.pairs, "real_pairs": theirs.pairs},
        interval=ours.interval(settings.seed, settings.resamples),
        floor=_diversity_floor(theirs, settings.seed, settings.splits),
        details={"sd": ours.sd, "sd_real": theirs.sd, "nan_pairs": ours.nan, "nan_pairs_real": theirs.nan},
    )


def _diversity_floor(real: ms_ssim.Diversity, seed: int, splits: int) -> Floor:
    """Mean MS-SSIM of the pairs that lie within a random half of the real volumes."""
    values = []
    for half, _ in half_splits(real.volumes, seed=seed, splits=splits):
        inside = np.isin(real.indices, half.numpy()).all(1) & ~np.isnan(real.values)
        if inside.any():
            values.append(float(real.values[inside].mean()))
    return floor_of(values or [float("nan")], real.volumes // 2)


def _shape_floors(cohort: Sequence[Shape], seed: int, splits: int) -> dict[str, Floor]:
    """Shares of a half of the real tumours inside the percentiles of the other half."""
    found = [
        plausible_share([cohort[i] for i in a], [cohort[i] for i in b], shape.FIGURES)
        for a, b in half_splits(len(cohort), seed=seed, splits=splits)
    ]
    return {figure: floor_of([shares[figure] for shares in found], len(cohort) // 2) for figure in found[0]}
