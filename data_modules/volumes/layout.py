"""Which files of a folder are volumes, and of which class: `<folder>/<class>/*.nii[.gz]`, and the manifest beside them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_modules.cohort.grades import class_order
from data_modules.errors import InputError

_SUFFIXES = (".nii.gz", ".nii")


def class_folders(folder: Path) -> tuple[str, ...]:
    """Names of the folders that hold volumes, LGG before HGG.

    Raises:
        InputError: There is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder; expected one with a folder of NIfTI volumes per class")
    found = [path.name for path in folder.iterdir() if path.is_dir() and any(map(is_volume, path.iterdir()))]
    return class_order(found)


def volume_files(folder: Path, class_names: Sequence[str]) -> tuple[Path, ...]:
    """All volumes, classes in label order.

    Raises:
        InputError: There are none, or some are of another class.
    """
    found = class_folders(folder)
    if foreign := [name for name in found if name not in class_names]:
        raise InputError(
            f"{folder}: holds volumes of a class {foreign[0]}, expected {', '.join(class_names)}; rename or move the folder"
        )
    paths = [
        path
        for name in class_names
        if (folder / name).is_dir()
        for path in sorted((folder / name).iterdir())
        if is_volume(path)
    ]
    if not paths:
        raise InputError(f"{folder}: holds no volume; expected <class>/<name>.nii.gz, for example LGG/LGG_0001.nii.gz")
    return tuple(paths)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The `manifest.json` of a folder of volumes; None where there is none.

    Raises:
        InputError: There is one, but it is damaged or lists no volumes.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for entry in content["volumes"]:
            if not {"file", "class"} <= entry.keys():
                raise ValueError(f"{entry} names no file or class")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: is no manifest of tumorgen ({error!r}); move it away or write the folder again"
        ) from error
    return content


def is_volume(path: Path) -> bool:
    """Whether a file is named as a volume and not hidden."""
    return path.name.lower().endswith(_SUFFIXES) and not path.name.startswith(".")


def without_suffix(name: str) -> str:
    """A file's name, possibly with folders, without .nii or .nii.gz."""
    return next((name[: -len(suffix)] for suffix in _SUFFIXES if name.lower().endswith(suffix)), name)


def stem(path: Path) -> str:
    """A file's name without folder and suffix."""
    return without_suffix(path.name)
