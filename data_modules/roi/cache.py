"""Prepared regions of interest on disk: one memory-mapped array and one record per case.

Only the tumour's bounding box is stored, as float32, so that a volume read back equals the one extracted to the last
bit. Files are written under temporary names and renamed, arrays are named after the content of their sources: processes
that prepare the same cohort at once, or are killed while they do, leave nothing half-written or mismatched.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from data_modules.cohort.discover import Case
from data_modules.cohort.naming import Modality
from data_modules.errors import InputError
from data_modules.files import atomic_path, default_cache, sha256, short_hash, write_json
from data_modules.roi.extract import BACKGROUND, ROI, Geometry, OversizePolicy, bounding_box, extract
from data_modules.roi.images import read_image

FORMAT = 1
"""Raise it whenever the same scan would give another volume or record: caches of other formats are left alone."""


@dataclass(frozen=True)
class RoiSettings:
    """What the content of a region of interest depends on, apart from its scan and mask."""

    modality: Modality
    roi_size: int
    spacing: float
    oversize: OversizePolicy


@dataclass(frozen=True)
class Source:
    """A file a region of interest was made from; size and time spare reading it again, the checksum decides."""

    file: str
    size: int
    modified_ns: int
    sha256: str


@dataclass(frozen=True)
class RoiRecord:
    """What is known about a prepared region of interest.

    Attributes:
        case: Identifier of the case.
        file: Name of the array file.
        box_start: Index (d, h, w) in the volume at which the stored block begins.
        roi_voxels: Tumour voxels of the volume.
        tumour_voxels: Tumour voxels of the scan.
        cropped_voxels: Tumour voxels of the scan outside the volume.
        label_voxels: Tumour voxels of the scan by label of the segmentation.
        intensity_range: Scan intensities that became -1 and 1.
        geometry: Where the volume lies in its scan.
        scan: Source of the intensities.
        mask: Source of the segmentation.
    """

    case: str
    file: str
    box_start: tuple[int, int, int]
    roi_voxels: int
    tumour_voxels: int
    cropped_voxels: int
    label_voxels: dict[int, int]
    intensity_range: tuple[float, float]
    geometry: Geometry
    scan: Source
    mask: Source

    def to_json(self) -> dict[str, Any]:
        """The record as JSON types; the orientation of the stored scan is added for readers."""
        geometry = {
            "affine": self.geometry.affine.tolist(),
            "spacing": self.geometry.spacing,
            "orientation": self.geometry.orientation,
            "scan_shape": list(self.geometry.scan_shape),
            "scan_affine": self.geometry.scan_affine.tolist(),
        }
        return {**asdict(self), "geometry": geometry}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "RoiRecord":
        """The inverse of `to_json`."""
        geometry = content["geometry"]
        d, h, w = content["box_start"]
        x, y, z = geometry["scan_shape"]
        low, high = content["intensity_range"]
        return cls(
            case=content["case"],
            file=content["file"],
            box_start=(d, h, w),
            roi_voxels=content["roi_voxels"],
            tumour_voxels=content["tumour_voxels"],
            cropped_voxels=content["cropped_voxels"],
            label_voxels={int(label): count for label, count in content["label_voxels"].items()},
            intensity_range=(low, high),
            geometry=Geometry(
                np.array(geometry["affine"]), geometry["spacing"], (x, y, z), np.array(geometry["scan_affine"])
            ),
            scan=Source(**content["scan"]),
            mask=Source(**content["mask"]),
        )


class RoiStore:
    """The prepared regions of interest of one cohort under one set of settings.

    Args:
        root: Folder of the cohort; sources are recorded relative to it.
        cache_dir: Folder that holds caches; None takes `.tumorgen` in the cohort's folder, or where that cannot be
            written, `rois` in the user's cache: `$TUMORGEN_CACHE`, otherwise `tumorgen` in `$XDG_CACHE_HOME` or
            `~/.cache`.
        settings: What the regions depend on; every combination has a folder of its own.
    """

    def __init__(self, root: Path, cache_dir: Path | None, settings: RoiSettings) -> None:
        self.root = root
        self.settings = settings
        self.folder = (cache_dir or default_cache(root)) / _folder_name(
            root, cache_dir or default_cache(root), settings
        )
        self._arrays = self.folder / "rois"

    def current(self, case: Case) -> RoiRecord | None:
        """The record of a case if its region is there and its files have not changed since."""
        try:
            record = RoiRecord.from_json(json.loads(self._record_path(case.case).read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not (self._arrays / record.file).is_file():
            return None
        pairs = ((record.scan, case.scan), (record.mask, case.mask))
        try:
            if all(_untouched(source, path, self.root) for source, path in pairs):
                return record
            if any(source.sha256 != sha256(path) for source, path in pairs):
                return None
        except OSError:
            return None
        # same content, copied or touched: remember the new times, so that it is not read again next time
        scan, mask = (
            _source(case.scan, self.root, record.scan.sha256),
            _source(case.mask, self.root, record.mask.sha256),
        )
        record = RoiRecord(**{**vars(record), "scan": scan, "mask": mask})
        write_json(self._record_path(case.case), record.to_json())
        return record

    def build(self, case: Case) -> RoiRecord:
        """Reads scan and mask, extracts the region and writes array and record.

        Raises:
            InputError: if a file cannot be used; the message names it or says what is wrong between the two.
        """
        settings = self.settings
        scan, scan_hash = read_image(case.scan)
        mask, mask_hash = read_image(case.mask)
        roi = extract(scan, mask, settings.roi_size, settings.spacing, settings.oversize)
        sources = _source(case.scan, self.root, scan_hash), _source(case.mask, self.root, mask_hash)
        record, block = _record(case.case, roi, *sources)
        with atomic_path(self._arrays / record.file) as temporary:
            np.save(temporary, block)
        write_json(self._record_path(case.case), record.to_json())
        return record

    def load(self, record: RoiRecord) -> Float[np.ndarray, "D H W"]:
        """The volume of a case, float32 in [-1, 1], as a new array.

        Raises:
            InputError: if the stored array is missing or damaged.
        """
        path = self._arrays / record.file
        try:
            block = np.load(path, mmap_mode="r")
        except (OSError, EOFError, ValueError) as error:
            raise InputError(
                f"{path}: the prepared array is missing or damaged ({error}); delete it and prepare again"
            ) from error
        volume = np.full((self.settings.roi_size,) * 3, BACKGROUND, dtype=np.float32)
        volume[tuple(slice(start, start + n) for start, n in zip(record.box_start, block.shape, strict=True))] = block
        return volume

    def _record_path(self, case: str) -> Path:
        return self._arrays / f"{case}.json"


def _folder_name(root: Path, cache_dir: Path, settings: RoiSettings) -> str:
    # a cache inside the cohort moves with it; elsewhere two cohorts may hold cases of the same names
    cohort = None if cache_dir.resolve().is_relative_to(root.resolve()) else root.resolve()
    digest = short_hash(FORMAT, asdict(settings), cohort)
    return f"{settings.modality}-{settings.roi_size}-{settings.spacing:g}mm-{settings.oversize}-{digest}"


def _source(path: Path, root: Path, digest: str) -> Source:
    status = path.stat()
    return Source(os.path.relpath(path, root), status.st_size, status.st_mtime_ns, digest)


def _untouched(source: Source, path: Path, root: Path) -> bool:
    return source == _source(path, root, source.sha256)


def _record(case: str, roi: ROI, scan: Source, mask: Source) -> tuple[RoiRecord, Float[np.ndarray, "d h w"]]:
    """The record of a region and the block of its volume that holds all of the tumour."""
    inside = roi.volume > BACKGROUND
    box = bounding_box(inside)
    record = RoiRecord(
        case=case,
        file=f"{case}-{short_hash(scan.sha256, mask.sha256)}.npy",
        box_start=(box[0].start, box[1].start, box[2].start),
        roi_voxels=int(inside.sum()),
        tumour_voxels=roi.tumour_voxels,
        cropped_voxels=roi.cropped_voxels,
        label_voxels=roi.label_voxels,
        intensity_range=roi.intensity_range,
        geometry=roi.geometry,
        scan=scan,
        mask=mask,
    )
    return record, roi.volume[box]
