"""What every metric of generated volumes is: an object that prepares on real volumes, and then measures generated ones.

`prepare(real)` takes what depends on the real volumes alone and returns a measure; `measure(generated)` returns records.
`tumorgen evaluate` and the evaluation during training use the same objects; they differ in how many volumes they bring.
A metric of one's own is a class with `prepare` in one file, and a line in a list of metrics, such as experiments/evaluate.yaml.

Legend: C sequences, D H W voxels.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from data_modules.errors import InputError
from tumorgen.results.records import POOLED, Floor, Interval, Record
from tumorgen.types import Volume

Image: TypeAlias = Float[Tensor, "C D H W"]
Rows: TypeAlias = Float[Tensor, "n width"]
Measure: TypeAlias = Callable[["Volumes"], list[Record]]

_CHUNK_VOXELS = 2**22  # voxels that an extractor sees at once: two volumes of 128^3, or 128 of 32^3


class Extractor(Protocol):
    """Turns volumes into features.

    Attributes:
        name: Tells it from other extractors.
    """

    name: str

    def __call__(self, volume: Volume, /) -> Float[Tensor, "B width"]:
        """Features of volumes in [-1, 1], on the CPU."""

    def description(self) -> dict[str, Any]:
        """What a definition says of it, as JSON types."""


@dataclass(frozen=True, eq=False)
class Volumes(Sequence[Image]):
    """Volumes in [-1, 1] of one size with a class each, read when asked for; what is computed of one is computed once.

    Attributes:
        source: Volumes, of which `positions` are these.
        classes: Label of every volume of the source.
        positions: Which of the source's volumes these are.
        names: What to call every volume of the source.
        patients: Whose they are; None: each is somebody else's.
    """

    source: Sequence[Image]
    classes: Int[Tensor, " all"]
    positions: Int[Tensor, " n"]
    names: Sequence[str]
    patients: Sequence[str] | None = None
    _known: dict[Hashable, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        source: Sequence[Image],
        classes: Sequence[int] | Int[np.ndarray, " all"],
        names: Sequence[str] | None = None,
        patients: Sequence[str] | None = None,
    ) -> "Volumes":
        """All volumes of a source; without names they are numbered."""
        labels = torch.as_tensor(classes, dtype=torch.int64)
        return cls(source, labels, torch.arange(len(labels)), names or [str(i) for i in range(len(labels))], patients)

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self.source[i] for i in self.positions[index].tolist()]
        return self.source[int(self.positions[index])]

    def __iter__(self) -> Iterator[Image]:
        return (self.source[i] for i in self.positions.tolist())

    def select(self, chosen: Int[Tensor, " k"]) -> "Volumes":
        """Some of these volumes, by their index among these; what is known of them stays known."""
        return replace(self, positions=self.positions[chosen])

    def of_class(self, label: int) -> "Volumes":
        """Those of one class."""
        return self.select(torch.nonzero(self.labels == label)[:, 0])

    @property
    def labels(self) -> Int[Tensor, " n"]:
        """Class of every volume."""
        return self.classes[self.positions]

    @property
    def side(self) -> int:
        """Voxels along the shortest side."""
        return min(self[0].shape[1:])

    def name(self, index: int) -> str:
        """What to call one of these volumes."""
        return self.names[int(self.positions[index])]

    def whose(self) -> list[str] | None:
        """Patients of these volumes, where somebody knows them."""
        return None if self.patients is None else [self.patients[i] for i in self.positions.tolist()]

    def rows(self, key: Hashable, compute: Callable[[Volume], Tensor], at_once: int = 1) -> Tensor:
        """One row per volume: `compute` of a batch of at most `at_once` volumes, for each volume once.

        Args:
            key: Tells what is computed; the rows are found again under it.
            compute: Takes (b, C, D, H, W), returns (b, ...).
            at_once: Volumes that are read before they are computed on.
        """
        table, done = self._known.get(key, (None, torch.zeros(len(self.classes), dtype=torch.bool)))
        missing = self.positions[~done[self.positions]].unique().tolist()
        for start in range(0, len(missing), at_once):
            some = missing[start : start + at_once]
            values = compute(torch.stack([self.source[i] for i in some]))
            if table is None:  # one table: rows of their own among large volumes that come and go would scatter memory
                table = values.new_empty(len(self.classes), *values.shape[1:])
                self._known[key] = table, done
            table[some], done[some] = values, True
        assert table is not None, "no volumes, no rows"
        return table[self.positions]

    def features(self, extractor: Extractor) -> Rows:
        """Features of every volume."""
        at_once = max(1, _CHUNK_VOXELS // self[0].numel())
        return self.rows(("features", extractor.name), extractor, at_once)


@dataclass(frozen=True)
class Resampling:
    """How intervals, tests and floors are taken.

    Attributes:
        seed: Of everything that is drawn.
        resamples: Bootstrap resamples of an interval.
        permutations: Relabellings of a permutation test.
        splits: Half splits of a floor; a fourth of it for the FID.
    """

    seed: int = 0
    resamples: int = 1000
    permutations: int = 1000
    splits: int = 200

    def __post_init__(self) -> None:
        for name in ("resamples", "permutations", "splits"):
            at_least_one(f"--{name}", getattr(self, name))


@dataclass(frozen=True)
class Real:
    """The real volumes that generated ones are held against.

    Attributes:
        class_names: Classes in the order of their labels.
        spacing: Edge length of a voxel in mm.
        compared: Those that generated ones are compared with: held out where anything is, else all.
        everything: All there are, whatever their part.
        training: What the generator was trained on.
        held_out: Those whose distances to training volumes say what a copy is; None: the training volumes' own do.
        extractors: Feature spaces.
        resampling: How intervals, tests and floors are taken.
        facts: What the definition of every record says of these volumes.
        generated_training: How many of the training volumes are generated ones.
    """

    class_names: tuple[str, ...]
    spacing: float
    compared: Volumes
    everything: Volumes
    training: Volumes
    held_out: Volumes | None
    extractors: Sequence[Extractor] = ()
    resampling: Resampling = field(default_factory=Resampling)
    facts: Mapping[str, Any] = field(default_factory=dict)
    generated_training: int = 0

    def of(self, classes: Sequence[int]) -> Volumes:
        """The compared volumes of some classes, class by class."""
        return replace(self.compared, positions=torch.cat([self.compared.of_class(i).positions for i in classes]))


@dataclass(frozen=True)
class Group:
    """Generated volumes and the real ones they are compared with: of a class, or pooled.

    Attributes:
        name: A class, or `pooled`.
        classes: Labels in it; they identify the real volumes.
        generated: At least two.
        real: At least two.
    """

    name: str
    classes: tuple[int, ...]
    generated: Volumes
    real: Volumes

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of volumes, for records."""
        return {"real": len(self.real), "generated": len(self.generated)}

    def interval(self, found: Callable[[], Interval]) -> Interval | None:
        """An interval, where there are three volumes of either: some leave one out."""
        return found() if min(len(self.generated), len(self.real)) > 2 else None

    def floor(self, found: Callable[[], Floor]) -> Floor | None:
        """A floor, where the real volumes have two halves of two."""
        return found() if len(self.real) > 3 else None


