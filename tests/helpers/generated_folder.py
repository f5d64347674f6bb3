"""Folders as `tumorgen predict` leaves them, with blobs inside."""

from pathlib import Path

import nibabel as nib
from toy import blob

from data_modules.files import write_json
from data_modules.origin import Origin
from data_modules.volumes.file import to_nifti


def write_generated(folder: Path, origin: Origin, number: int = 2, size: int = 16, spacing: float = 2.0) -> Path:
    """`number` volumes of each class, made by a generator of this origin."""
    volumes = []
    for label, name in enumerate(("LGG", "HGG")):
        (folder / name).mkdir(parents=True)
        for i in range(number):
            file = f"{name}/{name}_{i + 1:04d}.nii.gz"
            nib.save(to_nifti(blob(label, size, seed=i)[0].numpy(), spacing), folder / file)
            volumes.append({"file": file, "class": name, "seed": i, "empty": False})
    content = {
        "method": "Blobs",
        "class_names": ["LGG", "HGG"],
        "roi_size": size,
        "spacing_mm": spacing,
        "intensities": "[0, 1]",
        "origin": origin.to_json(),
        "volumes": volumes,
    }
    write_json(folder / "manifest.json", content)
    return folder
