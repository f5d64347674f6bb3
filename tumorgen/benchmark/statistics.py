"""What the test cases say of an arm: figures with intervals, paired differences with p-values, Holm's correction.

Two things are drawn again in every fold: its test patients, within classes, and the seeds of its training runs. All arms see
the same draw of both, so differences are paired. Intervals tell how far other patients and other training runs would have
changed the result, as far as so many runs can tell. With one seed there is nothing to draw: intervals then are conditional on
that one network per fold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

FIGURES = ("auc", "f1", "accuracy", "precision", "recall")
THRESHOLD = 0.5
"""Probability of the positive class above which a case is taken for positive."""


@dataclass(frozen=True)
class Predictions:
    """What one trained classifier says of the test cases of its fold.

    Attributes:
        fold: The fold.
        seed: Seed of the training.
        patients: Patient of every case.
        positive: (n,) whether a case is of the positive class.
        scores: (n,) probability of the positive class.
    """

    fold: int
    seed: int
    patients: tuple[str, ...]
    positive: Bool[np.ndarray, " n"]
    scores: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class Averaged:
    """A figure averaged over folds and seeds.

    Attributes:
        value: The average.
        draws: (resamples,) the same average over drawn patients and seeds.
        single: (folds x seeds,) the figure of every training run, by fold and seed.
    """

    value: float
    draws: Float[np.ndarray, " resamples"]
    single: Float[np.ndarray, " runs"]

    @property
    def interval(self) -> tuple[float, float]:
        """2.5th and 97.5th percentile of the draws."""
        low, high = np.quantile(self.draws, (0.025, 0.975))
        return float(low), float(high)

    @property
    def sd(self) -> float:
        """Standard deviation over training runs (n - 1); NaN for a single one."""
        return float(self.single.std(ddof=1)) if len(self.single) > 1 else float("nan")

    def minus(self, other: "Averaged") -> "Averaged":
        """The paired difference: both sides saw the same patients and seeds, draw by draw and run by run."""
        return Averaged(self.value - other.value, self.draws - other.draws, self.single - other.single)

    @property
    def p_value(self) -> float:
        """Two-sided p-value of a difference being zero: twice the smaller share of draws on either side of it.

        Draws of exactly zero count for both sides, and one draw is added to each, so that p is never 0 (Davison and Hinkley
        1997, Bootstrap Methods and their Application, section 4.4).
        """
        below, above = int((self.draws <= 0).sum()), int((self.draws >= 0).sum())
        return min(1.0, 2 * (1 + min(below, above)) / (1 + len(self.draws)))


class PairedBootstrap:
    """One set of draws of test patients and seeds, which all arms share.

    Args:
        runs: Training runs of one arm: their seeds and their folds' test cases are those of every arm.
        resamples: Number of draws.
        seed: Of the draws.

    Attributes:
        seeds: By fold: the seeds of its runs, sorted.
    """

    def __init__(self, runs: Sequence[Predictions], resamples: int = 2000, seed: int = 0) -> None:
        self.resamples, self.seed = resamples, seed
        self._cases = {run.fold: (run.patients, run.positive) for run in sorted(runs, key=lambda run: run.fold)}
        self.seeds = {fold: sorted(run.seed for run in runs if run.fold == fold) for fold in self._cases}

    @cached_property
    def weights(self) -> dict[int, Int[np.ndarray, "resamples n"]]:
        """By fold: how often each case is in each draw."""
        return {
            fold: draw_patients(patients, positive, self.resamples, np.random.default_rng((self.seed, fold)))
            for fold, (patients, positive) in self._cases.items()
        }

    @cached_property
    def seed_weights(self) -> dict[int, Float[np.ndarray, "resamples seeds"]]:
        """By fold: the share of each seed in each draw, 1 in all."""
        return {
            fold: draw_seeds(len(seeds), self.resamples, np.random.default_rng((self.seed, fold, 1)))
            for fold, seeds in self.seeds.items()
        }

    def average(self, runs: Sequence[Predictions]) -> dict[str, Averaged]:
        """Figures of an arm, first averaged over the seeds of a fold, then over folds.

        Raises:
            ValueError: The runs are of other folds or seeds, or were tested on other cases, than those that are drawn.
        """
        runs = sorted(runs, key=lambda run: (run.fold, run.seed))
        found = [(run.fold, run.seed) for run in runs]
        if found != (expected := [(fold, seed) for fold, seeds in self.seeds.items() for seed in seeds]):
            raise ValueError(f"runs of the (folds, seeds) {found}, expected {expected}")
        single: dict[str, list[float]] = {name: [] for name in FIGURES}
        value = dict.fromkeys(FIGURES, 0.0)
        draws = {name: np.zeros(self.resamples) for name in FIGURES}
        for run in runs:
            patients, positive = self._cases[run.fold]
            if run.patients != patients or not np.array_equal(run.positive, positive):
                raise ValueError(f"fold {run.fold}: runs were tested on different cases")
            position = self.seeds[run.fold].index(run.seed)
            drawn = figures(run, self.weights[run.fold])
            for name, (as_tested,) in figures(run, np.ones((1, len(patients)), dtype=np.int64)).items():
                single[name].append(float(as_tested))
                value[name] += float(as_tested) / len(self.seeds[run.fold]) / len(self.seeds)
                draws[name] += drawn[name] * self.seed_weights[run.fold][:, position] / len(self.seeds)
        return {name: Averaged(value[name], draws[name], np.array(single[name])) for name in FIGURES}


def draw_seeds(seeds: int, resamples: int, generator: np.random.Generator) -> Float[np.ndarray, "resamples seeds"]:
    """The share of each seed in each draw of seeds with replacement; a single seed is always there.

    One fewer are drawn than there are: so the variance of drawn averages is that of an average of so many runs without bias,
    which matters with two or three of them (Rao and Wu 1988, Resampling Inference with Complex Survey Data, section 3).
    """
    if seeds == 1:
        return np.ones((resamples, 1))
    drawn: Int[np.ndarray, "resamples seeds"] = generator.multinomial(seeds - 1, np.full(seeds, 1 / seeds), resamples)
    return drawn / (seeds - 1)


def draw_patients(
    patients: Sequence[str], positive: Bool[np.ndarray, " n"], resamples: int, generator: np.random.Generator
) -> Int[np.ndarray, "resamples n"]:
    """How often each case is in each draw of patients with replacement, as many of each class as there are.

    A patient's cases stay together. Patients with cases of both classes are drawn among themselves.
    """
    classes: dict[str, set[bool]] = {}
    for patient, is_positive in zip(patients, positive, strict=True):
        classes.setdefault(patient, set()).add(bool(is_positive))
    weights = np.zeros((resamples, len(patients)), dtype=np.int64)
    for stratum in sorted({tuple(sorted(found)) for found in classes.values()}):
        members = sorted(patient for patient, found in classes.items() if tuple(sorted(found)) == stratum)
        times = generator.multinomial(len(members), np.full(len(members), 1 / len(members)), size=resamples)
        column = {patient: index for index, patient in enumerate(members)}
        for case, patient in enumerate(patients):
            if patient in column:
                weights[:, case] = times[:, column[patient]]
    return weights


def figures(run: Predictions, weights: Int[np.ndarray, "resamples n"]) -> dict[str, Float[np.ndarray, " resamples"]]:
    """AUC, F1, accuracy, precision and recall of the positive class, with cases counted as often as `weights` says.

    Precision is 0 where nothing is taken for positive; F1 then is 0, too.
    """
    taken = run.scores > THRESHOLD
    hits = (weights[:, run.positive & taken]).sum(1)
    called, existing, right = (
        weights[:, taken].sum(1),
        weights[:, run.positive].sum(1),
        weights[:, taken == run.positive].sum(1),
    )
    return {
        "auc": _auc(run, weights),
        "f1": 2 * hits / np.maximum(called + existing, 1),
        "accuracy": right / weights.sum(1),
        "precision": hits / np.maximum(called, 1),
        "recall": hits / np.maximum(existing, 1),
    }


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values corrected for their number (Holm 1979, A simple sequentially rejective multiple test procedure).

    Args:
        p_values: By name of the comparison.

    Returns:
        Corrected ones by the same names, at most 1: those below a level may be rejected together at that level.
    """
    corrected: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, (len(p_values) - rank) * p_values[name])
        corrected[name] = min(1.0, largest)
    return {name: corrected[name] for name in p_values}


def _auc(run: Predictions, weights: Int[np.ndarray, "resamples n"]) -> Float[np.ndarray, " resamples"]:
    """Share of (positive, negative) pairs in the right order, ties as halves (Mann and Whitney's statistic)."""
    one, other = run.scores[run.positive][:, None], run.scores[~run.positive][None]
    in_order = (one > other) + 0.5 * (one == other)
    pairs = weights[:, run.positive].sum(1) * weights[:, ~run.positive].sum(1)
    won = ((weights[:, run.positive] @ in_order) * weights[:, ~run.positive]).sum(1)
    return won / pairs
