"""Trains one classifier of the benchmark and lets it judge the test part of its fold, once.

What makes arms comparable: the last stage of every arm has the same number of optimizer steps of the same batch size under the
same learning rates, whatever it trains on (so a tenth of the real patients is seen ten times as often); pre-training comes on
top and is as long in every arm that has it, the control included. Arms of one seed start from the same random weights. Weights
are selected on the fold's real validation part, with the same number of validation checks; pre-training hands on its last
weights. Batch norms get statistics of the training volumes before each check.
"""

import json
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader

from data_modules.base import VolumeSet
from data_modules.errors import InputError
from tumorgen.benchmark.data import Fold, Generated
from tumorgen.benchmark.plan import Training
from tumorgen.benchmark.results import Case, TrainingResult
from tumorgen.benchmark.stages import BestWeights, Loaders, Weights, copied_weights
from tumorgen.callbacks.precise_batch_norm import PreciseBatchNorm
from tumorgen.classifier.module import GradeClassifier
from tumorgen.methods.loading import build
from tumorgen.runs.packages import package_versions


@dataclass(frozen=True)
class Budget:
    """How long every classifier trains.

    Attributes:
        steps: Optimizer steps of the stage that every arm has.
        pretraining_steps: Optimizer steps of pre-training, in the arms that have it.
        validation_checks: How often, evenly spaced, the validation part is looked at to select weights; a divisor of `steps`.
    """

    steps: int = 1000
    pretraining_steps: int = 1000
    validation_checks: int = 20

    def __post_init__(self) -> None:
        if min(self.steps, self.pretraining_steps, self.validation_checks) < 1 or self.steps % self.validation_checks:
            raise InputError(
                f"--budget: steps {self.steps}, pretraining_steps {self.pretraining_steps}, validation_checks "
                f"{self.validation_checks}; expected numbers above 0, and validation_checks as a divisor of steps."
            )


@dataclass(frozen=True)
class Hardware:
    """Where and how exactly the arithmetic is done.

    Attributes:
        accelerator: `auto`, `cpu` or `gpu`; one device is used.
        precision: As of Lightning's trainer, for example `bf16-mixed`.
    """

    accelerator: str = "auto"
    precision: str = "32-true"


