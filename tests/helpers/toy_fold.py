"""A fold of the benchmark made of blobs: no scans, no files."""

from typing import Any

from toy import Blobs

from tumorgen.benchmark.arms import chosen_arms
from tumorgen.benchmark.data import Fold
from tumorgen.benchmark.plan import Training
from tumorgen.benchmark.training import ArmTrainer, Budget, Hardware

NETWORK = {"class_path": "tumorgen.classifier.networks.SmallCNN", "init_args": {"widths": [4, 8]}}
OPTIMIZER = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 5e-3}}


class ToyVolumes(Blobs):
    """Blobs of the size of the fold."""

    def __init__(self, count: int, seed: int) -> None:
        super().__init__(count, 16, seed)


class ToyGenerated(ToyVolumes):
    """As `Generated`."""

    digest = "toy"

    def in_memory(self) -> "ToyGenerated":
        return self


class ToyFold(Fold):
    """A fold whose content has no digest of its own."""

    digest = "toy"  # type: ignore[assignment]


def toy_fold(number: int = 0, train: int = 16, **options: Any) -> ToyFold:
    """A fold of blobs: other folds hold other blobs."""
    arguments = {
        "number": number,
        "class_names": ("LGG", "HGG"),
        "channels": 1,
        "roi_size": 16,
        "spacing": 8.0,
        "train": ToyVolumes(train, 1000 * number),
        "val": ToyVolumes(8, 1000 * number + 300),
        "test": ToyVolumes(20, 1000 * number + 600),
        "augmentation": None,
        "augmentation_settings": None,
        "generated": {"toy": ToyGenerated(16, 1000 * number + 900)},
        "batch_size": 4,
        "num_workers": 0,
    }
    return ToyFold(**{**arguments, **options})


def toy_trainer(steps: int = 4, pretraining_steps: int = 3, validation_checks: int = 2) -> ArmTrainer:
    """Trains a tiny network."""
    return ArmTrainer(
        "tumorgen.classifier.module.GradeClassifier",
        {"network": NETWORK, "optimizer": OPTIMIZER},
        Budget(steps, pretraining_steps, validation_checks),
        Hardware("cpu"),
    )


def training(arm: str, fold: int = 0, seed: int = 0) -> Training:
    """A training of this arm at the default shares."""
    (found,) = (own for own in chosen_arms(None, (0.1, 0.25, 0.5, 1.0)) if own.name == arm)
    return Training(found, "toy" if found.uses_synthetic else "", fold, seed)
