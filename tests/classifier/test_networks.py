"""The small classifier."""

import pytest
import torch
from toy import blob

from tumorgen.classifier.networks import SmallCNN


@pytest.mark.parametrize(("size", "classes", "channels"), [(16, 2, 1), (32, 3, 4), (33, 2, 1)])
def test_one_logit_per_class(size: int, classes: int, channels: int) -> None:
    assert SmallCNN(classes, channels).eval()(torch.zeros(2, channels, size, size, size)).shape == (2, classes)


def test_it_is_small() -> None:
    assert sum(parameter.numel() for parameter in SmallCNN().parameters()) < 45_000


def test_it_learns_two_kinds_of_blobs() -> None:
    from tumorgen.demo.check import auc, train_classifier

    volumes = torch.stack([blob(i % 2, 16, i) for i in range(32)])
    labels = torch.arange(32) % 2
    judge = train_classifier(volumes[:20], labels[:20], seed=0)
    assert auc([judge], volumes[20:], labels[20:]) > 0.9
    assert 0.35 < auc([judge], volumes[20:], labels[20:], permutations=200) < 0.65
