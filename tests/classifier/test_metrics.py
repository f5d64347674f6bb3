"""The figures of a classifier against scikit-learn, and on two ranks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from front import ROOT
from sklearn.metrics import accuracy_score, f1_score, log_loss, precision_score, recall_score, roc_auc_score
from torch import Tensor

from tumorgen.classifier.metrics import GradeMetrics, metrics_of, selection_score


def cases(n: int = 11, classes: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    logits = torch.randn(n, classes, generator=generator) + torch.nn.functional.one_hot(labels, classes)
    return (4 * logits).round() / 4, labels  # rounded: with ties


def measured(logits: Tensor, labels: Tensor, positive_label: int = 1) -> dict[str, float]:
    figures = GradeMetrics(positive_label)
    for batch in torch.arange(len(labels)).split(4):
        figures.update(logits[batch], labels[batch], [f"case{i}" for i in batch.tolist()])
    return {name: float(value) for name, value in figures.compute().items()}


@pytest.mark.parametrize("positive_label", [0, 1, 2])
def test_equal_scikit_learn(positive_label: int) -> None:
    logits, labels = cases(30, classes=3)
    probabilities = logits.double().softmax(1)
    truth, scores = labels == positive_label, probabilities[:, positive_label]
    taken = scores > 0.5
    assert 0 < int(taken.sum()) < 30
    assert measured(logits, labels, positive_label) == pytest.approx(
        {
            "auc": roc_auc_score(truth, scores),
            "f1": f1_score(truth, taken),
            "accuracy": accuracy_score(truth, taken),
            "precision": precision_score(truth, taken),
            "recall": recall_score(truth, taken),
            "loss": log_loss(labels, probabilities),
        },
        abs=1e-6,
    )


def test_by_hand() -> None:
    """Pairs (positive, negative): 0.9 beats both, 0.4 beats 0.2 alone: 3 of 4. Taken for positive: 0.9 and 0.6."""
    found = metrics_of(torch.tensor([0.9, 0.4, 0.6, 0.2]), torch.tensor([1, 1, 0, 0]))
    assert {name: float(value) for name, value in found.items()} == pytest.approx(
        {"auc": 0.75, "f1": 0.5, "accuracy": 0.5, "precision": 0.5, "recall": 0.5}
    )


def test_one_class_has_no_auc() -> None:
    found = metrics_of(torch.tensor([0.9, 0.4]), torch.tensor([1, 1]))
    assert torch.isnan(found["auc"])
    assert float(found["recall"]) == 0.5


def test_nothing_taken_for_positive() -> None:
    found = metrics_of(torch.tensor([0.1, 0.4]), torch.tensor([0, 1]))
    assert [float(found[name]) for name in ("auc", "precision", "recall", "f1")] == [1, 0, 0, 0]


def test_a_case_counts_once_and_a_new_epoch_begins_empty() -> None:
    logits, labels = cases()
    figures = GradeMetrics(1)
    names = [f"case{i}" for i in range(11)]
    figures.update(logits, labels, names)
    once = figures.compute()
    figures.update(logits[:3], labels[:3], names[:3])
    assert figures.compute() == once
    figures.reset()
    figures.update(logits[:4], labels[:4], names[:4])
    assert {name: float(v) for name, v in figures.compute().items()} == measured(logits[:4], labels[:4])


@pytest.mark.ci
def test_two_ranks_find_what_one_finds(tmp_path: Path) -> None:
    logits, labels = cases()
    torch.save((logits, labels), tmp_path / "cases.pt")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    script = Path(__file__).with_name("metrics_rank.py")
    ranks = [
        subprocess.Popen(
            [sys.executable, script, str(rank), tmp_path], env=environment, stderr=subprocess.PIPE, text=True
        )
        for rank in (0, 1)
    ]
    for process in ranks:
        assert process.wait(timeout=120) == 0, process.stderr.read()
    expected = measured(logits, labels)
    for rank in (0, 1):
        assert json.loads((tmp_path / f"rank{rank}.json").read_text()) == pytest.approx(expected)


def test_the_best_checkpoint_has_the_highest_auc_and_then_the_lowest_loss() -> None:
    auc = torch.tensor([1.0, 1.0, 0.99, 1.0 - 1 / 140**2, 1.0])
    loss = torch.tensor([0.7, 0.3, 0.01, 0.0, 50.0])
    assert selection_score(auc, loss).argsort(descending=True).tolist() == [1, 0, 4, 3, 2]
    undefined = selection_score(torch.full((2,), float("nan")), torch.tensor([0.7, 0.3]))
    assert undefined[1] > undefined[0]
