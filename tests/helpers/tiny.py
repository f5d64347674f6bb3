"""The VQGAN of tiny_vqgan.yaml, trained on toy data without the command line: what happens between two hooks is seen."""

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from front import TINY_VQGAN, read_yaml
from torch import Tensor, nn
from toy import ToyDataModule

from tumorgen.methods.loading import build
from tumorgen.methods.vqgan.module import VQGAN

FSQ = {
    "class_path": "tumorgen.methods.vqgan.quantizers.fsq.FSQQuantizer",
    "init_args": {"levels": [4, 4], "code_dim": 8},
}


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the entries of `over`, sections merged, as two --config do; another class starts a section afresh."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        sections = isinstance(value, Mapping) and isinstance(old, Mapping)
        if sections and value.get("class_path", old.get("class_path")) == old.get("class_path"):
            value = merged(old, value)
        result[key] = value
    return result


def tiny_vqgan(seed: int = 0, **arguments: Any) -> VQGAN:
    """A fresh tiny VQGAN; `arguments` are merged into those of the YAML."""
    # with the YAML's 32 a channel is a group of its own, which the classifier's normalisation turns into a constant
    data = {"spacing": 8.0, "roi_size": 16, "importance": {"init_args": {"hidden": 64}}}
    settings = merged(merged(read_yaml(TINY_VQGAN)["model"]["init_args"], data), arguments)
    torch.manual_seed(seed)
    return build("tumorgen.methods.vqgan.module.VQGAN", settings, VQGAN)


class Recorder(L.Callback):
    """Keeps what every batch and the last validation logged."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Tensor]] = []

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        logged = {name: value.clone() for name, value in trainer.callback_metrics.items() if name.startswith("train/")}
        self.steps.append(logged)


def train(
    model: VQGAN, epochs: int = 1, callbacks: tuple[L.Callback, ...] = (), seed: int = 0, **options: Any
) -> tuple[L.Trainer, list[dict[str, Tensor]]]:
    """Trains on blobs.

    Args:
        model: Is changed.
        epochs: Each of two batches of 4 blobs unless `options` say otherwise.
        callbacks: Beside the recorder.
        seed: Of the shuffling and everything else that is drawn.
        **options: `data`, or `count` and `batch_size` of the blobs; the others go to the trainer.

    Returns:
        The trainer, and what every batch logged.
    """
    data = options.pop("data", None)
    data = data or ToyDataModule(**{key: options.pop(key) for key in ("count", "batch_size") if key in options})
    recorder = Recorder()
    settings = {"precision": "32-true", "limit_val_batches": 0} | options
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[recorder, *callbacks],
        **settings,
    )
    torch.manual_seed(seed)
    trainer.fit(model, data)
    return trainer, recorder.steps


def values_of(module: nn.Module) -> dict[str, Tensor]:
    """Copies of all parameters and buffers."""
    return {name: value.clone() for name, value in module.state_dict().items()}


def gradients_of(module: nn.Module) -> dict[str, Tensor | None]:
    """Copies of all gradients."""
    return {name: None if p.grad is None else p.grad.clone() for name, p in module.named_parameters()}


def equal(a: Mapping[str, Tensor | None], b: Mapping[str, Tensor | None]) -> bool:
    """Whether two collections hold the same tensors to the last bit."""
    return a.keys() == b.keys() and all(
        (x is None and b[key] is None) or (x is not None and b[key] is not None and torch.equal(x, b[key]))
        for key, x in a.items()
    )
