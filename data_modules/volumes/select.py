"""Training sets put together from data sets: which volumes are seen, how often, and under which label.

None of these functions reads a volume, except `labels_of` where a data set cannot say its labels; none changes one.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Int
from torch.utils.data import Dataset

from data_modules.base import Item
from data_modules.errors import InputError
from data_modules.roi.dataset import ROIDataset

LabelArray = Int[np.ndarray, " n"]


class Items(Protocol):
    """Anything with a length and regions of interest by position: data sets, folders of volumes, selections."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Item: ...


class Member(NamedTuple):
    """One volume of a selection: where it is, and the class it counts as."""

    dataset: Items
    position: int
    label: int
    patient: str


class Selection(Dataset[Item]):
    """Volumes of other data sets, in any order and number, under labels of their own.

    Args:
        members: The volumes, in order.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = tuple(members)

    @property
    def labels(self) -> LabelArray:
        """Class index of every volume."""
        return np.array([member.label for member in self.members], dtype=np.int64)

    @property
    def patients(self) -> tuple[str, ...]:
        """Patient of every volume; generated volumes are patients of their own."""
        return tuple(member.patient for member in self.members)

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, index: int) -> Item:
        member = self.members[index]
        item = member.dataset[member.position]
        return Item(volume=item["volume"], label=member.label, case=item["case"])


def labels_of(dataset: Items) -> LabelArray:
    """Class index of every item of an indexable data set, without reading volumes where it can say so."""
    if isinstance(dataset, ROIDataset):
        return np.array([entry.label for entry in dataset.entries], dtype=np.int64)
    if hasattr(dataset, "labels"):
        return np.asarray(dataset.labels, dtype=np.int64)
    return np.array([dataset[i]["label"] for i in range(len(dataset))], dtype=np.int64)


def everything(dataset: Items) -> Selection:
    """All items of an indexable data set."""
    if isinstance(dataset, Selection):
        return dataset
    labels, patients = labels_of(dataset).tolist(), _patients_of(dataset)
    return Selection([Member(dataset, i, label, patients[i]) for i, label in enumerate(labels)])


def joined(*datasets: Items) -> Selection:
    """The items of several data sets, one after the other."""
    return Selection([member for dataset in datasets for member in everything(dataset).members])


def subset_by_share(dataset: Items, share: float, seed: int) -> Selection:
    """A share of the patients of every class, at least one each, with all their volumes, in the order of the data set.

    The order of patients depends on the seed and their names alone, and a larger share holds every smaller one of the same
    seed. A patient is of the class of the first of the volumes.

    Args:
        dataset: Indexable.
        share: In (0, 1].
        seed: Another seed gives other patients.

    Raises:
        InputError: The share is none.
    """
    if not 0 < share <= 1:
        raise InputError(f"share of the real training patients is {share}; expected above 0 to 1, for example 0.25.")
    return _first_patients(everything(dataset), seed, lambda count: max(1, round(share * count)))


def limited(dataset: Items, per_class: int, seed: int) -> Selection:
    """At most `per_class` patients (generated: volumes) of every class; a larger number holds every smaller one."""
    return _first_patients(everything(dataset), seed, lambda count: min(per_class, count))


def oversampled(dataset: Items, seed: int) -> Selection:
    """All items, those of smaller classes several times, until every class has as many as the largest.

    Every item of a class comes equally often, or once more than others: those are drawn from the seed.
    """
    members = everything(dataset).members
    labels = labels_of(dataset)
    most = int(np.bincount(labels).max())
    generator = np.random.default_rng(seed)
    chosen: list[int] = []
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        times, rest = divmod(most, len(own))
        chosen += [*np.tile(own, times), *generator.permutation(own)[:rest]]
    return Selection([members[index] for index in chosen])


def with_shuffled_labels(dataset: Items, seed: int) -> Selection:
    """The same volumes with their labels permuted: as many of every class, and nothing to learn from them."""
    members = everything(dataset).members
    labels = np.random.default_rng(seed).permutation(labels_of(dataset)).tolist()
    return Selection([member._replace(label=label) for member, label in zip(members, labels, strict=True)])


def _patients_of(dataset: Items) -> Sequence[str]:
    """Who the volumes are of; where nobody knows, everyone is somebody else."""
    if isinstance(dataset, ROIDataset):
        return [entry.patient for entry in dataset.entries]
    known = getattr(dataset, "patients", None) or getattr(dataset, "names", None)
    return known or [str(index) for index in range(len(dataset))]


def _first_patients(selection: Selection, seed: int, wanted: Callable[[int], int]) -> Selection:
    """The first `wanted(number of patients)` patients of every class in the order of their hashes."""
    classes: dict[str, int] = {}
    for member in selection.members:
        classes.setdefault(member.patient, member.label)
    kept: set[str] = set()
    for label in set(classes.values()):
        own = sorted((p for p, c in classes.items() if c == label), key=lambda patient: _shuffled(seed, patient))
        kept.update(own[: wanted(len(own))])
    return Selection([member for member in selection.members if member.patient in kept])


def _shuffled(seed: int, patient: str) -> str:
    return hashlib.sha256(f"{seed}\n{patient}".encode()).hexdigest()
