"""Finds the cases of a cohort by names and tables alone: pairs scans with masks, reads classes, tells patients apart."""

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_modules.cohort.folds import PatientCase
from data_modules.cohort.grades import GradeTable, PatientLinks, class_order, plain_numbers, read_table
from data_modules.cohort.naming import MASK, ImageName, Modality, parse, patient_of
from data_modules.errors import InputError

_LISTED_PROBLEMS = 50


@dataclass(frozen=True)
class Case:
    """One usable case: a scan, its expert segmentation and what is known about it."""

    case: str
    patient: str
    scan: Path
    mask: Path
    class_name: str
    label: int


@dataclass(frozen=True)
class Problem:
    """A case that cannot be used: where, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Cohort:
    """Everything found below `root`.

    Attributes:
        root: Folder of the cohort.
        cases: Usable cases of the classes asked for.
        class_names: Classes; the position is the label.
        problems: Cases that cannot be used.
        notes: What the user should know.
        all_cases: All cases of the cohort, whatever their class and whether they can be used.
    """

    root: Path
    cases: tuple[Case, ...]
    class_names: tuple[str, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    all_cases: tuple[PatientCase, ...]


def discover(
    root: Path,
    modality: Modality = "flair",
    grades: Path | None = None,
    grade_column: str = "Grade",
    class_names: list[str] | None = None,
) -> Cohort:
    """Finds every case below `root` in any of the BraTS layouts, by file names and tables alone.

    Classes come from the CSV file `grades` where one is given, otherwise from folders named HGG and LGG, otherwise from
    a `name_mapping*.csv` below `root`. A name mapping also tells which cases are one patient, wherever classes come from.

    Args:
        root: Folder of the cohort.
        modality: The MRI sequence to use.
        grades: The user's own table: a column with case identifiers, one with classes, optionally one named `patient`.
        grade_column: Column of the classes.
        class_names: Classes in label order; None takes those found: LGG before HGG, numbers by value, else by alphabet.

    Raises:
        InputError: if there is no such folder, file or column, or not a single usable case.
    """
    if not root.is_dir():
        raise InputError(f"--data.root: {root} is not a folder; expected the folder of a BraTS-like cohort")
    images, tables = _scan_folder(root)
    groups = _group_by_case(images)
    if not groups:
        raise InputError(
            f"--data.root: {root} holds no case; expected files such as X_flair.nii.gz and X_seg.nii.gz (or "
            "X-t2f.nii.gz and X-seg.nii.gz), one folder per case"
        )
    mappings = [read_table(path, groups) for path in tables]
    own_table = read_table(grades, groups) if grades is not None else None
    classes, conflicts, notes = _classes(root, groups, own_table, mappings, grade_column)
    others = {case for case, name in classes.items() if name and class_names and name not in class_names} - {*conflicts}
    pairs, problems = _pair(root, {case: images for case, images in groups.items() if case not in others}, modality)
    patients = _patients(groups, [*mappings, *([own_table] if own_table else [])])
    names = _class_names(class_names, {classes[case] for case in (*pairs, *others) if classes.get(case)}, grade_column)
    cases = []
    for case, (scan, mask) in pairs.items():
        class_name = classes.get(case, "")
        if case in conflicts:
            problems.append(Problem(scan, conflicts[case]))
        elif not class_name:
            problems.append(Problem(scan, _ungraded(own_table, grade_column)))
        else:
            cases.append(Case(case, patients.patient(case), scan, mask, class_name, names.index(class_name)))
    if not cases:
        raise unusable(problems, len(groups), skippable=False)
    if others:
        left_out = ", ".join(sorted({classes[case] for case in others}))
        notes.append(f"{len(others)} cases of other classes ({left_out}) left out: --data.class_names {list(names)}")
    known = {case: "" if case in conflicts else classes.get(case, "") for case in groups}
    everyone = (PatientCase(case, patients.patient(case), class_name) for case, class_name in known.items())
    return Cohort(root, tuple(cases), names, tuple(problems), tuple(notes), tuple(everyone))


def unusable(problems: list[Problem], total: int, *, skippable: bool = True) -> InputError:
    """The one error that lists all unusable cases."""
    lines = [f"  {problem.path}: {problem.reason}" for problem in problems[:_LISTED_PROBLEMS]]
    if len(problems) > _LISTED_PROBLEMS:
        lines.append(f"  ... and {len(problems) - _LISTED_PROBLEMS} more")
    advice = "Correct them, or leave them out with --data.skip_unusable true" if skippable else "No usable case is left"
    return InputError("\n".join([f"{len(problems)} of {total} cases cannot be used:", *lines, f"{advice}."]))


def _scan_folder(root: Path) -> tuple[list[ImageName], list[Path]]:
    """Recognised images and name mappings below `root`, in a fixed order; linked folders are followed once."""
    images, tables, seen = [], [], set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(files):
            path = Path(folder, name)
            if name.lower().startswith("name_mapping") and name.lower().endswith(".csv"):
                tables.append(path)
            elif (image := parse(path)) is not None:
                images.append(image)
    return images, tables


def _group_by_case(images: list[ImageName]) -> dict[str, list[ImageName]]:
    """Images of every case; a mask of an odd name goes to the only case of its folder that has none."""
    folders: dict[Path, list[ImageName]] = defaultdict(list)
    for image in images:
        folders[image.path.parent].append(image)
    groups: dict[str, list[ImageName]] = defaultdict(list)
    for files in folders.values():
        scans = {image.case for image in files if image.role != MASK}
        masks = [image for image in files if image.role == MASK]
        for image in files:
            adopted = image.role == MASK and len(scans) == len(masks) == 1 and _is_odd(image.case)
            groups[next(iter(scans)) if adopted else image.case].append(image)
    return dict(sorted(groups.items()))


def _is_odd(name: str) -> bool:
    """True for the likes of W39_1998.09.19 (mask of BraTS20_Training_355); a BraTS name would be another case's mask."""
    return not name.lower().startswith("brats")