class ArmTrainer:
    """Trains classifiers of one kind; those that share a pre-training, one after the other, share its work.

    Args:
        class_path: Class of the module.
        arguments: Its constructor arguments as plain data, without those that the data decide.
        budget: How long.
        hardware: Where.
    """

    def __init__(self, class_path: str, arguments: Mapping[str, Any], budget: Budget, hardware: Hardware) -> None:
        self.class_path, self.arguments = class_path, dict(arguments)
        self.budget, self.hardware = budget, hardware
        # one of each: trainings that share them follow each other
        self._pretrained: tuple[str, Weights] | None = None
        self._opened: tuple[Generated, VolumeSet] | None = None

    def settings(self, training: Training, fold: Fold) -> dict[str, Any]:
        """Everything that the result of a training depends on, as JSON types.

        Raises:
            InputError: The arm needs an augmentation, and the data module has none.
        """
        arm = training.arm
        settings: dict[str, Any] = {
            "real": fold.digest,
            "seed": training.seed,
            "training": asdict(arm.training),
            "steps": self.budget.steps,
            "validation_checks": self.budget.validation_checks,
            "batch_size": fold.batch_size,
            "model": {"class_path": self.class_path, "init_args": self.arguments},
            "precision": self.hardware.precision,
        }
        if arm.uses_synthetic:
            settings["generated"] = fold.generated[training.generated].digest
        if arm.pretraining is not None:
            settings |= {"pretraining": asdict(arm.pretraining), "pretraining_steps": self.budget.pretraining_steps}
        if arm.training.augmented:
            if fold.augmentation is None:
                raise InputError(
                    f"--data.augmentation is null; the arm {arm.name} needs one. Name the other arms with --arms to do without."
                )
            settings["augmentation"] = fold.augmentation_settings
        plain: dict[str, Any] = json.loads(json.dumps(settings))
        return plain

    def train(self, training: Training, fold: Fold) -> TrainingResult:
        """Trains a classifier from its first weights and tests it."""
        begin = time.monotonic()
        settings = self.settings(training, fold)
        model = self._new_model(training.seed, fold)
        generated = self._volumes(fold.generated[training.generated]) if training.arm.uses_synthetic else None
        volumes = {}
        if training.arm.pretraining is not None:
            dataset = fold.training_set(training.arm.pretraining, generated, training.seed)
            volumes["pretraining"] = len(dataset)
            model.load_state_dict(self._pretrain(model, dataset, training, fold, settings))
        dataset = fold.training_set(training.arm.training, generated, training.seed)
        volumes["training"] = len(dataset)
        best = BestWeights(str(model.monitor))
        loaders = Loaders(dataset, fold, self.budget.steps, training.seed, training.arm.training.augmented)
        self._fit(
            model,
            loaders,
            [PreciseBatchNorm(), best],
            val_check_interval=self.budget.steps // self.budget.validation_checks,
        )
        model.load_state_dict(best.weights)
        return TrainingResult(
            name=training.name,
            arm=training.arm.name,
            generated=training.generated,
            fold=training.fold,
            seed=training.seed,
            settings=settings,
            network=type(model.network).__name__,
            positive_label=model.class_names.index(model.positive_class),
            cases=_judged(model.to(self._device), fold),
            selected_step=best.step,
            validation_auc=None if best.auc != best.auc else best.auc,
            volumes=volumes,
            seconds=round(time.monotonic() - begin, 2),
            environment=self._environment(),
        )

    def _new_model(self, seed: int, fold: Fold) -> GradeClassifier:
        facts = {
            "class_names": list(fold.class_names),
            "roi_size": fold.roi_size,
            "spacing": fold.spacing,
            "in_channels": fold.channels,
        }
        torch.manual_seed(seed)
        return build(self.class_path, self.arguments | facts, GradeClassifier)

    def _volumes(self, generated: Generated) -> VolumeSet:
        """Generated volumes in memory: those of the training before this one, where they are the same."""
        if self._opened is None or self._opened[0] is not generated:
            self._opened = None  # before the next are read
            self._opened = generated, generated.in_memory()
        return self._opened[1]

    def _pretrain(
        self,
        model: GradeClassifier,
        dataset: VolumeSet,
        training: Training,
        fold: Fold,
        settings: Mapping[str, Any],
    ) -> Weights:
        """Weights after pre-training: those of the training before this one, where they are the same."""
        own = {key: settings[key] for key in ("real", "seed", "generated", "pretraining", "pretraining_steps")}
        key = json.dumps(own, sort_keys=True)
        if self._pretrained is None or self._pretrained[0] != key:
            loaders = Loaders(dataset, fold, self.budget.pretraining_steps, training.seed)
            self._fit(model, loaders, [], limit_val_batches=0)
            self._pretrained = key, copied_weights(model)
        return self._pretrained[1]

    def _fit(self, model: GradeClassifier, loaders: Loaders, callbacks: list[L.Callback], **options: Any) -> None:
        """Runs one stage; nothing but the model's weights is left of it."""
        trainer = L.Trainer(
            accelerator=self.hardware.accelerator,
            devices=1,
            precision=self.hardware.precision,
            max_epochs=1,
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            **options,
        )
        torch.manual_seed(loaders.seed)  # what the model draws does not depend on what was trained before
        trainer.fit(model, datamodule=loaders)
        if trainer.global_step != loaders.steps:  # half a training must not be taken for a whole one
            raise KeyboardInterrupt

    @property
    def _device(self) -> torch.device:
        """Where Lightning trains; it brings models back to the CPU when it is done."""
        gpu = torch.cuda.is_available() and self.hardware.accelerator != "cpu"
        return torch.device("cuda" if gpu else "cpu")

    def _environment(self) -> dict[str, str]:
        gpu = self._device.type == "cuda"
        device = torch.cuda.get_device_name() if gpu else f"CPU, {torch.get_num_threads()} threads"
        return {**package_versions(), "python": platform.python_version(), "device": device}


def _judged(model: GradeClassifier, fold: Fold) -> tuple[Case, ...]:
    """The test part as the model sees it."""
    model.eval()
    patients = dict(zip(fold.test.cases, fold.test.patients, strict=True))
    cases = []
    for batch in DataLoader(fold.test, batch_size=fold.batch_size):
        found = model.probabilities(batch["volume"].to(model.device)).cpu().double()
        for case, label, probabilities in zip(batch["case"], batch["label"], found, strict=True):
            cases.append(Case(case, patients[case], int(label), probabilities.tolist()))
    return tuple(cases)
