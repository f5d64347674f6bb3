"""Training sets put together from lists of volumes: which volumes are seen, how often, and under which label.

None of these functions reads a volume; none changes one.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data_modules.base import Item, VolumeSet
from data_modules.errors import InputError


class Pick(NamedTuple):
    """One volume of a selection: where it is, and what it counts as."""

    volumes: VolumeSet
    position: int
    label: int
    patient: str
    case: str


class Selection(VolumeSet):
    """Volumes of other lists, in any order and number, under labels of their own.

    Args:
        picks: The volumes, in order.
    """

    def __init__(self, picks: Sequence[Pick]) -> None:
        self.picks = tuple(picks)
        self.labels = np.array([pick.label for pick in self.picks], dtype=np.int64)
        self.patients = tuple(pick.patient for pick in self.picks)
        self.cases = tuple(pick.case for pick in self.picks)

    def __len__(self) -> int:
        return len(self.picks)

    def __getitem__(self, index: int) -> Item:
        pick = self.picks[index]
        return Item(volume=pick.volumes[pick.position]["volume"], label=pick.label, case=pick.case)


def joined(*volumes: VolumeSet) -> Selection:
    """The volumes of several lists, one after the other."""
    return Selection([pick for one in volumes for pick in _picks(one)])


def repeated(volumes: VolumeSet, times: int) -> Selection:
    """All volumes so many times over; augmentation gives every copy a draw of its own."""
    return Selection(_picks(volumes) * times)


def first_patients(
    volumes: VolumeSet, seed: int, *, share: float | None = None, per_class: int | None = None
) -> Selection:
    """Some of the patients of every class (generated: volumes), with all their volumes, in the order of the list.

    The order of patients depends on the seed and their names alone: a larger share or number holds every smaller one of the
    same seed. A patient is of the class of the first of the volumes.

    Args:
        volumes: To choose from.
        seed: Another seed gives other patients.
        share: Of the patients of every class, in (0, 1]; at least one each.
        per_class: At most so many of every class.

    Raises:
        InputError: The share is none.
    """
    if share is not None and not 0 < share <= 1:
        raise InputError(f"share of the real training patients is {share}; expected above 0 to 1, for example 0.25.")
    picks = _picks(volumes)
    classes: dict[str, int] = {}
    for pick in picks:
        classes.setdefault(pick.patient, pick.label)
    kept: set[str] = set()
    for label in set(classes.values()):
        own = sorted((p for p, c in classes.items() if c == label), key=lambda patient: _shuffled(seed, patient))
        number = len(own) if share is None else max(1, round(share * len(own)))
        kept.update(own[: number if per_class is None else min(number, per_class)])
    return Selection([pick for pick in picks if pick.patient in kept])


def oversampled(volumes: VolumeSet, seed: int) -> Selection:
    """All volumes, those of smaller classes several times, until every class has as many as the largest.

    Every volume of a class comes equally often, or once more than others: those are drawn from the seed.
    """
    picks, labels = _picks(volumes), volumes.labels
    most = int(np.bincount(labels).max())
    generator = np.random.default_rng(seed)
    chosen: list[int] = []
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        times, rest = divmod(most, len(own))
        chosen += [*np.tile(own, times), *generator.permutation(own)[:rest]]
    return Selection([picks[index] for index in chosen])


def with_shuffled_labels(volumes: VolumeSet, seed: int) -> Selection:
    """The same volumes with their labels permuted: as many of every class, and nothing to learn from them."""
    labels = np.random.default_rng(seed).permutation(volumes.labels).tolist()
    return Selection([pick._replace(label=label) for pick, label in zip(_picks(volumes), labels, strict=True)])


def _picks(volumes: VolumeSet) -> list[Pick]:
    if isinstance(volumes, Selection):
        return list(volumes.picks)
    facts = zip(volumes.labels.tolist(), volumes.patients, volumes.cases, strict=True)
    return [Pick(volumes, index, *own) for index, own in enumerate(facts)]


def _shuffled(seed: int, patient: str) -> str:
    return hashlib.sha256(f"{seed}\n{patient}".encode()).hexdigest()