def _pair(
    root: Path, groups: dict[str, list[ImageName]], modality: Modality
) -> tuple[dict[str, tuple[Path, Path]], list[Problem]]:
    pairs, problems = {}, []
    for case, images in groups.items():
        folder = Path(os.path.commonpath([image.path.parent for image in images]))
        scans = [image.path for image in images if image.role == modality]
        masks = [image.path for image in images if image.role == MASK]
        reason = None
        for kind, paths in ((f"{modality} scan", scans), ("segmentation", masks)):
            if not paths:
                found = ", ".join(sorted({image.path.name for image in images}))
                reason = f"case {case} has no {kind}; found only {found}"
                break
            if len(paths) > 1:
                where = ", ".join(str(path.relative_to(root)) for path in paths)
                reason = f"case {case} has more than one {kind}: {where}; keep one, identifiers must be unique"
                break
        if reason:
            problems.append(Problem(folder, reason))
        else:
            pairs[case] = (scans[0], masks[0])
    return pairs, problems


def _classes(
    root: Path,
    groups: dict[str, list[ImageName]],
    own: GradeTable | None,
    mappings: list[GradeTable],
    column: str,
) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Class by case, reason by case whose sources contradict each other, and notes for the user."""
    tables = [own] if own else mappings
    folders = {case: _grade_folder(root, images) for case, images in groups.items()} if not own else {}
    by_folder = any(folders.values()) and column == "Grade"
    if not tables and not by_folder:
        raise InputError(
            f"{root}: nothing says what class the cases have; expected folders HGG and LGG, a name_mapping.csv, or a "
            "table of your own: --data.grades FILE.csv --data.grade_column NAME"
        )
    classes: dict[str, str] = {}
    conflicts: dict[str, str] = {}
    for table in tables:
        if by_folder and column not in table.columns:
            continue
        found, contradictory = table.classes(column)
        for case in groups:
            if case.lower() in found:
                classes.setdefault(case, found[case.lower()])
            if case.lower() in contradictory:
                conflicts[case] = f"{table.path.name} has rows of different classes for {case}; keep one"
    for case, grade in folders.items():
        if not by_folder or not grade:
            continue
        if classes.get(case) and classes[case] != grade:
            conflicts[case] = (
                f"case {case} lies in a folder {grade}, but name_mapping.csv says {classes[case]}; correct one"
            )
        classes[case] = grade
    return plain_numbers(classes), conflicts, list(_strangers(own, groups))


def _strangers(own: GradeTable | None, groups: dict[str, list[ImageName]]) -> Iterator[str]:
    """A note on rows of the user's own table that name no case of the cohort."""
    if own is None:
        return
    known = {case.lower() for case in groups}
    rows = [own.identifiers(row) for row in own.rows]
    strangers = sorted({name for names in rows for name in names if name.lower() not in known})
    if strangers:
        examples = ", ".join(strangers[:5]) + (", ..." if len(strangers) > 5 else "")
        yield f"{own.path}: {len(strangers)} of {len(rows)} rows name no case of the cohort: {examples}"


def _grade_folder(root: Path, images: list[ImageName]) -> str:
    parts = {part.upper() for image in images for part in image.path.parent.relative_to(root).parts}
    grades = parts & {"HGG", "LGG"}
    return grades.pop() if len(grades) == 1 else ""


def _patients(groups: dict[str, list[ImageName]], tables: list[GradeTable]) -> PatientLinks:
    links = PatientLinks()
    spelling = {case.lower(): case for case in groups}
    for case in groups:
        links.join([case, patient_of(case)])
    for table in tables:
        for group in table.links():
            names = [spelling.get(name.lower(), name) for name in group]
            links.join([*names, *map(patient_of, names)])
    return links


def _class_names(given: list[str] | None, found: set[str], column: str) -> tuple[str, ...]:
    if given is None:
        return class_order(found)
    if len(set(given)) < len(given):
        raise InputError(f"--data.class_names {given} names a class twice")
    if missing := [name for name in given if name not in found]:
        raise InputError(
            f"--data.class_names: no case has the class {', '.join(map(repr, missing))}; column {column!r} holds "
            f"{', '.join(map(repr, class_order(found))) or 'nothing'}"
        )
    return tuple(given)


def _ungraded(own: GradeTable | None, column: str) -> str:
    if own is None:
        return "has no grade: neither an HGG/LGG folder nor a row of name_mapping.csv says it"
    return f"has no class: no row of {own.path.name} gives it one in column {column!r}"
