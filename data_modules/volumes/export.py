"""Writes the prepared regions of a cohort as a folder of volumes, in the layout and range of generated ones."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import nibabel as nib

from data_modules.brats import BraTSDataModule
from data_modules.errors import InputError
from data_modules.files import write_json
from data_modules.roi import cache
from data_modules.roi.dataset import ROIDataset
from data_modules.volumes.file import to_nifti


def export_volumes(data: BraTSDataModule, folder: Path) -> Path:
    """Writes all regions to `<folder>/<class>/<case>.nii.gz`, and a manifest with patients and the parts of the fold.

    Intensities become [0, 1] and voxels at or below -0.9 exactly 0, as in generated volumes. The folder appears as a whole
    or not at all; one that holds the same already is left as it is. Checksums of the scans and masks that the regions were cut
    from are in the manifest: where one of them has changed since, an earlier export is not the same.

    Args:
        data: Prepared and set up.
        folder: Where to write; absent or empty.

    Returns:
        The folder.

    Raises:
        InputError: The folder holds something else.
    """
    manifest = _manifest(data)
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
        for entry, dataset, index in _volumes(data):
            volume = dataset.store.load(dataset.entries[index].roi)
            nib.save(to_nifti(volume, data.spacing, description="tumour region, tumorgen"), whole / entry["file"])
        write_json(whole / "manifest.json", manifest)
        if folder.is_dir():
            folder.rmdir()
        shutil.move(whole, folder)
    return folder


def _manifest(data: BraTSDataModule) -> dict[str, Any]:
    return {
        "kind": "real",
        "cache_format": cache.FORMAT,
        "class_names": list(data.class_names),
        "roi_size": data.roi_size,
        "spacing_mm": data.spacing,
        "intensities": "[0, 1]",
        "modality": data.settings.modality,
        "oversize": data.settings.oversize,
        "fold": {"fold": data.fold, "folds": data.folds, "val_share": data.val_share, "seed": data.seed},
        "volumes": [entry for entry, _, _ in _volumes(data)],
    }


def _volumes(data: BraTSDataModule) -> list[tuple[dict[str, str], ROIDataset, int]]:
    """Manifest entry, data set and position of every region, sorted by file."""
    parts = {"train": data.train, "val": data.val, "test": data.test}
    found = []
    for part, dataset in parts.items():
        if dataset is None:
            raise RuntimeError("call prepare_data() and setup() first")
        for index, case in enumerate(dataset.entries):
            file = f"{case.class_name}/{case.case}.nii.gz"
            entry = {
                "file": file,
                "class": case.class_name,
                "case": case.case,
                "patient": case.patient,
                "part": part,
                "scan_sha256": case.roi.scan.sha256,
                "mask_sha256": case.roi.mask.sha256,
            }
            found.append((entry, dataset, index))
    return sorted(found, key=lambda one: one[0]["file"])


def _is_current(folder: Path, manifest: dict[str, Any]) -> bool:
    try:
        same = json.loads((folder / "manifest.json").read_text(encoding="utf-8")) == manifest
    except (OSError, ValueError):
        return False
    return same and all((folder / entry["file"]).is_file() for entry in manifest["volumes"])
