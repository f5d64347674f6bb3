"""Augmentation while a method trains: it belongs to seed, epoch and case, whatever loads, and whether the run was resumed."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from toy import ToyDataModule

from data_modules.base import Batch
from tumorgen.methods.method import Method
from tumorgen.runs.random_state import RandomState


class Shifted(ToyDataModule):
    """Blobs to which a number is added."""

    augmentation = staticmethod(lambda volume: volume + torch.rand(1))

    def __init__(self, num_workers: int, batch_size: int) -> None:
        super().__init__(batch_size=batch_size)
        self.num_workers = num_workers


class Watching(Method):
    """Learns nothing and notes what it sees: by epoch and case, the number that was added."""

    def __init__(self) -> None:
        super().__init__(("LGG", "HGG"), 16, 8.0, 1)
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: dict[tuple[int, str], float] = {}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        for case, volume in zip(batch["case"], batch["volume"], strict=True):
            self.seen[self.current_epoch, case] = float(volume.min())
        torch.rand(3)
        return self.weight.sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def seen(
    place: Path, epochs: int = 3, num_workers: int = 0, batch_size: int = 4, resume: Path | None = None, seed: int = 0
) -> Watching:
    L.seed_everything(seed, workers=True, verbose=False)
    model = Watching()
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        callbacks=[ModelCheckpoint(place, "last", save_on_train_epoch_end=True), RandomState()],
    )
    trainer.fit(model, Shifted(num_workers, batch_size), ckpt_path=resume)
    return model


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Watching:
    """Three epochs, loaded by the process itself."""
    return seen(tmp_path_factory.mktemp("plain"))


def test_every_epoch_and_case_has_a_draw_of_its_own(plain: Watching, tmp_path: Path) -> None:
    assert len(plain.seen) == 3 * 8
    assert len(set(plain.seen.values())) == 3 * 8
    assert set(plain.seen.values()).isdisjoint(seen(tmp_path, seed=1).seen.values())


@pytest.mark.parametrize(("num_workers", "batch_size"), [(2, 4), (0, 3), (1, 1)])
def test_it_does_not_depend_on_workers_and_batches(
    plain: Watching, num_workers: int, batch_size: int, tmp_path: Path
) -> None:
    assert seen(tmp_path, num_workers=num_workers, batch_size=batch_size).seen == plain.seen


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_resumed_run_sees_what_the_uninterrupted_one_saw(plain: Watching, num_workers: int, tmp_path: Path) -> None:
    seen(tmp_path, epochs=1, num_workers=num_workers)
    resumed = seen(tmp_path, num_workers=num_workers, resume=tmp_path / "last.ckpt")
    assert resumed.seen == {key: value for key, value in plain.seen.items() if key[0] > 0}
