"""Who is behind a model or a folder of volumes, told by keyed hashes; and the one check that nobody held out is.

Patients stand in checkpoints and manifests as HMAC-SHA256 hashes under a key that stays with the cohort's owner, beside the
names: whoever has the key can look patients up, nobody else can, whatever identifiers are tried.
"""

import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_modules.errors import InputError

if TYPE_CHECKING:
    from data_modules.volumes.folder import VolumeFolder

KEY_FILE = "split.private.json"
"""Where a key lies, with or without the folds that it belongs to: beside a cohort's caches, in a folder of real volumes."""

_SHOWN = 3


@dataclass(frozen=True)
class PatientKey:
    """The secret that turns the patients of one cohort into hashes.

    Attributes:
        split: Identifier of the cohort's split; it stands beside the hashes and says which key they need.
        secret: At least 16 random bytes.
    """

    split: str
    secret: bytes = field(repr=False)

    def to_json(self) -> dict[str, str]:
        """The key as JSON types."""
        return {"id": self.split, "key": self.secret.hex()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "PatientKey":
        """The inverse of `to_json`; other entries are left alone."""
        return cls(content["id"], bytes.fromhex(content["key"]))

    @classmethod
    def read(cls, path: Path) -> "PatientKey":
        """Reads a key from its file.

        Raises:
            InputError: The file holds none.
        """
        try:
            return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: holds no key of patients' hashes ({error!r}); copy it again") from error

    def hashes(self, patients: Iterable[str]) -> tuple[str, ...]:
        """HMAC-SHA256 of each patient's identifier, 64 hex digits, sorted, each once."""
        return tuple(sorted({hmac.new(self.secret, patient.encode(), "sha256").hexdigest() for patient in patients}))

    def recognised(self, patients: Iterable[str], origin: "Origin") -> list[str]:
        """Those of `patients` that are behind something, sorted."""
        known = {patient for one in origin.trainings() if one.split == self.split for patient in one.patients}
        return sorted(patient for patient in set(patients) if known.intersection(self.hashes([patient])))


@dataclass(frozen=True)
class Origin:
    """The patients behind everything that led to a model or to volumes.

    Attributes:
        split: Identifier of the split that the patients are of; empty where nobody is known.
        fold: Fold that was held out of the training; None where there are no folds.
        patients: Keyed hashes, sorted.
        unknown: Whether there are, or may be, others of whom nothing is known.
        phantom: Whether artificial patients are among them.
        parents: Trainings on other splits or folds that went before: of a tokenizer, of the generator of training volumes.
    """

    split: str = ""
    fold: int | None = None
    patients: tuple[str, ...] = ()
    unknown: bool = False
    phantom: bool = False
    parents: tuple["Origin", ...] = ()

    def trainings(self) -> tuple["Origin", ...]:
        """This training and all before it, without those that add nobody."""
        return tuple(one for one in (self, *self.parents) if one.patients)

    def joined(self, *others: "Origin") -> "Origin":
        """The origin of what comes of several: patients of one split and fold together, all others as parents."""
        patients: dict[tuple[str, int | None], set[str]] = {}
        for one in (self, *others):
            patients.setdefault((one.split, one.fold), set())  # a training on generated volumes alone has no patients
            for training in one.trainings():
                patients.setdefault((training.split, training.fold), set()).update(training.patients)
        (split, fold), *before = sorted(patients, key=lambda place: not place[0])  # stable: the first that has a split
        return Origin(
            split,
            fold,
            tuple(sorted(patients[split, fold])),
            unknown=any(one.unknown for one in (self, *others)),
            phantom=any(one.phantom for one in (self, *others)),
            parents=tuple(Origin(*place, tuple(sorted(patients[place]))) for place in before if patients[place]),
        )

    def to_json(self) -> dict[str, Any]:
        """The origin as JSON types."""
        content = {"split": self.split, "fold": self.fold, "patients": list(self.patients)}
        parents = [{"split": one.split, "fold": one.fold, "patients": list(one.patients)} for one in self.parents]
        return {**content, "unknown": self.unknown, "phantom": self.phantom, "parents": parents}

    @classmethod
    def of_checkpoint(cls, checkpoint: Mapping[str, Any]) -> "Origin":
        """What a checkpoint of tumorgen says of its origin."""
        return cls.from_json(checkpoint.get("tumorgen", {}).get("origin"))

    @classmethod
    def from_json(cls, content: Mapping[str, Any] | None) -> "Origin":
        """The inverse of `to_json`; what is no origin is unknown."""
        try:
            assert content is not None
            return cls(
                str(content["split"]),
                None if content["fold"] is None else int(content["fold"]),
                tuple(map(str, content["patients"])),
                unknown=bool(content.get("unknown", False)),
                phantom=bool(content.get("phantom", False)),
                parents=tuple(cls.from_json(one) for one in content.get("parents", ())),
            )
        except (AssertionError, KeyError, TypeError, ValueError):
            return cls(unknown=True)


@dataclass(frozen=True)
class Verdict:
    """What a check found: nobody who is held out is known to be behind something.

    Attributes:
        reason: Why it is not certain; empty if every patient behind it was compared.
        patients: How many patients are behind it, as far as it says.
        recognised: How many of them are training patients. The others are of this cohort no more, or of another one.
    """

    reason: str
    patients: int
    recognised: int

    @property
    def certain(self) -> bool:
        """Whether every patient behind it was compared with those held out."""
        return not self.reason


def check(
    what: object,
    origin: Origin,
    key: PatientKey | None,
    held_out: Mapping[str, Iterable[str]],
    training: Iterable[str] = (),
    reason: str = "",
) -> Verdict:
    """Refuses what held-out patients have shaped, and says where that cannot be told.

    Args:
        what: A folder or checkpoint, for messages.
        origin: The patients behind it.
        key: Of the cohort that it is to be used with; None where it is lost or somebody else's.
        held_out: Patients that must not be behind it, by the name of their part. Validation patients count, too: weights are
            selected by them.
        training: Patients that may be.
        reason: Why its origin is not to be believed, if that is known already.

    Raises:
        InputError: Held-out patients are behind it.
    """
    for part, patients in held_out.items():
        everyone = set(patients)
        if key is not None and (leaked := key.recognised(everyone, origin)):
            first = ", ".join(leaked[:_SHOWN]) + (" and others" if len(leaked) > _SHOWN else "")
            raise InputError(
                f"{what}: {len(leaked)} of the {len(everyone)} {part} patients ({first}) were in the training data behind it, "
                "expected none: results would be worthless. Take what was trained on the same fold (--data.fold), or choose "
                "the fold that it was trained on."
            )
    foreign = sorted({one.split for one in origin.trainings()} - {key.split if key is not None else ""})
    if not reason and (origin.unknown or not origin.trainings()):
        reason = (
            "it does not know all patients behind it"  # an empty list is no answer: everything learns from somebody
        )
    elif not reason and key is None:
        reason = "origin cannot be checked: the key of the patients' hashes (split.private.json) is missing"
    elif not reason and foreign:
        reason = f"origin cannot be checked: patients of the split {foreign[0]} are behind it, whose key is not here"
    count = sum(len(one.patients) for one in origin.trainings())
    return Verdict(reason, count, 0 if key is None else len(key.recognised(training, origin)))


def verdict_on(
    folder: "VolumeFolder", key: PatientKey | None, held_out: Mapping[str, Iterable[str]], training: Iterable[str] = ()
) -> Verdict:
    """As `check`, for a folder of volumes: what is no manifest's is not believed.

    Raises:
        InputError: Held-out patients are behind them.
    """
    reason = ""
    if folder.manifest is None:
        reason = "there is no manifest.json"
    elif unverified := folder.unverified:
        reason = f"manifest.json does not list {unverified[0]}, or with another sha256 ({len(unverified)} such volumes)"
    return check(folder.folder, folder.origin, key, held_out, training, reason)


def check_volumes(
    folder: "VolumeFolder",
    key: PatientKey | None,
    held_out: Mapping[str, Iterable[str]],
    training: Iterable[str] = (),
    trust_unmanifested: bool = False,
) -> Verdict:
    """As `verdict_on`, for generated volumes that are trained on: refuses also those of which nothing certain is known.

    Args:
        folder: The volumes and their manifest.
        key: As in `check`, and all that follow.
        held_out: Patients that must not be behind them.
        training: Patients that may be.
        trust_unmanifested: Accept volumes of which nothing certain is known. Known leaks are refused all the same.

    Raises:
        InputError: With what was found, and what to do.
    """
    if (folder.manifest or {}).get("kind") == "real":
        raise InputError(
            f"{folder.folder}: holds real regions (its manifest says so), expected generated ones; real patients come from "
            "--data.root."
        )
    verdict = verdict_on(folder, key, held_out, training)
    if verdict.reason and not trust_unmanifested:
        raise InputError(
            f"{folder.folder}: cannot tell that no held-out patient is behind these volumes: {verdict.reason}. Use volumes that "
            "`tumorgen predict` wrote, or, if you know it, say so with the option trust_unmanifested."
        )
    return verdict
