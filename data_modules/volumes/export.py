"""Writes the volumes of a data module as a folder of files, in the layout and range of generated ones."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import nibabel as nib

from data_modules.base import ROIDataModule, VolumeSet
from data_modules.errors import InputError
from data_modules.files import write_json
from data_modules.origin import KEY_FILE, Origin
from data_modules.volumes.file import to_nifti


def export_volumes(data: ROIDataModule, folder: Path) -> Path:
    """Writes all volumes to `<folder>/<class>/<case>.nii.gz`, a manifest with patients and parts, and the patients' key.

    Intensities become [0, 1] and voxels at or below -0.9 exactly 0, as in generated volumes. The folder appears as a whole
    or not at all; one that holds the same already is left as it is. The manifest has a digest of what every volume was made
    of: where that has changed since, an earlier export is not the same. The folder names patients: it stays with the owner.

    Args:
        data: Prepared and set up.
        folder: Where to write; absent or empty.

    Returns:
        The folder.

    Raises:
        InputError: The folder holds something else, or two cases of a class have one name.
    """
    volumes = _volumes(data)
    manifest = _manifest(data, [entry for entry, _, _ in volumes])
    if folder.is_dir() and any(folder.iterdir()):
        if _is_current(folder, manifest):
            return folder
        raise InputError(
            f"--export: {folder} holds something else already (other files, or regions of another cohort, size or fold, "
            "or cut from scans and masks that have changed since); choose another folder, or remove this one"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        whole = Path(temporary) / "folder"  # tempfile makes folders that only their owner may read
        for name in manifest["class_names"]:
            (whole / name).mkdir(parents=True)
        for entry, part, index in volumes:
            image = to_nifti(part[index]["volume"][0].numpy(), data.spacing, description="tumour region, tumorgen")
            nib.save(image, whole / entry["file"])
        if data.patient_key is not None:
            write_json(whole / KEY_FILE, data.patient_key.to_json())
        write_json(whole / "manifest.json", manifest)
        if folder.is_dir():
            folder.rmdir()
        shutil.move(whole, folder)
    return folder


def _manifest(data: ROIDataModule, entries: list[dict[str, str]]) -> dict[str, Any]:
    if data.channels != 1:
        raise InputError(f"--export: {data.channels} channels per volume; files of one sequence can be written only")
    origin = Origin(unknown=True, phantom=data.phantom)
    if data.patient_key is not None:
        hashes = data.patient_key.hashes(entry["patient"] for entry in entries)
        origin = Origin(data.patient_key.split, patients=hashes, phantom=data.phantom)
    return {
        "kind": "real",
        "class_names": list(data.class_names),
        "roi_size": data.roi_size,
        "spacing_mm": data.spacing,
        "intensities": "[0, 1]",
        **data.describe(),
        "fold": {"fold": data.fold, "folds": data.folds},
        "origin": origin.to_json(),
        "volumes": entries,
    }


def _volumes(data: ROIDataModule) -> list[tuple[dict[str, str], VolumeSet, int]]:
    """Manifest entry, list and position of every volume, sorted by file."""
    found = {}
    for part, volumes in data.parts().items():
        for index, (label, case, patient) in enumerate(
            zip(volumes.labels.tolist(), volumes.cases, volumes.patients, strict=True)
        ):
            name = data.class_names[label]
            file = f"{name}/{case}.nii.gz"
            if file in found:
                raise InputError(f"--export: two cases of {name} are called {case}; cases need names of their own")
            entry = {"file": file, "class": name, "case": case, "patient": patient, "part": part}
            found[file] = ({**entry, "digest": volumes.digest(index)}, volumes, index)
    return [found[file] for file in sorted(found)]


def _is_current(folder: Path, manifest: dict[str, Any]) -> bool:
    try:
        same = json.loads((folder / "manifest.json").read_text(encoding="utf-8")) == manifest
    except (OSError, ValueError):
        return False
    return same and all((folder / entry["file"]).is_file() for entry in manifest["volumes"])
