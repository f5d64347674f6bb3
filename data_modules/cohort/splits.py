"""Folds that keep patients together and classes in proportion."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from data_modules.errors import InputError
from data_modules.files import write_json


class Member(NamedTuple):
    """A case to be assigned."""

    case: str
    patient: str
    class_name: str


@dataclass(frozen=True)
class Split:
    """Case identifiers of the three parts of one fold, sorted."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


def make_splits(members: Sequence[Member], folds: int = 5, val_share: float = 0.15, seed: int = 0) -> tuple[Split, ...]:
    """Assigns every case to the parts of every fold: fold k is the test part of split k.

    Patients are dealt to the fold that has the fewest cases of their class, those with most cases first, otherwise in
    an order that depends on the seed and their names alone: equal on every machine and with every library version. A
    share of each class of the rest becomes validation, at least one case in all; the remainder is for training. In very
    small cohorts a class may go without a validation case.

    Args:
        members: The cases; those of one patient stay together.
        folds: Number of folds, at least 2.
        val_share: Share of the cases outside the test fold that are held back for validation, in [0, 1).
        seed: Another seed gives other folds.

    Raises:
        InputError: if any training or test part would lack a class, with the counts.
    """
    if folds < 2:
        raise InputError(f"--data.folds is {folds}; at least 2 are needed, one to test and one to train on")
    if not 0 <= val_share < 1:
        raise InputError(f"--data.val_share is {val_share}; expected a share from 0 to below 1, for example 0.15")
    patients: dict[str, list[Member]] = defaultdict(list)
    for member in members:
        patients[member.patient].append(member)
    classes = sorted({member.class_name for member in members})
    per_class = {name: sum(any(m.class_name == name for m in own) for own in patients.values()) for name in classes}
    if not members or min(per_class.values()) < folds:
        fewest = min(per_class.values(), default=0)
        advice = (
            f"use --data.folds {fewest}" + " or fewer" * (fewest > 2) if fewest > 1 else "add cases of the small class"
        )
        raise _impossible(f"{folds} folds need at least {folds} patients of every class", advice, members, per_class)
    parts = _deal(patients, folds, seed)
    splits = []
    for k in range(folds):
        rest = {patient: own for j, part in enumerate(parts) if j != k for patient, own in part.items()}
        held_back = _hold_back(rest, val_share, seed)
        if val_share > 0 and not held_back:
            reason = (
                f"in fold {k} no patient can be spared for validation without taking a class from the training part"
            )
            raise _impossible(reason, "add cases, or do without validation: --data.val_share 0", members, per_class)
        training = {patient: own for patient, own in rest.items() if patient not in held_back}
        for name, part in (("test", parts[k]), ("training", training)):
            if {m.class_name for own in part.values() for m in own} != set(classes):
                reason = f"in fold {k} the {name} part would lack a class"
                raise _impossible(reason, "use fewer folds or another --data.seed", members, per_class)
        validation = {patient: rest[patient] for patient in held_back}
        splits.append(Split(_cases(training), _cases(validation), _cases(parts[k])))
    return tuple(splits)


def write_splits(path: Path, splits: Sequence[Split], members: Sequence[Member], **settings: float) -> None:
    """Writes splits as JSON, with the patient of every case and what they were made with."""
    patients = {member.case: member.patient for member in members}
    write_json(path, {**settings, "patients": patients, "splits": [asdict(split) for split in splits]})


def read_split(path: Path, fold: int) -> Split:
    """Reads one of the splits of a file.

    Raises:
        InputError: if the file is missing, damaged or has no such fold.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))["splits"][fold]
        return Split(tuple(content["train"]), tuple(content["val"]), tuple(content["test"]))
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise InputError(f"{path}: no usable split for fold {fold} ({error}); run `tumorgen prepare` first") from error


Patients = dict[str, list[Member]]


def _deal(patients: Patients, folds: int, seed: int) -> list[Patients]:
    parts: list[Patients] = [{} for _ in range(folds)]
    totals: list[Counter[str]] = [Counter() for _ in range(folds)]
    for patient in sorted(patients, key=lambda name: (-len(patients[name]), _shuffled(seed, name))):
        counts = Counter(member.class_name for member in patients[patient])
        k = min(range(folds), key=lambda j: (sum(totals[j][name] for name in counts), totals[j].total(), j))
        parts[k][patient] = patients[patient]
        totals[k] += counts
    return parts


def _hold_back(rest: Patients, val_share: float, seed: int) -> set[str]:
    """Patients for validation: up to the share of every class, at least one patient, never a class's last."""
    if val_share == 0:
        return set()
    order = sorted(rest, key=lambda name: _shuffled(seed, "validation", name))
    left = Counter(member.class_name for own in rest.values() for member in own)
    wanted = {name: round(val_share * count) for name, count in left.items()}
    held: set[str] = set()
    for patient in order:
        counts = Counter(member.class_name for member in rest[patient])
        if all(count <= wanted[name] and count < left[name] for name, count in counts.items()):
            held.add(patient)
            for name, count in counts.items():
                wanted[name] -= count
                left[name] -= count
    if held:
        return held
    spare = [p for p in order if all(left[name] > n for name, n in Counter(m.class_name for m in rest[p]).items())]
    # of the class with most cases, and few of them: the training part is small as it is
    return set(sorted(spare, key=lambda p: (len(rest[p]), -left[rest[p][0].class_name]))[:1])


def _cases(part: Patients) -> tuple[str, ...]:
    return tuple(sorted(member.case for own in part.values() for member in own))


def _shuffled(seed: int, *names: str) -> str:
    return hashlib.sha256("\n".join([str(seed), *names]).encode()).hexdigest()


def _impossible(reason: str, advice: str, members: Sequence[Member], patients: dict[str, int]) -> InputError:
    cases = Counter(member.class_name for member in members)
    counts = (
        ", ".join(f"{name}: {cases[name]} cases of {patients[name]} patients" for name in sorted(cases)) or "no cases"
    )
    return InputError(f"these cases cannot be split: {reason}; found {counts}. Please {advice}")
