"""Multi-scale structural similarity: how alike two generated volumes are (diversity), or a volume and its reconstruction.

The two uses have names of their own, `ms_ssim_diversity` and `ms_ssim_fidelity`, and are never compared. Source of the measure:
Wang, Simoncelli, Bovik (Asilomar 2003). Source of the form `paper`: the 3D evaluation of Kwon, Han, Kim, "Generation of 3D
brain MRI using auto-encoding generative adversarial networks" (MICCAI 2019), as its definition is run.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tumorgen.metrics.metric import Group, Measure, Metric, Real, Volumes, at_least_one, groups, joined
from tumorgen.metrics.resampling import floor_of, half_splits
from tumorgen.metrics.ssim import Image, Recipe, Terms, terms, weighted_terms
from tumorgen.results.records import POOLED, Floor, Interval, Record
from tumorgen.types import Volume

Form: TypeAlias = Literal["standard", "paper"]
PerPair = Float[Tensor, " batch"]

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
DATA_RANGE = 2.0
LEAST_SIZE = 6
SMALLEST: dict[Form, int] = {"standard": LEAST_SIZE, "paper": 2 ** (len(WEIGHTS) - 1)}
"""Voxels a side that the scales need."""
PAPER = Recipe(taps=13, sigma=1.5, weights=WEIGHTS, data_range=1.0, whole_windows=False)
_TAPS, _SIGMA = 11, 1.5


def scales_for(size: int) -> Recipe:
    """Window and scales of the standard form for volumes whose shortest side has `size` voxels.

    11 taps with sigma 1.5 on as many scales as hold a whole window, at most five: 176 voxels for five, 88 for four, 44 for
    three, 22 for two. Smaller volumes get a window of at most half of their side, sigma in proportion, on two scales. The
    weights of the scales in use are divided by their sum.

    Raises:
        ValueError: `size` is below 6 voxels: no window of three taps fits on two scales.
    """
    if size < LEAST_SIZE:
        raise ValueError(f"MS-SSIM needs volumes of at least {LEAST_SIZE} voxels per side, not {size}")
    taps = min(_TAPS, (size // 2 - 1) // 2 * 2 + 1)
    scales = max(n for n in range(1, len(WEIGHTS) + 1) if size // 2 ** (n - 1) >= taps)
    scales = scales if taps == _TAPS else 2
    weights = tuple(weight / sum(WEIGHTS[:scales]) for weight in WEIGHTS[:scales])
    return Recipe(taps, _SIGMA * taps / _TAPS, weights, DATA_RANGE, whole_windows=True)


def ms_ssim(x: Volume, y: Volume, recipe: Recipe | None = None) -> PerPair:
    """MS-SSIM of pairs of volumes in [-1, 1], data range 2; 0 to 1, a negative mean term counts as 0.

    Equals `monai.metrics.MultiScaleSSIMMetric` at equal settings.

    Args:
        x: Volumes.
        y: As many others.
        recipe: Window and scales; None chooses them by size.
    """
    recipe = recipe or scales_for(min(x.shape[2:]))
    return torch.stack([_standard(terms(a, b, recipe), recipe) for a, b in zip(x, y, strict=True)])


def ms_ssim_paper(x: Volume, y: Volume) -> PerPair:
    """MS-SSIM of pairs of volumes in [-1, 1] as published tables have it: comparable with these, otherwise not right.

    Five scales, a Gaussian of sigma 1.5 and 13 taps with reflected border, constants of data range 1 although the data's is
    2; each of the first four contrast terms is multiplied by the last SSIM term, which so counts four times. A negative mean
    term makes a pair NaN: count those.

    Raises:
        ValueError: A side is shorter than 16 voxels.
    """
    if min(x.shape[2:]) < SMALLEST["paper"]:
        raise ValueError(
            f"five scales need volumes of at least {SMALLEST['paper']} voxels per side, not {tuple(x.shape[2:])}"
        )
    pairs = [terms(a, b, PAPER) for a, b in zip(x, y, strict=True)]
    weights = x.new_tensor(WEIGHTS, dtype=torch.float32)
    return torch.stack([(c ** weights[:-1] * s ** weights[-1]).prod() for c, s in pairs])


def ms_ssim_fidelity(
    x: Volume, x_hat: Volume, mask: Float[Tensor, "batch channel D H W"] | Tensor
) -> tuple[PerPair, PerPair]:
    """MS-SSIM between volumes and their reconstructions, whole and inside the tumour; data range 2, scales by size.

    Inside the tumour the maps of every scale are averaged over the mask, the voxels of coarser scales weighted by the share
    of tumour in them; windows that reach over the volume's border are reflected there. NaN where the mask is empty.
    """
    recipe = scales_for(min(x.shape[2:]))
    both = [weighted_terms(*parts, recipe) for parts in zip(x, x_hat, mask, strict=True)]
    whole, inside = (torch.stack([_standard(pair[i], recipe) for pair in both]) for i in range(2))
    return whole, inside


def _standard(found: Terms, recipe: Recipe) -> Tensor:
    values = torch.cat([found.contrast, found.ssim[None]]).relu()
    return (values ** values.new_tensor(recipe.weights)).prod()


@dataclass(frozen=True)
class Diversity:
    """MS-SSIM of random pairs of volumes of one class: the lower its mean, the more they differ.

    Attributes:
        values: MS-SSIM of every pair; NaN where the form `paper` does not define it.
        indices: The two volumes of every pair.
        volumes: Number of volumes that pairs were drawn from.
    """

    values: Float[np.ndarray, " pairs"]
    indices: Int[np.ndarray, "pairs 2"]
    volumes: int

    @property
    def pairs(self) -> int:
        """Number of pairs, those that are NaN included."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """Mean over the pairs that are not NaN; NaN without any."""
        return _mean(self.values)

    @property
    def sd(self) -> float:
        """Standard deviation over the pairs that are not NaN, dividing by their number less one."""
        known = self.values[~np.isnan(self.values)]
        return float(known.std(ddof=1)) if len(known) > 1 else math.nan

    @property
    def nan(self) -> int:
        """Number of pairs for which the form `paper` gives NaN."""
        return int(np.isnan(self.values).sum())

    def interval(self, seed: int = 0, resamples: int = 1000, level: float = 0.95) -> Interval:
        """Percentile bootstrap interval of the mean over VOLUMES: pairs share volumes and are not independent.

        A volume that is drawn k times gives its pairs k-fold weight (a pair: the product of both). Source: Owen, "The
        pigeonhole bootstrap" (Annals of Applied Statistics 2007), which is on the wide side when pairs are few.
        """
        method = f"percentile bootstrap over volumes (pigeonhole), {resamples} resamples"
        known = ~np.isnan(self.values)
        drawn = np.random.default_rng(seed).multinomial(
            self.volumes, np.full(self.volumes, 1 / self.volumes), resamples
        )
        weights = drawn[:, self.indices[known, 0]] * drawn[:, self.indices[known, 1]]
        totals = weights.sum(1)
        means = (weights @ self.values[known])[totals > 0] / totals[totals > 0]
        low, high = np.percentile(means, [50 * (1 - level), 50 * (1 + level)]) if len(means) else (math.nan, math.nan)
        return Interval(float(low), float(high), method, level)


def diversity(
    volumes: Sequence[Image] | Volume, pairs: int = 1000, seed: int = 0, form: Form = "standard"
) -> Diversity:
    """MS-SSIM of random distinct pairs of different volumes.

    Args:
        volumes: Volumes (channel, D, H, W) in [-1, 1] of one class; read one by one, two are held at a time.
        pairs: Pairs to draw; all there are when they are fewer.
        seed: Of the pairs.
        form: `standard` or `paper`.

    Raises:
        ValueError: Fewer than two volumes.
    """
    chosen = draw_pairs(len(volumes), pairs, seed)
    similarity = ms_ssim_paper if form == "paper" else ms_ssim
    values, held, first = [], 0, volumes[0]
    for i, j in chosen.tolist():
        if i != held:
            held, first = i, volumes[i]
        values.append(float(similarity(first[None], volumes[j][None])))
    return Diversity(np.array(values), chosen, len(volumes))


def draw_pairs(volumes: int, pairs: int, seed: int) -> Int[np.ndarray, "pairs 2"]:
    """Pairs (i, j), i < j, each at most once, sorted; all of them where there are no more than asked for.

    Raises:
        ValueError: Fewer than two volumes.
    """
    if volumes < 2:
        raise ValueError(f"diversity needs at least two volumes, not {volumes}")
    total = volumes * (volumes - 1) // 2
    numbers = np.sort(np.random.default_rng(seed).choice(total, min(pairs, total), replace=False, shuffle=False))
    starts = np.concatenate([[0], np.cumsum(np.arange(volumes - 1, 0, -1))])  # number of the first pair of every i
    first = np.searchsorted(starts, numbers, side="right") - 1
    return np.stack([first, numbers - starts[first] + first + 1], axis=1)


def definition(form: Form, size: int) -> dict[str, Any]:
    """What the mean over pairs of volumes of one class means, as JSON types.

    Args:
        form: `standard` or `paper`.
        size: Voxels along the shortest side.
    """
    recipe = PAPER if form == "paper" else scales_for(size)
    border = "windows inside the volume only" if recipe.whole_windows else "reflected, d c b a | a b c d"
    return {
        "title": "MS-SSIM diversity, published" if form == "paper" else "MS-SSIM diversity",
        "recipe": _RECIPES[form],
        "use": "mean over random distinct pairs of different volumes of one class; lower is more diverse, to be held "
        "against pairs of real volumes",
        "window": f"Gaussian, {recipe.taps} taps, sigma {recipe.sigma:.4g} voxels, population statistics",
        "border": border,
        "scales": len(recipe.weights),
        "weights": [round(weight, 6) for weight in recipe.weights],
        "pooling": "means of 2x2x2 voxels",
        "data_range": recipe.data_range,
        "range": "[-1, 1]",
        "size": size,
        "unit": "1",
        "better": "real",
    }


_RECIPES = {
    "standard": "MS-SSIM: product of mean contrast terms and the last mean SSIM, each to the power of its scale's weight; "
    "negative means count as 0",
    "paper": "product over the first four scales of (mean contrast ^ weight) * (last mean SSIM ^ last weight): the last SSIM "
    "counts four times; negative means give NaN; constants of data range 1 although data are in [-1, 1]",
}


class MSSSIMDiversity(Metric):
    """`ms_ssim_diversity` of every class: MS-SSIM between generated volumes, with that between real ones as the floor.

    Args:
        form: `standard`, or `paper`, whose records are called `ms_ssim_diversity_paper`.
        pairs: Pairs of volumes of a class; all there are where those are fewer. 1000 in the original.
    """

    def __init__(self, form: Form = "standard", pairs: int = 500) -> None:
        at_least_one("pairs", pairs)
        self.form, self.pairs = form, pairs

    def prepare(self, real: Real) -> Measure:
        """MS-SSIM of real pairs; none of volumes that are too small for the scales."""
        if not len(real.compared) or real.compared.side < SMALLEST[self.form]:
            return joined([])
        how, described = real.resampling, definition(self.form, real.compared.side)

        def taken(volumes: Volumes) -> Diversity:
            return diversity(volumes, self.pairs, how.seed, self.form)

        @cache
        def theirs(label: int) -> Diversity:
            return taken(real.compared.of_class(label))

        def record(group: Group) -> Record:
            ours, known = taken(group.generated), theirs(*group.classes)
            return Record(
                metric="ms_ssim_diversity" if self.form == "standard" else "ms_ssim_diversity_paper",
                value=ours.mean,
                definition=described,
                group={"class": group.name},
                counts={**group.counts, "pairs": ours.pairs, "real_pairs": known.pairs},
                interval=ours.interval(how.seed, how.resamples),
                floor=group.floor(lambda: _floor(known, how.seed, how.splits)),
                details={"sd": ours.sd, "sd_real": known.sd, "nan_pairs": ours.nan, "nan_pairs_real": known.nan},
            )

        return lambda generated: [record(group) for group in groups(real, generated) if group.name != POOLED]


def _floor(real: Diversity, seed: int, splits: int) -> Floor:
    """Mean MS-SSIM of the pairs that lie within a random half of the real volumes."""
    values = []
    for half, _ in half_splits(real.volumes, seed=seed, splits=splits):
        inside = np.isin(real.indices, half.numpy()).all(1) & ~np.isnan(real.values)
        if inside.any():
            values.append(float(real.values[inside].mean()))
    return floor_of(values or [math.nan], real.volumes // 2)


def _mean(values: Float[np.ndarray, " pairs"]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan
