"""Batch norms know the training volumes at every look, and training goes on as if nobody had looked."""

import lightning as L
import torch
from torch import nn
from toy import Blobs, ToyDataModule

from data_modules.base import Item
from tumorgen.callbacks.precise_batch_norm import PreciseBatchNorm
from tumorgen.classifier.module import GradeClassifier
from tumorgen.classifier.networks import SmallCNN


class Drawing(Blobs):
    """Draws from the global generator whenever a volume is read, as augmentation does."""

    def __getitem__(self, index: int) -> Item:
        torch.rand(1)
        return super().__getitem__(index)


class DrawingDataModule(ToyDataModule):
    """All training volumes in one batch."""

    def setup(self, stage: str) -> None:
        super().setup(stage)
        self.train = Drawing(self.count, self.roi_size, 0)


def trainer(*callbacks: L.Callback) -> L.Trainer:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return L.Trainer(max_epochs=2, accelerator="cpu", num_sanity_val_steps=0, callbacks=list(callbacks), **quiet)


def fitted(*callbacks: L.Callback) -> GradeClassifier:
    L.seed_everything(0)
    model = GradeClassifier(roi_size=16, spacing=8.0, network=SmallCNN)
    trainer(*callbacks).fit(model, DrawingDataModule(batch_size=8, count=8))
    return model


def norms(model: nn.Module) -> list[nn.BatchNorm3d]:
    return [part for part in model.modules() if isinstance(part, nn.BatchNorm3d)]


def test_statistics_are_those_of_all_training_volumes() -> None:
    """One batch of all of them, brute force: what the first norm sees is what it goes by afterwards."""
    model = fitted(PreciseBatchNorm())
    data = ToyDataModule(count=8)
    data.setup("fit")
    volumes = torch.stack([item["volume"] for item in data.train])
    first = norms(model)[0]
    seen: list[torch.Tensor] = []
    first.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        model.eval()(volumes)
    torch.testing.assert_close(first.running_mean, seen[0].mean(dim=(0, 2, 3, 4)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(first.running_var, seen[0].var(dim=(0, 2, 3, 4)), rtol=1e-3, atol=1e-5)
    assert {norm.momentum for norm in norms(model)} == {0.1}


def test_trained_weights_are_the_same_with_and_without() -> None:
    plain, fresh = fitted(), fitted(PreciseBatchNorm())
    for (name, a), b in zip(plain.named_parameters(), fresh.parameters(), strict=True):
        assert torch.equal(a, b), name
    assert not torch.equal(norms(plain)[0].running_mean, norms(fresh)[0].running_mean)


def test_a_model_that_is_only_looked_at_stays_as_it_is() -> None:
    model = GradeClassifier(roi_size=16, spacing=8.0, network=SmallCNN)
    norms(model)[0].running_mean.fill_(7.0)
    trainer(PreciseBatchNorm()).validate(model, ToyDataModule(), verbose=False)
    assert set(norms(model)[0].running_mean.tolist()) == {7.0}
