"""Statistics of the benchmark against scikit-learn, SciPy, brute force and cases that can be counted by hand."""

import itertools

import numpy as np
import pytest
from scipy.stats import sem
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score, roc_auc_score

from tumorgen.benchmark.statistics import (
    FIGURES,
    Averaged,
    PairedBootstrap,
    Predictions,
    draw_patients,
    draw_seeds,
    figures,
    holm,
)


def predictions(fold=0, seed=0, n=40, shift=1.0, generator=None, patients=None, noise=None, decimals=2) -> Predictions:
    """Scores in (0, 1), with ties, of as many cases of both classes, `shift` standard deviations apart."""
    own = np.random.default_rng(fold)
    positive = own.permutation(np.arange(n) % 2 == 0)
    latent = own.normal(size=n) if noise is None else noise
    extra = 0 if generator is None else generator.normal(size=n)
    scores = 1 / (1 + np.exp(-(latent + extra + shift * (positive - 0.5))))
    names = patients or tuple(f"fold{fold}-p{index}" for index in range(n))
    return Predictions(fold, seed, tuple(names), positive, np.round(scores, decimals))


def once(run: Predictions) -> np.ndarray:
    return np.ones((1, len(run.patients)), dtype=np.int64)


def test_figures_equal_scikit_learn() -> None:
    run = predictions(n=51, decimals=1)
    positive, taken = run.positive, run.scores > 0.5
    expected = {
        "auc": roc_auc_score(positive, run.scores),
        "f1": f1_score(positive, taken),
        "accuracy": accuracy_score(positive, taken),
        "precision": precision_score(positive, taken),
        "recall": recall_score(positive, taken),
    }
    assert {name: values[0] for name, values in figures(run, once(run)).items()} == pytest.approx(expected)


def test_weighted_figures_equal_scikit_learn_on_repeated_cases() -> None:
    """Brute force: a case that was drawn three times is written down three times."""
    run = predictions(n=30, decimals=1)
    weights = draw_patients(run.patients, run.positive, 20, np.random.default_rng(1))
    found = figures(run, weights)
    for row, times in enumerate(weights):
        drawn = np.repeat(np.arange(30), times)
        positive, scores = run.positive[drawn], run.scores[drawn]
        assert found["auc"][row] == pytest.approx(roc_auc_score(positive, scores))
        assert found["f1"][row] == pytest.approx(f1_score(positive, scores > 0.5))
        assert found["precision"][row] == pytest.approx(precision_score(positive, scores > 0.5))


def test_by_hand() -> None:
    run = Predictions(0, 0, tuple("abcde"), np.array([1, 1, 1, 0, 0], bool), np.array([0.9, 0.6, 0.3, 0.6, 0.2]))
    found = {name: values[0] for name, values in figures(run, once(run)).items()}
    # 6 pairs: .9 wins twice, .6 wins once and ties once, .3 wins once; taken for positive: a, b, d
    expected = {"auc": 4.5 / 6, "f1": 4 / 6, "accuracy": 3 / 5, "precision": 2 / 3, "recall": 2 / 3}
    assert found == pytest.approx(expected)


def test_nothing_taken_for_positive() -> None:
    run = Predictions(0, 0, tuple("abcd"), np.array([1, 1, 0, 0], bool), np.array([0.4, 0.3, 0.2, 0.1]))
    found = {name: values[0] for name, values in figures(run, once(run)).items()}
    assert found == {"auc": 1.0, "f1": 0.0, "accuracy": 0.5, "precision": 0.0, "recall": 0.0}


def test_draws_keep_patients_together_and_classes_in_number() -> None:
    patients = ("a", "a", "b", "c", "d", "d", "d", "e")
    positive = np.array([1, 1, 1, 1, 0, 0, 0, 0], bool)
    weights = draw_patients(patients, positive, 500, np.random.default_rng(0))
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 4] == weights[:, 6]).all()
    assert (weights[:, [0, 2, 3]].sum(1) == 3).all()  # three positive patients are drawn, three times one of a, b, c
    assert (weights[:, [4, 7]].sum(1) == 2).all()
    assert weights[:, 0].mean() == pytest.approx(1, abs=0.15)


