"""Pictures of reconstructions: when they are drawn, of which cases, and that drawing them changes nothing."""

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from tiny import equal, tiny_vqgan, train, values_of
from toy import Blobs

from tumorgen.callbacks import pictures
from tumorgen.callbacks.pictures import ReconstructionPictures
from tumorgen.results.sheets import Reconstructed

WITH_VALIDATION = {"limit_val_batches": 1.0}


def sheets(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("pictures/*"))


@pytest.mark.parametrize(("every", "expected"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (100, [5])])
def test_every_so_many_epochs_and_at_the_end(
    every: int, expected: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "reconstruction_sheet", lambda rows: rows)
    monkeypatch.setattr(pictures, "save", lambda figure, path: path.parent.mkdir(exist_ok=True) or path.touch() or path)
    options = {"default_root_dir": tmp_path, "limit_train_batches": 1, **WITH_VALIDATION}
    train(tiny_vqgan(), epochs=5, callbacks=(ReconstructionPictures(every_n_epochs=every),), **options)
    assert sheets(tmp_path) == [f"reconstructions_{epoch:04d}.png" for epoch in expected]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_first_cases_of_every_class_as_the_model_sees_them(
    precision: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[list[Reconstructed]] = []
    inner = pictures.reconstruction_sheet
    monkeypatch.setattr(pictures, "reconstruction_sheet", lambda rows: drawn.append(rows) or inner(rows))
    model = tiny_vqgan()
    options = {"default_root_dir": tmp_path, "precision": precision, **WITH_VALIDATION}
    train(model, callbacks=(ReconstructionPictures(cases_per_class=1),), **options)
    (rows,) = drawn
    assert [row.title for row in rows] == ["LGG blob1000", "HGG blob1001"]
    cases = Blobs(4, 16, 1000)
    model.eval()
    for index, row in enumerate(rows):
        x = cases[index]["volume"]
        with torch.no_grad():
            expected = model(x[None])[0, 0].numpy()
        assert np.array_equal(row.original, x[0].numpy())
        assert np.abs(row.reconstruction - expected).max() < (1e-5 if precision == "32-true" else 0.05)
        assert row.reconstruction.dtype == row.importance.dtype == np.float32
        assert row.importance.shape == (4, 4, 4)
        assert 0 < row.importance.min() <= row.importance.max() < 1
    assert sheets(tmp_path) == ["reconstructions_0001.png"]


def test_more_cases_than_there_are_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[list[Reconstructed]] = []
    monkeypatch.setattr(pictures, "reconstruction_sheet", lambda rows: drawn.append(rows) or rows)
    monkeypatch.setattr(pictures, "save", lambda figure, path: path)
    options = {"default_root_dir": tmp_path, "limit_train_batches": 1, **WITH_VALIDATION}
    train(tiny_vqgan(), callbacks=(ReconstructionPictures(cases_per_class=50),), **options)
    assert len(drawn[0]) == 4


def test_drawing_does_not_change_the_training(tmp_path: Path) -> None:
    states = []
    for callbacks in ((), (ReconstructionPictures(),)):
        model = tiny_vqgan()
        train(model, epochs=2, callbacks=callbacks, default_root_dir=tmp_path, **WITH_VALIDATION)
        states.append(values_of(model))
    assert equal(*states)


def test_other_models_are_refused(tmp_path: Path) -> None:
    class Other(L.LightningModule):
        pass

    trainer = L.Trainer(accelerator="cpu", logger=False, default_root_dir=tmp_path, enable_checkpointing=False)
    with pytest.raises(TypeError, match="shows a VQGAN, not a Other"):
        ReconstructionPictures().on_validation_epoch_end(trainer, Other())
