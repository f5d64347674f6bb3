"""Folds that keep patients together and classes in proportion, and that nobody leaves once assigned."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from data_modules.base import Part
from data_modules.errors import InputError


class PatientCase(NamedTuple):
    """A case to be assigned; the class is empty where nobody knows it."""

    case: str
    patient: str
    class_name: str


@dataclass(frozen=True)
class FoldSettings:
    """What folds depend on, apart from the patients.

    Attributes:
        folds: Number of folds, at least 2.
        val_share: Share of the cases outside the test fold that are held back for validation, in [0, 1).
        seed: Another seed gives other folds.

    Raises:
        InputError: Numbers that make no folds.
    """

    folds: int = 5
    val_share: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise InputError(f"--data.folds is {self.folds}; at least 2 are needed, one to test and one to train on")
        if not 0 <= self.val_share < 1:
            raise InputError(
                f"--data.val_share is {self.val_share}; expected a share from 0 to below 1, for example 0.15"
            )


@dataclass(frozen=True)
class Folds:
    """Where every patient is, under one setting.

    Attributes:
        settings: What they were made with.
        stratified_by: Column of the classes that were kept in proportion.
        test: Patients that each fold tests on.
        validation: Patients that each fold validates with.
    """

    settings: FoldSettings
    stratified_by: str
    test: tuple[frozenset[str], ...]
    validation: tuple[frozenset[str], ...]

    def part(self, patient: str, fold: int) -> Part | None:
        """The part that a patient is in; None for one who has never been assigned."""
        if patient in self.test[fold]:
            return "test"
        if patient in self.validation[fold]:
            return "val"
        return "train" if any(patient in others for others in self.test) else None

    def check(self, cases: Sequence[PatientCase]) -> None:
        """Makes sure that cases can be learnt from, selected from and tested on in every fold.

        Raises:
            InputError: A part would lack a class, or validation has no case, with the counts.
        """
        classes = {case.class_name for case in cases}
        patients = {name: len({m.patient for m in cases if m.class_name == name}) for name in classes}
        fewest, folds = min(patients.values(), default=0), self.settings.folds
        if fewest < folds:
            advice = f"use --data.folds {fewest}" + " or fewer" * (fewest > 2)
            if fewest < 2:
                advice = "add cases of the small class"
            raise _impossible(f"{folds} folds need at least {folds} patients of every class", advice, cases, patients)
        for fold in range(folds):
            found: dict[Part | None, set[str]] = defaultdict(set)
            for case in cases:
                found[self.part(case.patient, fold)].add(case.class_name)
            if self.settings.val_share > 0 and not found["val"]:
                reason = f"in fold {fold} there is no patient for validation"
                advice = "add cases, take a larger --data.val_share, or do without validation: --data.val_share 0"
                raise _impossible(reason, advice, cases, patients)
            for name, part in (("test", found["test"]), ("training", found["train"])):
                if part != classes:
                    reason = f"in fold {fold} the {name} part would lack a class"
                    raise _impossible(reason, "use fewer folds or another --data.seed", cases, patients)


def assign(
    cases: Sequence[PatientCase], settings: FoldSettings, stratified_by: str, earlier: Folds | None = None
) -> Folds:
    """Assigns every patient to the test part of one fold, and some to the validation parts of others.

    Patients are dealt to the fold that has the fewest cases of their class, those with most cases first, otherwise in an
    order that depends on the seed and their names alone: equal on every machine and with every library version. A share of
    each class of the rest becomes validation, at least one case in all; the remainder is for training. In very small cohorts
    a class may go without a validation case. Patients of unknown class are dealt in the same way, after all others.

    Args:
        cases: The cases; those of one patient stay together.
        settings: Number of folds and so on.
        stratified_by: Column of the classes.
        earlier: Nobody who is in it moves.
    """
    patients: dict[str, list[PatientCase]] = defaultdict(list)
    for case in cases:
        patients[case.patient].append(case)
    known = {patient: labelled for patient, own in patients.items() if (labelled := [m for m in own if m.class_name])}
    unlabelled = {patient: own for patient, own in patients.items() if patient not in known}
    old = {} if earlier is None else {p: k for k, part in enumerate(earlier.test) for p in part}
    place = {**old}
    for group in (known, unlabelled):
        place |= _deal(group, place, known | unlabelled, settings)
    validation = []
    for fold in range(settings.folds):
        held = set() if earlier is None else set(earlier.validation[fold])
        for group in (known, unlabelled):
            rest = {patient: own for patient, own in group.items() if place[patient] != fold}
            held |= _hold_back(rest, held, set(rest) - set(old), settings)
        validation.append(frozenset(held))
    test = (frozenset(p for p, k in place.items() if k == fold) for fold in range(settings.folds))
    return Folds(settings, stratified_by if earlier is None else earlier.stratified_by, tuple(test), tuple(validation))


Patients = Mapping[str, list[PatientCase]]


def _deal(group: Patients, place: Mapping[str, int], everyone: Patients, settings: FoldSettings) -> dict[str, int]:
    """Folds for those of a group that have none yet."""
    totals: list[Counter[str]] = [Counter() for _ in range(settings.folds)]
    for patient, k in place.items():
        totals[k].update(case.class_name for case in everyone.get(patient, ()))
    dealt = {}
    new = [patient for patient in group if patient not in place]
    for patient in sorted(new, key=lambda name: (-len(group[name]), _shuffled(settings.seed, name))):
        counts = Counter(case.class_name for case in group[patient])
        k = min(range(settings.folds), key=lambda j: (sum(totals[j][name] for name in counts), totals[j].total(), j))
        dealt[patient] = k
        totals[k] += counts
    return dealt


def _hold_back(rest: Patients, held: Iterable[str], new: set[str], settings: FoldSettings) -> set[str]:
    """New patients for validation: up to the share of every class, at least one patient in all, never a class's last."""
    if settings.val_share == 0:
        return set()
    left = Counter(case.class_name for own in rest.values() for case in own)
    wanted = {name: round(settings.val_share * count) for name, count in left.items()}
    already = [patient for patient in held if patient in rest]
    for patient in already:
        for case in rest[patient]:
            wanted[case.class_name] -= 1
            left[case.class_name] -= 1
    chosen: set[str] = set()
    order = sorted(new, key=lambda name: _shuffled(settings.seed, "validation", name))
    for patient in order:
        counts = Counter(case.class_name for case in rest[patient])
        if all(count <= wanted[name] and count < left[name] for name, count in counts.items()):
            chosen.add(patient)
            for name, count in counts.items():
                wanted[name] -= count
                left[name] -= count
    if chosen or already:
        return chosen
    spare = [p for p in order if all(left[name] > n for name, n in Counter(m.class_name for m in rest[p]).items())]
    # of the class with most cases, and few of them: the training part is small as it is
    return set(sorted(spare, key=lambda p: (len(rest[p]), -left[rest[p][0].class_name]))[:1])


def _shuffled(seed: int, *names: str) -> str:
    return hashlib.sha256("\n".join([str(seed), *names]).encode()).hexdigest()


def _impossible(reason: str, advice: str, cases: Sequence[PatientCase], patients: Mapping[str, int]) -> InputError:
    number = Counter(case.class_name for case in cases)
    counts = (
        ", ".join(f"{name}: {number[name]} cases of {patients[name]} patients" for name in sorted(number)) or "no cases"
    )
    return InputError(f"these cases cannot be split: {reason}; found {counts}. Please {advice}")
