"""Tables that say what a case is: its class, and which identifiers belong to one patient."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from data_modules.errors import InputError

# What spreadsheets and pandas write where nothing is known.
_EMPTY = {"", "na", "n/a", "nan", "none", "null", "?", "-"}
# BraTS writes one column per year; "patient" is offered to users whose own cohort has several scans per patient.
_BRATS_ID = "subject_id"
_PATIENT_COLUMNS = {"patient", "patient_id", "patientid"}


@dataclass(frozen=True)
class GradeTable:
    """A CSV file with one row per case.

    Attributes:
        path: The file, for messages.
        columns: Its column names.
        rows: One dictionary per row, empty cells as "".
        id_columns: Columns that hold case identifiers: all `*subject_ID` columns of a BraTS `name_mapping.csv`,
            otherwise the one column whose cells name the most cases of the cohort.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]
    id_columns: tuple[str, ...]

    def classes(self, column: str) -> tuple[dict[str, str], set[str]]:
        """Class of every case identifier in the table, and the identifiers that stand in rows of different classes.

        Identifiers are lower-cased; an empty class is "".

        Raises:
            InputError: if there is no such column.
        """
        if column not in self.columns:
            raise InputError(
                f"{self.path}: no column {column!r}; the columns are {', '.join(map(repr, self.columns))}. "
                "Name one of them with --data.grade_column"
            )
        found: dict[str, str] = {}
        conflicts: set[str] = set()
        for row in self.rows:
            value = _canonical_grade(row[column])
            for identifier in self.identifiers(row):
                if found.setdefault(identifier.lower(), value) != value:
                    conflicts.add(identifier.lower())
        return found, conflicts

    def identifiers(self, row: dict[str, str]) -> list[str]:
        """Case identifiers of one row."""
        return [row[column] for column in self.id_columns if row[column]]

    def links(self) -> Iterable[list[str]]:
        """Groups of identifiers that belong to one patient, one group per row; a patient column joins rows."""
        patient_columns = [c for c in self.columns if c.lower() in _PATIENT_COLUMNS and c not in self.id_columns]
        for row in self.rows:
            # the prefix keeps a patient "001" apart from a case of that name
            patients = [f"patient {row[column]}" for column in patient_columns if row[column]]
            yield [*self.identifiers(row), *patients]


def read_table(path: Path, cases: Iterable[str]) -> GradeTable:
    """Reads a CSV file (comma, semicolon or tab) and finds the columns that name `cases`.

    Raises:
        InputError: if the file cannot be read, is empty or names none of the cases in any column.
    """
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); expected a CSV file with a row per case"
        ) from error
    lines = text.splitlines()
    header = lines[0] if lines else ""
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(lines, delimiter=delimiter, restval="")
    columns = tuple(name.strip() for name in reader.fieldnames or () if name and name.strip())
    if not columns:
        raise InputError(f"{path}: the file is empty; expected a header line and a row per case")
    rows = tuple(
        {(key or "").strip(): _cell(value) for key, value in row.items() if isinstance(value, str)} for row in reader
    )
    return GradeTable(path, columns, rows, _id_columns(path, columns, rows, cases))


def _cell(value: str) -> str:
    value = value.strip()
    return "" if value.lower() in _EMPTY else value


def _canonical_grade(value: str) -> str:
    return value.upper() if value.upper() in {"HGG", "LGG"} else value


def _id_columns(
    path: Path, columns: tuple[str, ...], rows: tuple[dict[str, str], ...], cases: Iterable[str]
) -> tuple[str, ...]:
    if brats := tuple(column for column in columns if column.lower().endswith(_BRATS_ID)):
        return brats
    known = {case.lower() for case in cases}
    hits = {column: sum(row[column].lower() in known for row in rows) for column in columns}
    best = max(columns, key=lambda column: hits[column])
    if hits[best] == 0:
        raise InputError(
            f"{path}: no column names the cases of this cohort; found columns {', '.join(map(repr, columns))}, "
            f"expected one with case identifiers such as {next(iter(sorted(cases)), 'BraTS2021_00000')!r}"
        )
    return (best,)


def class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Classes in label order: LGG before HGG, numbers by value, everything else alphabetically."""
    unique = sorted(set(names))
    if set(unique) <= {"HGG", "LGG"}:
        return tuple(sorted(unique, reverse=True))
    try:
        return tuple(sorted(unique, key=float))
    except ValueError:
        return tuple(unique)


def plain_numbers(classes: dict[str, str]) -> dict[str, str]:
    """Writes whole numbers without decimals if all classes are numbers: with an empty cell, pandas writes 0 as 0.0."""
    try:
        numbers = {value: float(value) for value in classes.values() if value}
    except ValueError:
        return classes
    plain = {value: str(int(number)) if number.is_integer() else value for value, number in numbers.items()}
    return {case: plain.get(value, value) for case, value in classes.items()}


class PatientLinks:
    """Which identifiers are the same patient: a union of sets that grows by groups of linked identifiers."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def join(self, identifiers: Iterable[str]) -> None:
        """Declares that all of these name one patient."""
        roots = {self.patient(identifier) for identifier in identifiers}
        if roots:
            # the smallest name stands for all, so that the outcome does not depend on the order of the files
            first = min(roots)
            self._parent.update(dict.fromkeys(roots, first))

    def patient(self, identifier: str) -> str:
        """The name that stands for this identifier's patient."""
        while (parent := self._parent.get(identifier, identifier)) != identifier:
            identifier = parent
        return identifier
