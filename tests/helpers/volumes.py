"""Folders of small tumour-like volumes, in the layout of real and generated ones."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from data_modules.volumes.file import to_nifti

CLASSES = ("LGG", "HGG")


def blob(seed: int, size: int = 16, grade: int = 0) -> np.ndarray:
    """A textured ellipsoid (D, H, W) in [-1, 1] on black; class 1 is larger, brighter and coarser."""
    rng = np.random.default_rng(seed)
    radii = size * (rng.uniform(0.22, 0.3, 3) + 0.1 * grade)
    axes = np.meshgrid(*[np.arange(size) - (size - 1) / 2] * 3, indexing="ij")
    inside = sum((axis / radius) ** 2 for axis, radius in zip(axes, radii, strict=True)) < 1
    values = rng.normal(0.1 + 0.3 * grade, 0.15, (size,) * 3).clip(-0.8, 1)
    return np.where(inside, values, -1).astype(np.float32)


def write_volumes(
    folder: Path,
    per_class: int = 6,
    size: int = 16,
    spacing: float = 2.0,
    seed: int = 0,
    manifest: dict[str, Any] | None = None,
    parts: tuple[str, ...] = (),
    classes: tuple[str, ...] = CLASSES,
) -> Path:
    """Writes blobs as tumorgen does.

    Args:
        folder: Where.
        per_class: Volumes of each class.
        size: Side in voxels.
        spacing: Side of a voxel in mm.
        seed: Other seeds give other volumes.
        manifest: What the manifest says besides volumes; None writes no manifest.
        parts: Part of the volumes, in turn, and with it their case and patient.
        classes: Names of the classes.
    """
    entries = []
    for grade, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(per_class):
            file = f"{name}/{name}_{index + 1:04d}.nii.gz"
            nib.save(to_nifti(blob(seed + 1000 * grade + index, size, grade), spacing), folder / file)
            entry = {"file": file, "class": name}
            if parts:
                case = f"case{seed}{name}{index}"
                entry |= {"case": f"{case}_1", "patient": case, "part": parts[index % len(parts)]}
            entries.append(entry)
    if manifest is not None:
        stated = {"class_names": list(classes), "roi_size": size, "spacing_mm": spacing, "intensities": "[0, 1]"}
        (folder / "manifest.json").write_text(json.dumps({**stated, **manifest, "volumes": entries}))
    return folder
