"""Sheets of samples during training, and the picture of masking: drawn beside training, without touching it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import handmade_time
import numpy as np
import pytest
import torch
from front import TINY_TRANSFORMER, TINY_VQGAN, tumorgen
from handmade_time import Clock, Learner
from lightning.pytorch.callbacks import EMAWeightAveraging
from matplotlib.figure import Figure
from PIL import Image
from stage2 import QUIET, curve, fit, tokenizer, transformer
from toy import Blobs, ToyDataModule

from tumorgen.callbacks import masking_pictures
from tumorgen.evaluation import samples
from tumorgen.methods.generator import load_generator
from tumorgen.results.masking import MaskedCase, masking_sheet

SHEETS = "tumorgen.evaluation.samples.SampleSheets"
MASKING = "tumorgen.callbacks.masking_pictures.MaskingPictures"


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What was given to the drawing functions, by name and epoch."""
    found: dict[str, Any] = {}

    def keep(trainer: Any, name: str, content: Any) -> None:
        found[f"{name} {trainer.current_epoch + 1}"] = content

    for module, function in ((samples, "gallery"), (masking_pictures, "masking_sheet")):
        monkeypatch.setattr(module, function, lambda content: content)
        monkeypatch.setattr(module, "log_picture", keep)
    return found


def test_training_goes_on_as_if_there_were_no_pictures(tmp_path: Path) -> None:
    words = ["--trainer.callbacks+", SHEETS, "--trainer.callbacks+", MASKING]
    run = fit(tmp_path, *words)
    plain = transformer().parents[1]
    first, again = (torch.load(folder / "checkpoints/last.ckpt", weights_only=True) for folder in (plain, run))
    for name, value in first["state_dict"].items():
        assert torch.equal(value, again["state_dict"][name]), name
    for name in ("train/loss", "val/cross_entropy_corrupted"):
        assert curve(run, name) == curve(plain, name)
    names = {"samples_0001.png", "samples_0002.png", "masking_LGG_0001.png", "masking_HGG_0001.png"}
    assert {path.name for path in (run / "pictures").iterdir()} == names
    for path in (run / "pictures").iterdir():
        assert np.asarray(Image.open(path)).std() > 5, f"{path} is empty"


def test_real_and_generated_rows_of_each_class(tmp_path: Path, drawn: dict[str, Any]) -> None:
    words = ["--trainer.max_epochs", 3, "--model.optimizer.lr", 0.05]
    run = fit(tmp_path, "--trainer.callbacks", SHEETS, "--trainer.callbacks.per_class", 3, *words)
    assert list(drawn) == ["samples 1", "samples 2", "samples 3"]
    rows = dict(drawn["samples 3"])
    assert list(rows) == ["real LGG", "generated LGG", "real HGG", "generated HGG"]
    for label, name in enumerate(("LGG", "HGG")):
        cases = [item["volume"][0].numpy() for item in Blobs(4, 16, 1000).items if item["label"] == label]
        assert np.array_equal(rows[f"real {name}"], cases), "there are two of each"
        # the sheet shows the first volumes that `predict` would write
        generator = load_generator(run / "checkpoints" / "last.ckpt")
        expected = generator.sample_classes([name] * 3, [label, 2 + label, 4 + label])
        assert np.array_equal(rows[f"generated {name}"], expected[:, 0].numpy())
    again = dict(drawn["samples 2"])
    assert not np.array_equal(rows["generated LGG"], again["generated LGG"]), "the network has changed in between"


def test_sheets_are_drawn_when_they_are_due(tmp_path: Path, drawn: dict[str, Any]) -> None:
    """Validations after epochs 2, 4, 6 and 8 of 9: the second, the fourth, which is also the last."""
    words = ["--trainer.max_epochs", 9, "--trainer.check_val_every_n_epoch", 2, "--trainer.limit_train_batches", 1]
    words += ["--trainer.callbacks", SHEETS, "--trainer.callbacks.per_class", 1]
    fit(tmp_path, *words, "--trainer.callbacks.every_n_validations", 2, experiment="two")
    assert list(drawn) == ["samples 4", "samples 8"]
    drawn.clear()
    fit(tmp_path, *words, "--trainer.callbacks.every_n_validations", 3, experiment="three")
    assert list(drawn) == ["samples 6", "samples 8"]


def test_resumed_runs_count_on() -> None:
    callback, again = samples.SampleSheets(), samples.SampleSheets()
    callback._validations = 7
    again.load_state_dict(callback.state_dict())
    assert again._validations == 7