class Metric(ABC):
    """A metric of generated volumes; the only statement of its name and definition."""

    @abstractmethod
    def prepare(self, real: Real) -> Measure:
        """Takes what depends on the real volumes alone.

        Returns:
            A function from generated volumes to records: their `group` says the class, their `definition` what the value
            means, as JSON types: `title` (its name in tables), `better` (`lower`, `higher`, or `real`: close to the floor).
            Volumes that are too few for the metric have no record.
        """


def groups(real: Real, generated: Volumes) -> list[Group]:
    """Every class with at least two volumes of either kind; then all of these pooled, where there are several."""
    found = []
    for label, name in enumerate(real.class_names):
        own, theirs = generated.of_class(label), real.compared.of_class(label)
        if min(len(own), len(theirs)) > 1:
            found.append(Group(name, (label,), own, theirs))
    return [*found, _pooled(real, found)] if len(found) > 1 else found


def joined(measures: Sequence[Measure]) -> Measure:
    """The records of several measures, one after the other."""
    return lambda generated: [record for measure in measures for record in measure(generated)]


def _pooled(real: Real, found: Sequence[Group]) -> Group:
    """As many generated volumes as can be taken in the classes' real proportions: grades must not differ by mixture alone."""
    rng = np.random.default_rng(real.resampling.seed)
    scale = min(len(group.generated) / len(group.real) for group in found)
    drawn = []
    for group in found:
        wanted = max(1, round(scale * len(group.real)))
        drawn.append(group.generated.positions[np.sort(rng.permutation(len(group.generated))[:wanted])])
    classes = tuple(label for group in found for label in group.classes)
    return Group(POOLED, classes, replace(found[0].generated, positions=torch.cat(drawn)), real.of(classes))


def at_least_one(name: str, value: int) -> None:
    """Refuses numbers that make no metric.

    Raises:
        InputError: It is below 1.
    """
    if value < 1:
        raise InputError(f"{name}: found {value}, expected at least 1")
