"""Who is behind a model or a folder of volumes, told by keyed hashes; and the one check that nobody held out is.

Patients stand in checkpoints and manifests as HMAC-SHA256 hashes under a key that stays with the cohort's owner, beside the
names: whoever has the key can look patients up, nobody else can, whatever identifiers are tried.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_modules.errors import InputError
from data_modules.files import sha256

if TYPE_CHECKING:
    from data_modules.volumes.folder import VolumeFolder

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


def check_volumes(
    folder: "VolumeFolder",
    key: PatientKey | None,
    held_out: Mapping[str, Iterable[str]],
    training: Iterable[str] = (),
    trust_unmanifested: bool = False,
) -> Verdict:
    """As `check`, for a folder of generated volumes: refuses also those of which nothing certain is known.

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
    verdict = check(folder.folder, origin_of(folder), key, held_out, training, _not_to_be_believed(folder))
    if verdict.reason and not trust_unmanifested:
        raise InputError(
            f"{folder.folder}: cannot tell that no held-out patient is behind these volumes: {verdict.reason}. Use volumes that "
            "`tumorgen predict` wrote, or, if you know it, say so with the option trust_unmanifested."
        )
    return verdict


def origin_of(folder: "VolumeFolder") -> Origin:
    """What the manifest of a folder of volumes says of their origin; unknown where it does not, or lacks some of them."""
    origin = Origin.from_json((folder.manifest or {}).get("origin"))
    return origin.joined(Origin(unknown=True)) if _not_to_be_believed(folder) else origin


def _not_to_be_believed(folder: "VolumeFolder") -> str:
    if folder.manifest is None:
        return "there is no manifest.json"
    if unlisted := unlisted_volumes(folder):
        return f"manifest.json does not list {unlisted[0]}, or with another sha256 ({len(unlisted)} such volumes)"
    return ""


def leaked_patients(manifest: Mapping[str, Any], patients: Iterable[str]) -> list[str]:
    """Those of `patients` that were in the training data of the volumes, sorted.

    Args:
        manifest: Content of the `manifest.json` beside generated volumes.
        patients: IDs as the data module knows them, for example those of a test fold.
    """
    origin = manifest.get("training_patients") or {}
    salt, known = origin.get("salt", ""), set(origin.get("training_patients", ()))
    return sorted({p for p in patients if hashlib.sha256(f"{salt}:{p}".encode()).hexdigest() in known})


def origin_known(manifest: Mapping[str, Any] | None) -> bool:
    """Whether a manifest tells all training patients: it lists some, and no part of the chain behind it is unknown.

    An empty list is no answer: whatever learns to generate tumours has learnt from somebody.
    """
    origin = (manifest or {}).get("training_patients") or {}
    return bool(origin.get("training_patients")) and not origin.get("training_patients_unknown", False)


def unlisted_volumes(folder: "VolumeFolder") -> tuple[str, ...]:
    """Names of volumes that the manifest does not list, or lists with the checksum of another file.

    Where an entry has no checksum, any file of that name is taken for the one listed. Reads all files that have one.
    """
    entries = (folder.manifest or {}).get("volumes", ())
    names = (entry["file"].removesuffix(".gz").removesuffix(".nii") for entry in entries)
    checksums = {name: entry["sha256"] for name, entry in zip(names, entries, strict=True) if "sha256" in entry}
    found = list(folder.unlisted)
    for name, path in zip(folder.names, folder.paths, strict=True):
        if name in checksums and sha256(path) != checksums[name]:
            found.append(name)
    return tuple(sorted(found))


def check_leakage(
    folder: Path,
    manifest: Mapping[str, Any] | None,
    held_out: Iterable[str],
    unlisted: Sequence[str] = (),
    *,
    trust_unmanifested: bool = False,
) -> None:
    """Refuses generated volumes whose generator has seen patients that are held out.

    Args:
        folder: Where the volumes are, for the message.
        manifest: Their manifest; None where there is none.
        held_out: Validation and test patients.
        unlisted: Names of volumes that its manifest does not list, see `unlisted_volumes`.
        trust_unmanifested: Accept volumes that cannot tell what they were trained on. Known leaks are refused all the same.

    Raises:
        InputError: With the number of patients, and what to do.
    """
    if (manifest or {}).get("kind") == "real":
        raise InputError(
            f"{folder}: holds real regions (its manifest says so), expected generated ones. Real patients come from --data.root."
        )
    leaked = leaked_patients(manifest or {}, held_out)
    if leaked:
        first = ", ".join(leaked[:_SHOWN]) + (" and others" if len(leaked) > _SHOWN else "")
        raise InputError(
            f"{folder}: {len(leaked)} of the validation and test patients ({first}) were in the training data of these "
            "volumes, expected none: results would be worthless. Train the generator on the same fold (--data.fold, "
            "--data.folds, --data.seed, --data.val_share), or choose the fold that it was trained on."
        )
    if trust_unmanifested or (origin_known(manifest) and not unlisted):
        return
    found = "there is no manifest.json"
    if manifest is not None:
        found = "manifest.json does not tell all of them (training_patients_unknown, or an empty list)"
    if unlisted:
        found = f"manifest.json does not list {unlisted[0]}, or with another sha256 ({len(unlisted)} such volumes)"
    raise InputError(
        f"{folder}: cannot tell which patients these volumes were trained on: {found}, expected salted hashes of all. "
        "Where you know that no validation or test patient was among them, say so with the option trust_unmanifested."
    )
