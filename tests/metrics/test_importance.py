"""The importance AUC against scikit-learn and a brute-force grid."""

import pytest
import torch
from sklearn.metrics import roc_auc_score

from tumorgen.metrics.importance import ImportanceAUC, importance_auc, tumour_tokens


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    x = torch.full((5, 1, 16, 16, 16), -1.0)
    for b in range(5):
        x[b, :, 3 : 6 + b, 2:9, 5 : 13 - b] = 0.4
    scores = torch.rand(5, 1, 4, 4, 4, generator=generator)
    scores += 0.3 * tumour_tokens(x, (4, 4, 4))
    return (scores * 10).round() / 13, x  # rounded: with ties


def test_tokens_inside_the_tumour_by_brute_force():
    x = torch.full((2, 1, 8, 4, 4), -1.0)
    x[0, 0, 3, 0, 3] = 0.5
    x[1, 0, 4:, 2:, 1] = -0.8
    found = tumour_tokens(x, (4, 2, 2))
    for b in range(2):
        for i in range(4):
            for j in range(2):
                for k in range(2):
                    cell = x[b, 0, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, 2 * k : 2 * k + 2]
                    assert bool(found[b, 0, i, j, k]) == bool((cell > -0.9).any())


def test_equals_scikit_learn(batch):
    scores, x = batch
    inside = tumour_tokens(x, (4, 4, 4))
    found = importance_auc(scores, x)
    expected = [roc_auc_score(inside[b].flatten(), scores[b].flatten()) for b in range(5)]
    assert 0.5 < min(expected) < max(expected) < 1
    assert found.tolist() == pytest.approx(expected, abs=1e-6)
    assert float(ImportanceAUC()(scores, x)) == pytest.approx(sum(expected) / 5, abs=1e-6)


def test_batches_and_ranks_do_not_matter(batch):
    scores, x = batch
    one, two = ImportanceAUC(), ImportanceAUC()
    one.update(scores[:1], x[:1])
    one.update(scores[1:2], x[1:2])
    two.update(scores[2:], x[2:])
    one.merge_state(two)
    assert float(one.compute()) == pytest.approx(float(ImportanceAUC()(scores, x)))


def test_extremes(batch):
    _, x = batch
    inside = tumour_tokens(x, (4, 4, 4)).float()
    assert float(ImportanceAUC()(inside, x)) == 1
    assert float(ImportanceAUC()(1 - inside, x)) == 0
    assert float(ImportanceAUC()(torch.full_like(inside, 0.3), x)) == 0.5


def test_volumes_without_either_kind_of_token_stay_out(batch):
    scores, x = batch
    expected = float(ImportanceAUC()(scores[2:], x[2:]))
    x[0], x[1] = -1, 0.5
    assert importance_auc(scores, x)[:2].isnan().all()
    assert float(ImportanceAUC()(scores, x)) == pytest.approx(expected)
    assert ImportanceAUC()(scores[:2], x[:2]).isnan()


def test_a_grid_that_does_not_divide_the_volume_is_refused():
    with pytest.raises(ValueError, match="does not divide"):
        tumour_tokens(torch.zeros(1, 1, 9, 8, 8), (4, 4, 4))