def test_without_validation_cases_rows_are_generated_only() -> None:
    trainer: Any = SimpleNamespace(datamodule=ToyDataModule())
    rows = samples.sheet_rows(trainer, {"LGG": torch.zeros(2, 1, 8, 8, 8), "HGG": torch.zeros(2, 1, 8, 8, 8)}, 1)
    assert [(name, len(volumes)) for name, volumes in rows] == [("generated LGG", 1), ("generated HGG", 1)]


@pytest.mark.parametrize("first", [False, True])
def test_the_weights_are_those_that_a_checkpoint_would_sample_with(
    first: bool, tmp_path: Path, drawn: dict[str, Any]
) -> None:
    """The average, wherever it stands among the callbacks; training goes on with its own."""
    seen: list[float] = []

    class Watched(Learner):
        def sample(self, condition: Any, seeds: Any) -> Any:
            seen.append(float(self.number.detach()))
            return super().sample(condition, seeds)

    average, sheets = EMAWeightAveraging(decay=0.5), samples.SampleSheets(per_class=1)
    model = Watched(Clock(), 0.0)
    callbacks = [average, sheets] if first else [sheets, average]
    handmade_time.trainer(tmp_path, callbacks, max_epochs=1).fit(model, handmade_time.data())
    averaged = float(average._average_model.module.number)
    assert seen == [averaged, averaged]
    assert float(model.number) == averaged, "Lightning leaves the average in the model when training has ended"
    assert averaged != 0


@pytest.mark.parametrize(("callback", "said"), [(SHEETS, "shows a generator"), (MASKING, "shows a MaskedTransformer")])
def test_a_tokenizer_has_no_such_pictures(tmp_path: Path, callback: str, said: str) -> None:
    words = ["--config", TINY_VQGAN, "--runs_dir", tmp_path, *QUIET, "--trainer.callbacks", callback]
    with pytest.raises(TypeError, match=said):
        tumorgen("fit", *words)


def test_the_masked_grid_lies_beside_the_importance_of_the_same_case(tmp_path: Path, drawn: dict[str, Any]) -> None:
    fit(tmp_path, "--trainer.callbacks", MASKING)
    assert sorted(drawn) == ["masking_HGG 1", "masking_LGG 1"]
    case = drawn["masking_HGG 1"]
    assert case.title == "HGG blob1001"
    generator = load_generator(transformer())
    tokens, scores = generator.tokenizer.encode(torch.from_numpy(case.volume)[None, None])
    assert np.array_equal(case.importance.ravel(), scores[0].numpy())
    assert (case.masked.sum(), case.replaced.sum(), (case.masked & case.replaced).sum()) == (16, 16, 0)
    corrupted = generator.corrupt(tokens, scores, ["blob1001"])
    assert np.array_equal(case.masked.ravel(), corrupted.masked[0].numpy())
    ranks = np.argsort(np.argsort(case.importance.ravel()))[case.masked.ravel()]
    assert ranks.mean() > 40, "what became [MASK] is important: a random choice has 31.5"


def test_the_masking_sheet_shows_the_states_it_was_given() -> None:
    grid = np.arange(64).reshape(4, 4, 4)
    volume = np.full((16, 16, 16), -1, dtype=np.float32)
    figure = masking_sheet(MaskedCase("HGG x", volume, grid / 64, grid % 4 == 0, grid % 4 == 1))
    assert isinstance(figure, Figure)
    images = [axis.images[0].get_array() for axis in figure.axes]
    assert [image.shape for image in images] == [(16, 67)] * 3
    states = images[2][:, :16]
    assert set(np.unique(states)) == {0, 1, 2}
    assert (states[:, :4] == 1).all(), "the first column of tokens is [MASK]"
    assert (states[:, 4:8] == 2).all()
    assert (states[:, 8:] == 0).all()
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["intact: 32", "[MASK]: 16", "random code: 16"]


def test_the_command_of_the_experiment(tmp_path: Path) -> None:
    """`experiments/transformer.yaml` with its callbacks, shrunk; the tokenizer and the data on the command line."""
    root = Path(__file__).resolve().parents[2]
    words = ["--config", root / "experiments/transformer.yaml", "--config", TINY_TRANSFORMER]
    words += ["--model.tokenizer", tokenizer(), "--runs_dir", tmp_path, "--trainer.fast_dev_run", "true", *QUIET]
    assert tumorgen("fit", *words) == 0
    assert len(list(tmp_path.rglob("*.png"))) == 3
