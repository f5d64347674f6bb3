"""The one split of a cohort: who is tested on in which fold, who validates, and the key that hides their names.

It is made of all patients of the cohort, whatever their class and whether their scans can be used; what is left out later
(classes, broken files) only selects from it. The file lies beside the cohort's caches and stays with its owner.
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data_modules.cohort.folds import Folds, FoldSettings, PatientCase, assign
from data_modules.errors import InputError
from data_modules.files import default_cache, exclusive, short_hash, write_json
from data_modules.origin import KEY_FILE, PatientKey


def split_path(root: Path, cache_dir: Path | None) -> Path:
    """The split file of the cohort in `root`: in its caches' folder, under its own name where others share that folder."""
    cache, root = (cache_dir or default_cache(root)).resolve(), root.resolve()
    return (cache if cache.is_relative_to(root) else cache / f"{root.name}-{short_hash(root)}") / KEY_FILE


@dataclass(frozen=True)
class CohortSplit:
    """What the split file of a cohort says.

    Attributes:
        key: Hides the patients' names wherever else they are told.
        folds: By setting.
        removed: Patients that were assigned and are in the cohort no more; one who comes back is where he was.
    """

    key: PatientKey
    folds: Mapping[FoldSettings, Folds]
    removed: tuple[str, ...] = ()

    @classmethod
    def new(cls) -> "CohortSplit":
        """A split of nobody, with a random key."""
        return cls(PatientKey(secrets.token_hex(8), secrets.token_bytes(32)), {})

    @classmethod
    def read(cls, path: Path) -> "CohortSplit":
        """Reads a split file.

        Raises:
            InputError: It is missing or damaged.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            folds = [_folds_from_json(entry) for entry in content["assignments"]]
            assigned = {one.settings: one for one in folds}
            return cls(PatientKey.from_json(content), assigned, tuple(content["removed"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}: no usable split of the cohort ({error}); run `tumorgen prepare` first"
            ) from error

    def write(self, path: Path) -> None:
        """Writes the split file."""
        content = {
            "about": "Names patients: keep it with the cohort. Whoever has it can tell who is behind a model.",
            **self.key.to_json(),
            "removed": list(self.removed),
            "assignments": [_folds_to_json(one) for one in self.folds.values()],
        }
        write_json(path, content)

    def updated(self, cases: Sequence[PatientCase], settings: FoldSettings, stratified_by: str) -> "CohortSplit":
        """The split with the folds of a setting, made now or with new patients appended; nobody else moves."""
        folds = {**self.folds, settings: assign(cases, settings, stratified_by, self.folds.get(settings))}
        present = {case.patient for case in cases}
        assigned = {patient for one in folds.values() for part in one.test for patient in part}
        return replace(self, folds=folds, removed=tuple(sorted(assigned - present)))

    def of(self, settings: FoldSettings, path: Path) -> Folds:
        """The folds of a setting.

        Raises:
            InputError: There are none; `path` is named.
        """
        if settings not in self.folds:
            raise InputError(
                f"{path}: has no {settings.folds} folds of seed {settings.seed} with a validation share of "
                f"{settings.val_share:g}; run `tumorgen prepare` first"
            )
        return self.folds[settings]


def update_split(
    path: Path, cases: Sequence[PatientCase], settings: FoldSettings, stratified_by: str, wanted: Sequence[PatientCase]
) -> Folds:
    """Brings the split file of a cohort up to date, making it where there is none.

    Args:
        path: The file.
        cases: All cases of the cohort.
        settings: The folds that are wanted.
        stratified_by: Column of the classes; it counts when folds are made, and for new patients.
        wanted: The cases that are going to be used; nothing is written where they cannot be.

    Raises:
        InputError: The file is damaged, or cases cannot be split.
    """
    _planned(path, cases, settings, stratified_by)[1].check(wanted)
    with exclusive(path):
        split, folds = _planned(path, cases, settings, stratified_by)
        if not path.exists() or split != CohortSplit.read(path):
            split.write(path)
    return folds


def _planned(
    path: Path, cases: Sequence[PatientCase], settings: FoldSettings, stratified_by: str
) -> tuple[CohortSplit, Folds]:
    split = CohortSplit.read(path) if path.exists() else CohortSplit.new()
    split = split.updated(cases, settings, stratified_by)
    return split, split.folds[settings]


def _folds_to_json(folds: Folds) -> dict[str, Any]:
    pairs = zip(folds.test, folds.validation, strict=True)
    parts = [{"test": sorted(test), "validation": sorted(validation)} for test, validation in pairs]
    return {**vars(folds.settings), "stratified_by": folds.stratified_by, "parts": parts}


def _folds_from_json(content: Mapping[str, Any]) -> Folds:
    settings = FoldSettings(content["folds"], content["val_share"], content["seed"])
    test, validation = (tuple(frozenset(one[name]) for one in content["parts"]) for name in ("test", "validation"))
    if not len(test) == settings.folds == len(validation):
        raise ValueError(f"{len(test)} parts for {settings.folds} folds")
    return Folds(settings, content["stratified_by"], test, validation)