def test_patients_of_both_classes_are_drawn_among_themselves() -> None:
    patients, positive = ("a", "a", "b", "b", "c", "d"), np.array([1, 0, 1, 0, 1, 0], bool)
    weights = draw_patients(patients, positive, 100, np.random.default_rng(0))
    assert (weights[:, 0] + weights[:, 2] == 2).all()
    assert (weights[:, 4] == 1).all()
    assert (weights[:, 5] == 1).all()


def test_average_over_seeds_then_folds() -> None:
    runs = [
        predictions(fold, seed, generator=np.random.default_rng(10 * fold + seed))
        for fold, seed in [(0, 0), (0, 1), (1, 0)]
    ]
    averaged = PairedBootstrap(runs, 50).average(runs)
    single = [roc_auc_score(run.positive, run.scores) for run in runs]
    assert averaged["auc"].value == pytest.approx((np.mean(single[:2]) + single[2]) / 2)
    assert averaged["auc"].single == pytest.approx(single)
    assert averaged["auc"].sd == pytest.approx(np.std(single, ddof=1))
    assert set(averaged) == set(FIGURES)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_drawn_seeds_vary_as_averages_of_runs_do(seeds: int) -> None:
    """The variance of drawn averages is the unbiased one of the mean, s² / n, as SciPy computes it."""
    weights = draw_seeds(seeds, 100_000, np.random.default_rng(0))
    assert weights.sum(1) == pytest.approx(1)
    qualities = np.random.default_rng(1).normal(size=seeds)
    assert (weights @ qualities).mean() == pytest.approx(qualities.mean(), abs=0.01)
    assert (weights @ qualities).std() == pytest.approx(sem(qualities), rel=0.01)


def test_a_single_seed_is_always_drawn() -> None:
    assert draw_seeds(1, 7, np.random.default_rng(0)).tolist() == [[1.0]] * 7


def test_interval_equals_all_possible_draws() -> None:
    """Brute force: with 3 + 3 patients, the 27 x 27 draws can all be written down."""
    run = Predictions(
        0, 0, tuple("abcdef"), np.array([1, 1, 1, 0, 0, 0], bool), np.array([0.9, 0.7, 0.4, 0.8, 0.3, 0.2])
    )
    values = [
        roc_auc_score([1, 1, 1, 0, 0, 0], np.concatenate([run.scores[list(one)], run.scores[list(other)]]))
        for one in itertools.product((0, 1, 2), repeat=3)
        for other in itertools.product((3, 4, 5), repeat=3)
    ]
    auc = PairedBootstrap([run], 10_000).average([run])["auc"]
    assert auc.draws.mean() == pytest.approx(np.mean(values), abs=0.005)
    assert auc.draws.std() == pytest.approx(np.std(values), abs=0.005)
    assert auc.interval == pytest.approx(tuple(np.quantile(values, (0.025, 0.975))), abs=0.06)


def test_interval_equals_all_possible_draws_of_patients_and_seeds() -> None:
    """Brute force: of three runs two are drawn, 9 ways, times the 4 x 4 draws of 2 + 2 patients."""
    positive, names = np.array([1, 1, 0, 0], bool), tuple("abcd")
    scores = np.array([[0.9, 0.4, 0.3, 0.1], [0.2, 0.6, 0.5, 0.3], [0.8, 0.7, 0.9, 0.1]])
    runs = [Predictions(0, seed, names, positive, row) for seed, row in enumerate(scores)]
    values = [
        np.mean([roc_auc_score([1, 1, 0, 0], scores[seed][[*one, *other]]) for seed in seeds])
        for one in itertools.product((0, 1), repeat=2)
        for other in itertools.product((2, 3), repeat=2)
        for seeds in itertools.product((0, 1, 2), repeat=2)
    ]
    auc = PairedBootstrap(runs, 20_000).average(runs)["auc"]
    assert auc.draws.mean() == pytest.approx(np.mean(values), abs=0.005)
    assert auc.draws.std() == pytest.approx(np.std(values), abs=0.005)


