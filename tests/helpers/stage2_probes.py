"""Parts that tests name by class_path: data in other circumstances, a sampler of one's own, a generator without weights."""

from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from toy import ToyDataModule

from data_modules.condition import Condition
from data_modules.origin import Origin
from tumorgen.methods.generator import Generator
from tumorgen.methods.transformer.decoding import CachedAutoregressive
from tumorgen.types import Volume


class FixedData(ToyDataModule):
    """Blobs that never change; on request, validation shows the training cases."""

    def __init__(self, same: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.same = same
        self.patient_key = None if same else self.patient_key  # with it, such data would be refused

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if self.same:
            self.val = self.train


class ThreeClasses(ToyDataModule):
    """Blobs under other names."""

    @property
    def class_names(self) -> tuple[str, ...]:
        return ("benign", "LGG", "HGG")


class LikelyCodes(CachedAutoregressive):
    """Another sampler with a default of its own for an option that the published one has too."""

    def __init__(self, temperature: float = 0.5) -> None:
        super().__init__(temperature)


class FrozenCheck(L.Callback):
    """Holds the tokenizer against itself, before every batch and after every epoch."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.before = {name: value.clone() for name, value in pl_module.tokenizer.state_dict().items()}

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        assert pl_module.network.training
        assert not any(module.training for module in pl_module.tokenizer.modules())

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        after = pl_module.tokenizer.state_dict()
        assert after.keys() == self.before.keys()
        for name, value in self.before.items():
            assert torch.equal(value, after[name]), name


class Noise(Generator):
    """Smooth noise that depends on class and seed; counts what it samples."""

    batch_invariant = True

    def __init__(
        self, roi_size: int = 8, fail_at: int | None = None, class_names: tuple[str, ...] = ("LGG", "HGG")
    ) -> None:
        super().__init__(class_names, roi_size, 2.0, in_channels=1)
        self.origin = Origin("s", 0, ("p",))
        self.fail_at = fail_at
        self.sampled: list[tuple[int, int]] = []

    def sample(self, condition: Condition, seeds: Sequence[int]) -> Volume:
        volumes = []
        for label, seed in zip(condition.label.tolist(), seeds, strict=True):
            if len(self.sampled) == self.fail_at:
                raise RuntimeError("killed")
            self.sampled.append((label, seed))
            draw = torch.Generator().manual_seed(1000 * label + seed)
            volumes.append(2 * torch.rand(1, *(self.roi_size,) * 3, generator=draw) - 1)
        return torch.stack(volumes)

    def describe_sampler(self) -> dict[str, Any]:
        return {"class": "Noise"}
