"""Which classifiers are trained: every arm, over the same folds and seeds, for every set of generated volumes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_modules.errors import InputError
from data_modules.volumes.layout import read_manifest
from tumorgen.benchmark.arms import Arm
from tumorgen.methods.system import NAME, System


@dataclass(frozen=True)
class Training:
    """One classifier to be trained.

    Attributes:
        arm: What it trains on.
        generated: Label of the generated volumes; empty for arms that use none.
        fold: Fold whose test part it is tested on.
        seed: Of its first weights, of the order of volumes and of what is drawn at random.
    """

    arm: Arm
    generated: str
    fold: int
    seed: int

    @property
    def name(self) -> str:
        """Unique within a benchmark, and fit for a file's name."""
        return "-".join(filter(None, (self.arm.name, self.generated, f"fold{self.fold}", f"seed{self.seed}")))


def plan(arms: Sequence[Arm], labels: Sequence[str], folds: Sequence[int], seeds: Sequence[int]) -> list[Training]:
    """All trainings, ordered such that those that share a pre-training follow each other.

    Raises:
        InputError: There is nothing to train, or something twice.
    """
    for option, values in (("folds", folds), ("seeds", seeds)):
        if not values or len(set(values)) < len(values) or min(values) < 0:
            raise InputError(f"--{option}: found {list(values)}, expected different numbers from 0 on, at least one.")
    if synthetic := [arm.name for arm in arms if arm.uses_synthetic and not labels]:
        raise InputError(
            f"--generated: the arm {synthetic[0]} needs generated volumes; give at least one label with folders, for example "
            "--generated '{mine: \"samples/fold{fold}\"}', or choose others with --arms."
        )
    return [
        Training(arm, label, fold, seed)
        for fold in folds
        for seed in seeds
        for label in ("", *labels)
        for arm in arms
        if arm.uses_synthetic == bool(label)
    ]


def selected(trainings: Sequence[Training], only: str | None) -> list[Training]:
    """The part of a plan that one process does.

    Args:
        trainings: The plan.
        only: Comma-separated conditions on arm, generated, fold and seed, such as `arm=mixed,fold=0`; None selects all.

    Raises:
        InputError: A condition cannot be read, or nothing fulfils all of them.
    """
    chosen = list(trainings)
    for condition in (only or "").split(",") if only else []:
        key, _, value = condition.strip().partition("=")
        if key not in ("arm", "generated", "fold", "seed") or not value:
            raise InputError(
                f"--only: cannot read '{condition}'; expected conditions such as arm=mixed,fold=0 on arm, generated, fold "
                "or seed."
            )
        chosen = [training for training in chosen if _value(training, key) == value]
    if not chosen:
        raise InputError(f"--only {only}: no training of this benchmark fulfils it; it trains {_extent(trainings)}.")
    return chosen


Folders = str | Sequence[str]
"""One folder, whose name may hold `{fold}`, or one for each of the folds in their order."""


def folders_by_fold(generated: Folders | Mapping[str, Folders], folds: Sequence[int]) -> dict[str, dict[int, str]]:
    """Where each label's volumes for each fold are.

    Args:
        generated: By label; without, the label is the name of the system in the manifests.
        folds: The folds of the benchmark.

    Raises:
        InputError: A label cannot be part of a file's name, the numbers of folders and folds differ, or the manifests do not
            name one system.
    """
    if not isinstance(generated, Mapping):
        unnamed = folders_by_fold({"volumes": generated}, folds)["volumes"]
        return {_system_of(list(unnamed.values())): unnamed}
    folders: dict[str, dict[int, str]] = {}
    for label, given in generated.items():
        if not NAME.fullmatch(label):
            raise InputError(f"--generated: label '{label}'; expected letters, digits and the signs _ . + only.")
        if isinstance(given, str):
            folders[label] = {fold: given.replace("{fold}", str(fold)) for fold in folds}
        elif len(given) == len(folds):
            folders[label] = dict(zip(folds, map(str, given), strict=True))
        else:
            raise InputError(
                f"--generated: {label} has {len(given)} folders for {len(folds)} folds ({_listed(folds)}); expected one for "
                "each, in this order. --folds chooses folds."
            )
    return folders


def _system_of(folders: Sequence[str]) -> str:
    """The name of the system that sampled all these folders."""
    names = {System.of_manifest(read_manifest(Path(folder))).name for folder in folders}
    if len(names) != 1 or "" in names:
        said = ", ".join(sorted(name or "none" for name in names))
        raise InputError(
            f"--generated: the system in the manifests of {folders[0]}, ...: found {said}, expected the same name in all; give "
            f"one yourself: '{{NAME: {folders[0]}}}'."
        )
    return names.pop()


def _value(training: Training, key: str) -> str:
    return training.arm.name if key == "arm" else str(getattr(training, key))


def _extent(trainings: Sequence[Training]) -> str:
    parts = (("arm", "arms"), ("generated", "labels"), ("fold", "folds"), ("seed", "seeds"))
    found = {name: dict.fromkeys(_value(training, key) for training in trainings) for key, name in parts}
    return "; ".join(f"{name} {_listed(filter(None, values))}" for name, values in found.items() if any(values))


def _listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))
