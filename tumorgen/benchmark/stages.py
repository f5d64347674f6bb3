"""The parts of one stage of training: its batches, its validation checks, the weights it ends with."""

from collections.abc import Iterator

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler

from data_modules.base import Augmented, Item, ROIDataModule, VolumeSet
from data_modules.volumes.select import repeated
from tumorgen.benchmark.data import Fold

Weights = dict[str, Tensor]


class Loaders(ROIDataModule):
    """The loaders of one stage: so many batches of a training set, and the fold's validation part.

    Args:
        train: Training set.
        fold: The fold.
        steps: Number of batches.
        seed: Of their order, and of everything else that is drawn at random from here on.
        augmented: Whether training volumes are augmented as the fold says.
    """

    def __init__(self, train: VolumeSet, fold: Fold, steps: int, seed: int, augmented: bool = False) -> None:
        super().__init__(fold.roi_size, fold.spacing, fold.batch_size, fold.num_workers)
        self.train, self.val, self.steps, self.seed = train, fold.val, steps, seed
        self.augmentation = fold.augmentation if augmented else None
        self._class_names = fold.class_names

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; the position is the label."""
        return self._class_names

    def train_dataloader(self) -> DataLoader[Item]:
        """Shuffled batches of equal size; a volume is augmented anew every time it comes."""
        assert self.train is not None
        batches = ShuffledBatches(len(self.train), self.batch_size, self.steps, self.seed)
        volumes: VolumeSet = repeated(self.train, -(-self.steps * self.batch_size // len(self.train)))
        if self.augmentation is not None:
            volumes = Augmented(volumes, self.augmentation, self.seed)
        return DataLoader(
            volumes, batch_sampler=batches, num_workers=self.num_workers, pin_memory=torch.cuda.is_available()
        )

    def statistics_dataloader(self) -> DataLoader[Item]:
        """The training set in an order that does not depend on the training, as it is without augmentation."""
        assert self.train is not None
        generator = torch.Generator().manual_seed(self.seed)
        return DataLoader(self.train, batch_size=self.batch_size, shuffle=True, generator=generator)

    def val_dataloader(self) -> DataLoader[Item]:
        """The validation part, in this process."""
        assert self.val is not None
        return DataLoader(self.val, batch_size=self.batch_size)


class ShuffledBatches(Sampler[list[int]]):
    """So many batches of one size, cut from one shuffle of all items after the other.

    Items are counted on from shuffle to shuffle: `length` and 0 are the same item, seen a second and a first time.

    Args:
        length: Number of items; if there are fewer than a batch holds, an item comes more than once in it.
        batch_size: Items per batch.
        steps: Number of batches.
        seed: Of the shuffles.
    """

    def __init__(self, length: int, batch_size: int, steps: int, seed: int) -> None:
        self.length, self.batch_size, self.steps, self.seed = length, batch_size, steps, seed

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed)
        waiting: list[int] = []
        seen = 0
        for _ in range(self.steps):
            while len(waiting) < self.batch_size:
                waiting += (seen + torch.randperm(self.length, generator=generator)).tolist()
                seen += self.length
            yield waiting[: self.batch_size]
            waiting = waiting[self.batch_size :]


class BestWeights(L.Callback):
    """Keeps, in memory, the weights of the look with the largest AUC on the validation part; of equal ones, the least loss.

    Args:
        monitor: Name of the logged AUC.

    Attributes:
        weights: The weights, on the CPU.
        auc: Their AUC, NaN where it is not defined.
        step: Optimizer steps until then.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor
        self.weights: Weights = {}
        self.auc, self.step = float("nan"), 0
        self._best = (-1.0, 0.0)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compares with the best so far."""
        auc, loss = float(trainer.callback_metrics[self.monitor]), float(trainer.callback_metrics["val/loss"])
        # few validation cases leave few values of the AUC, and many checks with the same one
        found = (auc if auc == auc else 0.0, -loss)
        if found > self._best or not self.weights:
            self._best, self.auc, self.step = found, auc, trainer.global_step
            self.weights = copied_weights(pl_module)


def copied_weights(module: nn.Module) -> Weights:
    """Parameters and buffers as they are now, on the CPU."""
    return {name: value.detach().to("cpu", copy=True) for name, value in module.state_dict().items()}
