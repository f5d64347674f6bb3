"""How often the benchmark's statistics find what is not there, and what is, in simulated cohorts."""

import numpy as np
import pytest

from tumorgen.benchmark.statistics import PairedBootstrap, Predictions


@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_false_alarms_are_as_rare_as_promised_and_effects_are_found(shift: float) -> None:
    """Two arms that are equally good differ significantly (0.05) in few of 80 cohorts; one that is better, in most."""
    generator, alarms = np.random.default_rng(0), 0
    positive = np.arange(60) % 2 == 0
    for _ in range(80):
        easy = generator.normal(size=60)
        runs = [
            Predictions(
                0, 0, tuple(map(str, range(60))), positive, easy + generator.normal(size=60) + (1 + gain) * positive
            )
            for gain in (0.0, shift)
        ]
        bootstrap = PairedBootstrap(runs[:1], 400)
        difference = bootstrap.average(runs[1:])["auc"].minus(bootstrap.average(runs[:1])["auc"])
        alarms += difference.p_value < 0.05
    assert alarms <= 9 if shift == 0 else alarms >= 76


def alarms(seeds: int, quality: float, gain: float = 0.0, cohorts: int = 150) -> float:
    """Share of cohorts in which two arms differ significantly (0.05), their runs being of a `quality` of their own."""
    generator, found = np.random.default_rng(0), 0
    positive, names = np.arange(60) % 2 == 0, tuple(map(str, range(60)))
    for _ in range(cohorts):
        easy, arms = generator.normal(size=60), []
        for more in (0.0, gain):
            shifts = 1 + more + quality * generator.normal(size=seeds)
            noise = generator.normal(size=(seeds, 60))
            runs = enumerate(easy + noise + shifts[:, None] * positive)
            arms.append([Predictions(0, seed, names, positive, scores) for seed, scores in runs])
        bootstrap = PairedBootstrap(arms[0], 300)
        found += bootstrap.average(arms[1])["auc"].minus(bootstrap.average(arms[0])["auc"]).p_value < 0.05
    return found / cohorts


@pytest.mark.parametrize(("seeds", "most"), [(2, 0.15), (3, 0.12), (5, 0.08)])
def test_runs_that_differ_by_luck_are_not_taken_for_better_arms(seeds: int, most: float) -> None:
    """With patients drawn alone, every third of these benchmarks would raise an alarm."""
    assert alarms(seeds, quality=0.6) <= most


def test_effects_are_found_although_runs_differ_by_luck() -> None:
    assert alarms(3, quality=0.3, gain=2.0, cohorts=60) >= 0.9


def test_one_network_says_nothing_of_others() -> None:
    """What tables say below: with one seed, intervals are conditional on that one network."""
    assert alarms(1, quality=0.6) > 0.15


def test_control_that_learns_nothing_is_not_found_better_than_real_only() -> None:
    """What has to hold of the benchmark's negative control, in the statistics alone."""
    generator, reaches = np.random.default_rng(1), 0
    positive = np.arange(60) % 2 == 0
    for _ in range(40):
        runs = [
            Predictions(0, seed, tuple(map(str, range(60))), positive, generator.normal(size=60) + 2 * positive)
            for seed in range(4)
        ]
        bootstrap = PairedBootstrap(runs[:2], 400)
        control = [Predictions(0, run.seed - 2, run.patients, run.positive, run.scores) for run in runs[2:]]
        low, _ = bootstrap.average(control)["auc"].minus(bootstrap.average(runs[:2])["auc"]).interval
        reaches += low <= 0
    assert reaches >= 36
    better = [Predictions(0, seed, runs[0].patients, positive, positive + 0.0) for seed in (0, 1)]
    low, _ = bootstrap.average(better)["auc"].minus(bootstrap.average(runs[:2])["auc"]).interval
    assert low > 0  # the same rule finds a leak
