"""The classifier that is trained in seconds."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from toy import blob

from tumorgen.classifier.networks import ResNet3D, SmallCNN
from tumorgen.classifier.quick import train_quickly


@pytest.fixture(scope="module")
def blobs() -> tuple[Tensor, Tensor]:
    return torch.stack([blob(i % 2, 16, i) for i in range(32)]), torch.arange(32) % 2


def state(model: nn.Module) -> list[Tensor]:
    return list(model.state_dict().values())


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(state(a), state(b), strict=True))


def as_it_was_written_first(volumes: Tensor, labels: Tensor, seed: int, epochs: int) -> nn.Module:
    """The recipe in a few plain lines, drawing from the global generator."""
    torch.manual_seed(seed)
    model = SmallCNN()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for batch in torch.randperm(len(volumes)).split(20):
            flips = [axis for axis in (2, 3, 4) if torch.rand(()) < 0.5]
            loss = nn.functional.cross_entropy(model(volumes[batch].flip(flips)), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return model


def test_the_recipe_is_the_demos(blobs: tuple[Tensor, Tensor]) -> None:
    assert same(train_quickly(*blobs, 2, seed=3, epochs=3), as_it_was_written_first(*blobs, seed=3, epochs=3))


def test_it_learns_two_kinds_of_blobs(blobs: tuple[Tensor, Tensor]) -> None:
    volumes, labels = blobs
    judge = train_quickly(volumes[:20], labels[:20], 2, seed=0)
    assert not judge.training
    with torch.no_grad():
        scores = judge(volumes[20:]).softmax(1)[:, 1]
    assert roc_auc_score(labels[20:], scores) > 0.9
    generator = np.random.default_rng(0)
    permuted = [roc_auc_score(generator.permutation(labels[20:].numpy()), scores) for _ in range(200)]
    assert 0.35 < np.mean(permuted) < 0.65


def test_the_callers_random_numbers_go_on_as_if_nothing_had_happened(blobs: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    first = train_quickly(*blobs, 2, seed=1, epochs=1)
    assert torch.equal(torch.rand(4), expected)
    assert same(first, train_quickly(*blobs, 2, seed=1, epochs=1))
    assert not same(first, train_quickly(*blobs, 2, seed=2, epochs=1))


def test_from_within_validation(blobs: tuple[Tensor, Tensor]) -> None:
    """Lightning validates in inference mode, under bf16 with autocast."""
    expected = train_quickly(*blobs, 2, seed=1, epochs=1)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        volumes, labels = blobs[0].clone(), blobs[1].clone()
        found = train_quickly(volumes, labels, 2, seed=1, epochs=1)
    assert same(expected, found)


def test_other_networks_classes_and_channels(blobs: tuple[Tensor, Tensor]) -> None:
    volumes, labels = blobs[0][:4].expand(-1, 2, -1, -1, -1), blobs[1][:4]
    model = train_quickly(volumes, labels, 3, seed=0, epochs=1, network=ResNet3D)
    assert isinstance(model, ResNet3D)
    assert model(volumes).shape == (4, 3)
