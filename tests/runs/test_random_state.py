"""Random number generators that go through a checkpoint; that resuming works is in test_resume.py."""

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tumorgen.runs.random_state import RandomState


def draw() -> list[Any]:
    """One number of every generator, and of NumPy and Python a normal one, whose generators keep the second of a pair."""
    return [random.random(), random.gauss(0, 1), float(np.random.random()), float(np.random.normal()), *torch.rand(2)]


def trainer(fetcher: Any = ()) -> Any:
    return SimpleNamespace(fit_loop=SimpleNamespace(_data_fetcher=fetcher))


@pytest.fixture
def stored(tmp_path: Path) -> dict[str, Any]:
    """A state that went through a file, with half of a pair of normal numbers drawn."""
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    draw()
    torch.save(RandomState().state_dict(), tmp_path / "state.ckpt")
    return torch.load(tmp_path / "state.ckpt", weights_only=True)


def test_generators_go_on_where_they_stood(stored: dict[str, Any]) -> None:
    expected = [draw() for _ in range(3)]
    callback = RandomState()
    callback.load_state_dict(stored)
    callback.on_train_epoch_start(trainer(), None)
    assert [draw() for _ in range(3)] == expected


def test_loading_alone_changes_nothing(stored: dict[str, Any]) -> None:
    random.seed(9)
    np.random.seed(9)
    torch.manual_seed(9)
    expected = draw()
    random.seed(9)
    np.random.seed(9)
    torch.manual_seed(9)
    RandomState().load_state_dict(stored)
    assert draw() == expected


def test_restored_once_and_only_when_resumed(stored: dict[str, Any]) -> None:
    callback = RandomState()
    before = draw()
    callback.on_train_epoch_start(trainer(), None)
    assert draw() != before
    callback.load_state_dict(stored)
    callback.on_train_epoch_start(trainer(), None)
    first = draw()
    callback.on_train_epoch_start(trainer(), None)
    assert draw() != first, "the second epoch goes on"


def test_the_loader_draws_from_the_restored_generator(stored: dict[str, Any]) -> None:
    expected = torch.rand(1)
    drawn = []

    class Fetcher:
        def __iter__(self) -> Any:
            drawn.append(torch.rand(1))
            return iter(())

    callback = RandomState()
    callback.load_state_dict(stored)
    callback.on_train_epoch_start(trainer(Fetcher()), None)
    assert drawn == [expected]