def test_paired_difference_equals_brute_force() -> None:
    """Arms are compared on the same patients and seeds: here the draws are replayed case by case with scikit-learn."""
    first = [
        predictions(fold, seed, shift=2, generator=np.random.default_rng(seed)) for fold in (0, 1) for seed in (0, 1, 4)
    ]
    second = [
        predictions(fold, seed, shift=1, generator=np.random.default_rng(9 + seed))
        for fold in (1, 0)
        for seed in (4, 0, 1)
    ]
    bootstrap = PairedBootstrap(first, resamples=30, seed=3)
    difference = bootstrap.average(first)["auc"].minus(bootstrap.average(second)["auc"])
    assert bootstrap.seeds == {0: [0, 1, 4], 1: [0, 1, 4]}
    assert not np.array_equal(bootstrap.seed_weights[0], bootstrap.seed_weights[1])
    for draw in range(30):
        folds = []
        for fold in (0, 1):
            drawn = np.repeat(np.arange(40), bootstrap.weights[fold][draw])
            share = dict(zip((0, 1, 4), bootstrap.seed_weights[fold][draw], strict=True))
            auc = [
                sum(
                    share[run.seed] * roc_auc_score(run.positive[drawn], run.scores[drawn])
                    for run in runs
                    if run.fold == fold
                )
                for runs in (first, second)
            ]
            folds.append(auc[0] - auc[1])
        assert difference.draws[draw] == pytest.approx(np.mean(folds))


def test_pairing_narrows_the_interval() -> None:
    shared = np.random.default_rng(5).normal(size=40)
    one = predictions(noise=shared, shift=1.0, decimals=6)
    other = predictions(noise=shared + 0.1 * np.random.default_rng(6).normal(size=40), shift=1.0, decimals=6)
    bootstrap = PairedBootstrap([one], 1000)
    low, high = bootstrap.average([one])["auc"].minus(bootstrap.average([other])["auc"]).interval
    own_low, own_high = bootstrap.average([one])["auc"].interval
    assert high - low < 0.4 * (own_high - own_low)


def test_equal_arms_differ_by_nothing() -> None:
    run = predictions()
    bootstrap = PairedBootstrap([run], 100)
    difference = bootstrap.average([run])["auc"].minus(bootstrap.average([run])["auc"])
    assert (difference.value, difference.interval, difference.p_value) == (0.0, (0.0, 0.0), 1.0)


def test_p_value_by_hand() -> None:
    def p(draws: list[float]) -> float:
        return Averaged(0.0, np.array(draws), np.zeros(1)).p_value

    assert p([0.1] * 99) == pytest.approx(2 / 100)  # none of 99 below zero, and never 0
    assert p([-0.1] * 4 + [0.1] * 95) == pytest.approx(2 * 5 / 100)
    assert p([0.1] * 4 + [-0.1] * 95) == pytest.approx(2 * 5 / 100)
    assert p([-0.1] * 50 + [0.1] * 49) == 1.0


def test_holm_by_hand() -> None:
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert found == pytest.approx({"d": 0.02, "a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_holm_rejects_what_the_step_down_procedure_rejects() -> None:
    """Brute force: Holm's own procedure, smallest p against alpha/m first, until one fails."""
    generator = np.random.default_rng(0)
    for _ in range(100):
        values = dict(zip("abcdef", generator.uniform(0, 0.06, 6), strict=True))
        rejected = set()
        for rank, name in enumerate(sorted(values, key=values.__getitem__)):
            if values[name] > 0.05 / (6 - rank):
                break
            rejected.add(name)
        assert {name for name, p in holm(values).items() if p <= 0.05} == rejected


def test_other_test_cases_folds_and_seeds_are_refused() -> None:
    run = predictions(n=20)
    bootstrap = PairedBootstrap([run], 10)
    with pytest.raises(ValueError, match="different cases"):
        bootstrap.average([Predictions(0, 0, run.patients, ~run.positive, run.scores)])
    others = [(1, 0)], [(0, 1)], [(0, 0), (0, 0)], [(0, 0), (0, 1)], []
    for runs in others:
        with pytest.raises(ValueError, match=r"expected \[\(0, 0\)\]"):
            bootstrap.average([Predictions(*where, run.patients, run.positive, run.scores) for where in runs])
