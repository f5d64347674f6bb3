"""Importance score net: published size, a plain restatement, where its gradients go."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from data_modules.errors import InputError
from tumorgen.methods.vqgan.importance import ImportanceScoreNet


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def small(**options):
    return ImportanceScoreNet(**{"num_classes": 3, "grid": 4, "code_dim": 8, "hidden": 64} | options)


def test_published_size():
    with torch.device("meta"):
        net = ImportanceScoreNet()
        sizes = {name: tuple(p.shape) for name, p in net.named_parameters()}
        output = net(torch.empty(3, 128, 8, 8, 8))
    assert sizes["classifier.0.weight"] == (1024, 65536)
    # conv3, conv1, GN(1), linear, GN(32), linear
    parts = 128 * 128 * 27 + 128, 128 + 1, 2, 65536 * 1024 + 1024, 2048, 2 * 1024 + 2
    assert sum(p.numel() for p in net.parameters()) == sum(parts) == 67_556_613
    assert output.scores.shape == (3, 1, 8, 8, 8)
    assert output.logits.shape == (3, 2)


def test_equals_a_plain_restatement():
    net = small().eval()
    for part in net.modules():
        if isinstance(part, nn.GroupNorm):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.5, 0.5)
    z = 5 + 3 * torch.randn(2, 8, 4, 4, 4)
    normed = (z - z.mean((1, 2, 3, 4), keepdim=True)) / (
        z.var((1, 2, 3, 4), unbiased=False, keepdim=True) + 1e-5
    ).sqrt()
    conv, _, point, norm = net.score
    score = F.relu(F.conv3d(normed, conv.weight, conv.bias, padding=1))
    score = F.conv3d(score, point.weight, point.bias)
    score = torch.sigmoid(F.group_norm(score, 1, norm.weight, norm.bias, 1e-6))
    first, group, _, _, last = net.classifier
    hidden = F.linear((normed * score).reshape(2, -1), first.weight, first.bias)
    hidden = F.relu(F.group_norm(hidden, 32, group.weight, group.bias, 1e-6))
    output = net(z)
    torch.testing.assert_close(output.scores, score, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output.logits, F.linear(hidden, last.weight, last.bias), rtol=1e-4, atol=1e-5)


def test_scores_alone_skip_the_classifier():
    net = small()
    z = torch.randn(2, 8, 4, 4, 4)
    expected = net(z).scores
    net.classifier = None
    assert torch.equal(net.scores(z), expected)
    assert 0 < float(expected.detach().min()) < float(expected.detach().max()) < 1


def test_class_gradients_reach_features_and_score_map():
    net = small()
    z = torch.randn(2, 8, 4, 4, 4, requires_grad=True)
    F.cross_entropy(net(z).logits, torch.tensor([0, 2])).backward()
    assert z.grad.abs().sum() > 0
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
    assert net.score[0].weight.grad.abs().sum() > 0


def test_dropout_acts_in_training_only():
    net = small(dropout=0.5)
    z = torch.randn(2, 8, 4, 4, 4)
    assert not torch.equal(net(z).logits, net(z).logits)
    net.eval()
    assert torch.equal(net(z).logits, net(z).logits)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: small(hidden=80), "32 groups cannot divide 80"),
        (lambda: small(hidden=32), "importance.hidden is 32; expected a multiple of 32, at least 64"),
        (lambda: small(num_classes=1), "at least 2 classes"),
        (lambda: small()(torch.randn(1, 8, 8, 8, 8)), r"\(8, 4, 4, 4\) and got \(8, 8, 8, 8\)"),
        (lambda: small()(torch.randn(1, 6, 4, 4, 4)), r"got \(6, 4, 4, 4\)"),
    ],
)
def test_errors_say_what_does_not_fit(build, message):
    with pytest.raises(InputError, match=message):
        build()
