"""Precision, recall, density and coverage against loops over Naeem et al.'s equations, and their known expectations."""

import numpy as np
import pytest
import torch

from tumorgen.metrics.manifold import Manifold, definition, distances, manifold


def normal(n, width=5, seed=0):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed)).double()


def brute_force(generated, real, k):
    """Equations 1, 2, 3 and 5 of Naeem et al. 2020, case by case."""

    def radius(cases, i):
        return sorted(float((cases[i] - other).norm()) for j, other in enumerate(cases) if j != i)[k - 1]

    in_real = [[float((x - y).norm()) < radius(real, i) for i, y in enumerate(real)] for x in generated]
    in_generated = [[float((x - y).norm()) < radius(generated, j) for j, x in enumerate(generated)] for y in real]
    return Manifold(
        precision=np.mean([any(row) for row in in_real]),
        recall=np.mean([any(row) for row in in_generated]),
        density=sum(map(sum, in_real)) / (k * len(generated)),
        coverage=np.mean([any(row[i] for row in in_real) for i in range(len(real))]),
    )


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("numbers", [(12, 9), (9, 20)])
def test_equals_brute_force(k, numbers):
    generated, real = 0.7 * normal(numbers[0]) + 0.8, normal(numbers[1], seed=1)
    found = manifold(distances(generated, real), k)
    assert found == pytest.approx(brute_force(generated, real, k))
    assert len(set(found)) > 1


def test_by_hand_on_a_line():
    real = torch.tensor([[0.0], [1.0], [3.0]])  # radii 1, 1, 2 at k = 1
    generated = torch.tensor([[0.5], [2.0], [9.0]])  # radii 1.5, 1.5, 7
    found = manifold(distances(generated, real), k=1)
    # 0.5 lies in the balls of 0 and 1; 2 on the surface of that of 1 and inside that of 3; 9 in none
    assert found == pytest.approx((2 / 3, 1.0, 3 / 3, 3 / 3))


def test_a_copied_set_covers_everything():
    real = normal(30)
    found = manifold(distances(real.clone(), real))
    assert found[:2] == (1, 1)
    assert found.coverage == 1
    assert found.density >= 1


def test_far_away_is_nowhere():
    assert manifold(distances(normal(20) + 100, normal(20, seed=1))) == (0, 0, 0, 0)


def test_one_far_real_case_inflates_precision_more_than_density():
    real, generated = normal(60), 4 * normal(60, seed=1)
    clean = manifold(distances(generated, real))
    with_outlier = manifold(distances(generated, torch.cat([real, torch.full((1, 5), 6.0)])))
    assert with_outlier.precision - clean.precision > 3 * (with_outlier.density - clean.density) > 0


def test_expectations_for_one_distribution():
    """E[density] = 1, and E[coverage] = 1 - prod (n - i) / (m + n - i), i = 1..k (Naeem et al., lemma 2)."""
    m, n, k = 50, 40, 5
    found = [manifold(distances(normal(m, seed=2 * s), normal(n, seed=2 * s + 1)), k) for s in range(100)]
    coverage = 1 - np.prod([(n - i) / (m + n - i) for i in range(1, k + 1)])
    assert np.mean([f.density for f in found]) == pytest.approx(1, abs=0.05)
    assert np.mean([f.coverage for f in found]) == pytest.approx(coverage, abs=0.01)


def test_parts_of_distances_are_distances_of_parts():
    generated, real = normal(12), normal(15, seed=1)
    a, b = torch.tensor([0, 3, 4, 7, 8, 9]), torch.tensor([7, 2, 1, 0, 11, 12, 14])
    whole = distances(generated, real)
    assert manifold(whole.select(a, b), 2) == manifold(distances(generated[a], real[b]), 2)
    assert manifold(whole.real_halves(a, b), 2) == manifold(distances(real[a], real[b]), 2)


def test_equal_cases_have_a_distance_of_exactly_zero():
    rows = 1000 + normal(6, 300).float()
    assert distances(rows, rows.clone()).between.diagonal().tolist() == [0] * 6


def test_too_few_cases_for_k_are_refused():
    with pytest.raises(ValueError, match="5 cases have no 5th neighbour; at least 6"):
        manifold(distances(normal(9), normal(5)))


def test_definition_states_k():
    assert definition("density")["k"] == 5
    assert definition("recall", 3)["k"] == 3
