"""What a training leaves behind: one JSON file, written when it is done, so that a benchmark goes on where it was stopped."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_modules.errors import InputError
from data_modules.files import write_json
from tumorgen.benchmark.statistics import Predictions

FORMAT = 1


@dataclass(frozen=True)
class Case:
    """What a classifier says of a test case: its label, and the probabilities of all classes."""

    case: str
    patient: str
    label: int
    probabilities: list[float]


@dataclass(frozen=True)
class TrainingResult:
    """One trained classifier and what it says of the test part of its fold.

    Attributes:
        name: Of the training.
        arm: Its arm.
        generated: Label of the generated volumes, or empty.
        fold: The fold it was tested on.
        seed: Its seed.
        settings: Everything that the result depends on.
        network: Class of the network.
        positive_label: Index of the positive class.
        cases: All test cases.
        selected_step: Step of the last stage whose weights were best on the validation part.
        validation_auc: AUC of those weights there; NaN (null) where it has one class only.
        volumes: Volumes per stage of training.
        seconds: Duration; a pre-training that several arms share is counted in each.
        environment: Packages and hardware.
    """

    name: str
    arm: str
    generated: str
    fold: int
    seed: int
    settings: Mapping[str, Any]
    network: str
    positive_label: int
    cases: tuple[Case, ...]
    selected_step: int
    validation_auc: float | None
    volumes: Mapping[str, int]
    seconds: float
    environment: Mapping[str, str]

    @property
    def predictions(self) -> Predictions:
        """The test cases as statistics want them."""
        return Predictions(
            fold=self.fold,
            seed=self.seed,
            patients=tuple(case.patient for case in self.cases),
            positive=np.array([case.label == self.positive_label for case in self.cases]),
            scores=np.array([case.probabilities[self.positive_label] for case in self.cases]),
        )

    def write(self, path: Path) -> None:
        """Writes the result: the file is there completely or not at all."""
        write_json(path, {"format": FORMAT, **asdict(self)})


def result_path(output: Path, name: str) -> Path:
    """Where the result of a training lies in the folder of a benchmark."""
    return output / "runs" / f"{name}.json"


def read_result(path: Path, settings: Mapping[str, Any] | None = None) -> TrainingResult | None:
    """Reads the result of a training.

    Args:
        path: Its file.
        settings: What it has to have been trained with; None accepts any.

    Returns:
        The result; None if there is none yet.

    Raises:
        InputError: The file is damaged, or the result is one of other settings.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format") != FORMAT:
            raise ValueError(f"not of format {FORMAT}")
        content["cases"] = tuple(Case(**case) for case in content["cases"])
        result = TrainingResult(**content)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: is no result of a training ({error!r}); remove it, or train it again with --overwrite."
        ) from error
    if settings is not None and (differences := list(_differences(result.settings, settings))):
        raise InputError(
            f"{path}: was trained with other settings ({'; '.join(differences[:3])}), so it cannot be used. Choose another "
            "--output to keep both, or train it again with --overwrite."
        )
    return result


def _differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """Every setting that differs, as `key: old, now new`."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            yield from _differences(old.get(key), new.get(key), f"{where}.{key}" if where else key)
    elif old != new:
        yield f"{where}: {old}, now {new}"
