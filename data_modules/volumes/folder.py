"""Folders of regions of interest, real or generated, by tumorgen or by anything else, as data sets."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from data_modules.base import Item, VolumeSet
from data_modules.errors import InputError
from data_modules.files import sha256
from data_modules.origin import KEY_FILE, Origin, PatientKey
from data_modules.roi.extract import foreground
from data_modules.volumes.file import Grid, Intensities, converted, load_volume, read_grid
from data_modules.volumes.layout import class_folders, read_manifest, stem, volume_files, without_suffix

PARTS = ("train", "val", "test")


class VolumeFolder(VolumeSet):
    """The volumes `<folder>/<class>/*.nii[.gz]`, read when asked for.

    What a `manifest.json` of tumorgen says is believed; without one, range and class names come from the arguments and
    everything else from the headers. Axes are always brought to LPS, as the header states them. Nothing else is changed
    silently: volumes of another size or spacing, and values outside of the range, are errors unless `convert` is true.

    Args:
        folder: Holds one folder per class.
        class_names: Classes in label order; None takes those of the manifest, otherwise the names of the folders, LGG
            before HGG. A class without a volume is allowed, a folder of another name is not.
        roi_size: Edge length in voxels that every volume must have; None takes that of the manifest or the first volume.
        spacing: Edge length of a voxel in mm that every volume must have; None likewise.
        intensities: Stored values that mean -1 and 1, such as `[0, 1]`, `0..1000` or `[-1, 1]`, for folders whose manifest
            does not say it. Then volumes without background, and folders without a tumour, are errors: the range is wrong.
        axes: Directions in which the stored axes grow, such as `SPL` for arrays (D, H, W) that were written without a
            header worth the name; the spacing is then taken to be `spacing`, too. None believes the headers.
        convert: Resample, crop and pad volumes of another size or spacing around the tumour's bounding box, and clip
            values outside of the range by up to a quarter of its span; what is farther off is an error all the same.

    Attributes:
        folder: As given.
        paths: Files, sorted by class and name.
        names: `<class>/<file without suffix>` of every volume.
        cases: Case of every volume: as the manifest says, otherwise the file's name without suffix.
        patients: Patient of every volume where the manifest says it, otherwise its name.
        names_patients: Whether the manifest says it.
        labels: (n,) int64.
        class_names: Classes; the position is the label.
        roi_size: Edge length of the volumes in voxels.
        spacing: Edge length of their voxels in mm.
        intensities: Stored values that mean -1 and 1.
        manifest: Content of `manifest.json`, or None.
        unlisted: Names of volumes that the manifest does not know.
        parts: `train`, `val` or `test` by name, or None where the manifest does not say it.
        conversions: What reading changes, and where folder and manifest differ; one sentence each.

    Raises:
        InputError: The folder has no volumes in this layout, or they are not what was asked for.
    """

    def __init__(
        self,
        folder: Path,
        class_names: Sequence[str] | None = None,
        roi_size: int | None = None,
        spacing: float | None = None,
        intensities: str | None = None,
        axes: str | None = None,
        convert: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        stated = self.manifest or {}
        self.class_names = tuple(class_names or stated.get("class_names") or class_folders(self.folder))
        self.paths = volume_files(self.folder, self.class_names)
        self.names = tuple(f"{path.parent.name}/{stem(path)}" for path in self.paths)
        if twice := [name for name, count in Counter(self.names).items() if count > 1]:
            raise InputError(f"{self.folder}: holds {twice[0]} both as .nii and as .nii.gz; remove one of them")
        self.labels = np.array([self.class_names.index(path.parent.name) for path in self.paths], dtype=np.int64)
        self._read_entries(stated)
        self.intensities = self._range(intensities, stated.get("intensities"))
        self.axes, self.convert = axes, convert
        first = read_grid(self.paths[0], axes, spacing or stated.get("spacing_mm"))
        self.roi_size = int(roi_size or stated.get("roi_size") or first.shape[0])
        self.spacing = float(spacing or stated.get("spacing_mm") or first.spacing[0])
        self._grids = [first, *(read_grid(path, axes, self.spacing) for path in self.paths[1:])]
        self.conversions = self._conversions()
        self._range_is_guessed = "intensities" not in stated
        if self._range_is_guessed:
            self._check_for_tumours()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Item:
        index = range(len(self))[index]  # negative ones, and IndexError beyond the end
        volume = torch.from_numpy(self.volume(index)).unsqueeze(0)
        return Item(volume=volume, label=int(self.labels[index]), case=self.cases[index])

    @cached_property
    def checksums(self) -> dict[str, str]:
        """SHA-256 of every file, by name; all files are read for it, once."""
        return {name: sha256(path) for name, path in zip(self.names, self.paths, strict=True)}

    @property
    def unverified(self) -> tuple[str, ...]:
        """Names of volumes that the manifest does not list, or lists with the checksum of another file.

        Where an entry has no checksum, any file of that name is taken for the one listed.
        """
        entries = (self.manifest or {}).get("volumes", ())
        stated = {without_suffix(entry["file"]): entry["sha256"] for entry in entries if "sha256" in entry}
        exchanged = [name for name in self.names if name in stated and stated[name] != self.checksums[name]]
        return tuple(sorted([*self.unlisted, *exchanged]))

    @property
    def stated_origin(self) -> Origin:
        """Who is behind the volumes that the manifest lists, as it says; no file is read for it."""
        return Origin.from_json((self.manifest or {}).get("origin"))

    @property
    def origin(self) -> Origin:
        """Who is behind the volumes; others may be, where the manifest does not say it or lacks some of them."""
        origin = self.stated_origin
        return origin.joined(Origin(unknown=True)) if self.unverified or not origin.trainings() else origin

    @property
    def kind(self) -> str:
        """`real` or `generated`, as the manifest says; empty where it does not."""
        stated = self.manifest or {}
        return str(stated.get("kind", "generated" if "method" in stated else ""))

    @property
    def phantom(self) -> bool:
        """Whether the manifest says of all volumes that they are, or come of, artificial patients."""
        return self.stated_origin.phantom and not self.unlisted

    @property
    def patient_key(self) -> PatientKey | None:
        """The key of the patients' hashes, where the owner of the cohort has put it beside the volumes."""
        path = self.folder / KEY_FILE
        return PatientKey.read(path) if path.is_file() else None

    def volume(self, index: int) -> Float[np.ndarray, "D H W"]:
        """One volume, float32 in [-1, 1], as a new array.

        Raises:
            InputError: The file cannot be read, or holds values outside of the range.
        """
        path = self.paths[index]
        volume, image = load_volume(path, self.intensities, self.axes, clip=self.convert, spacing=self.spacing)
        if self._range_is_guessed and foreground(volume).all():
            raise InputError(
                f"{path}: no voxel is background (-0.9 or below) once {self.intensities} is mapped to -1..1, expected a tumour "
                "on black. State the range that the folder's values really have: its lower end is the stored value of black"
            )
        if not self._grids[index].fits(self.roi_size, self.spacing):
            volume = converted(image, self.roi_size, self.spacing)
        return volume

    def stack(self, indices: Iterable[int] | None = None) -> Float[Tensor, "n 1 D H W"]:
        """Several volumes at once; None takes all."""
        wanted = range(len(self)) if indices is None else [int(index) for index in indices]
        stacked = np.empty((len(wanted), 1, *(self.roi_size,) * 3), dtype=np.float32)
        for position, index in enumerate(wanted):
            stacked[position, 0] = self.volume(index)
        return torch.from_numpy(stacked)

    def indices(self, label: int | None = None, parts: Iterable[str] | None = None) -> Int[np.ndarray, " n"]:
        """Positions of the volumes of a class (None: every class) and of some parts (None: all)."""
        chosen = np.full(len(self), True) if label is None else self.labels == label
        if parts is not None:
            wanted = set(parts)
            own = self.parts or {}
            chosen = chosen & np.array([own.get(name) in wanted for name in self.names], dtype=bool)
        return np.flatnonzero(chosen)

    def _read_entries(self, stated: dict[str, Any]) -> None:
        """Takes case, patient and part of every volume from the manifest."""
        entries = {without_suffix(entry["file"]): entry for entry in stated.get("volumes", [])}
        own = [entries.get(name, {}) for name in self.names]
        if self.manifest and not any(own):
            raise InputError(
                f"{self.folder}: manifest.json lists none of the {len(self)} volumes here ({self.names[0]} for example), but "
                f"{next(iter(entries), 'no volume at all')}: it is another folder's. Put the right one here, or move it away"
            )
        self.cases = tuple(str(entry.get("case") or stem(path)) for entry, path in zip(own, self.paths, strict=True))
        self.names_patients = all("patient" in entry for entry in own)
        self.patients = tuple(str(entry["patient"]) for entry in own) if self.names_patients else self.names
        self.unlisted = tuple(name for name in self.names if name not in entries) if self.manifest else ()
        self._missing = sorted(entries.keys() - set(self.names))
        self.parts: dict[str, str] | None = None
        if any("part" in entry for entry in entries.values()):
            if self._missing:
                raise InputError(
                    f"{self.folder}: {len(self._missing)} of {len(entries)} volumes that manifest.json lists are missing, "
                    f"{self._missing[0]} for example; expected all of training, validation and test. Export the cohort again"
                )
            for name, entry in zip(self.names, own, strict=True):
                if entry.get("part") not in PARTS:
                    raise InputError(
                        f"{self.folder}: manifest.json does not say to which part {name} belongs, found "
                        f"{entry.get('part')}, expected train, val or test. Export the cohort again, or move the file away"
                    )
            self.parts = {name: entry["part"] for name, entry in zip(self.names, own, strict=True)}

    def _range(self, given: str | None, stated: str | None) -> Intensities:
        if stated is not None:
            if given is not None and Intensities.parse(given) != Intensities.parse(stated):
                raise InputError(f"{self.folder}: manifest.json says intensities {stated}, the option says {given}")
            return Intensities.parse(stated)
        if given is not None:
            return Intensities.parse(given)
        from data_modules.roi.images import read_image

        voxels = read_image(self.paths[0])[0].voxels
        raise InputError(
            f"{self.folder}: nothing says which range its intensities have (no manifest.json of tumorgen does); "
            f"{self.names[0]} holds values from {voxels.min():g} to {voxels.max():g}. State the range, black to white: "
            "intensities '[0, 1]', '0..1000', '[-1, 1]' or any other pair (`tumorgen evaluate`: --generated_intensities, "
            "--real_intensities)"
        )

    def _check_for_tumours(self) -> None:
        """Reads until there is a tumour. Single black volumes are what some generators make; a folder of them is a mistake.

        Raises:
            InputError: There is none in any volume.
        """
        if not any(foreground(self.volume(index)).any() for index in range(len(self))):
            raise InputError(
                f"{self.folder}: none of {len(self)} volumes holds a tumour (voxels above -0.9) once {self.intensities} is "
                "mapped to -1..1. State the range that the folder's values really have: its upper end is the stored value of "
                "white"
            )

    def _conversions(self) -> tuple[str, ...]:
        """What has to be changed while reading.

        Raises:
            InputError: A change was not allowed.
        """
        notes = []
        turned = Counter(grid.axes for grid in self._grids if grid.axes != "LPS")
        notes += [f"axes of {count} volumes turned from {axes} to LPS" for axes, count in sorted(turned.items())]
        if self.axes is not None:
            notes.append(f"headers ignored: stored axes taken as {self.axes}, voxels of {self.spacing:g} mm")
        elif silent := [path for path, grid in zip(self.paths, self._grids, strict=True) if not grid.stated]:
            if not self.convert:
                raise InputError(
                    f"{silent[0]} ({len(silent)} of {len(self)} volumes): the header states no orientation and no position "
                    "(qform and sform code 0). State the stored axes, for example axes SPL for arrays (D, H, W), or allow "
                    "conversion, which then takes nibabel's reading of such headers (LAS)"
                )
            notes.append(f"{len(silent)} volumes without a stated orientation taken as LAS")
        wanted = Grid((self.roi_size,) * 3, (self.spacing,) * 3, "LPS", True)
        odd = [i for i, grid in enumerate(self._grids) if not grid.fits(self.roi_size, self.spacing)]
        if odd and not self.convert:
            raise InputError(
                f"{self.paths[odd[0]]} ({len(odd)} of {len(self)} volumes): found {self._grids[odd[0]]}, expected {wanted}. "
                "Allow conversion (resampled, then cropped or padded around the tumour), or, where the header is wrong, "
                "state the stored axes, for example axes SPL: the spacing is then taken as expected "
                "(`tumorgen evaluate`: --convert true, --generated_axes SPL)"
            )
        kinds = Counter(str(self._grids[i]) for i in odd)
        notes += [f"{count} volumes converted from {kind} to {wanted}" for kind, count in sorted(kinds.items())]
        if str(self.intensities) != "-1..1":
            notes.append(f"intensities {self.intensities} mapped to -1..1")
        if self.convert:
            notes.append("values outside of the range clipped")
        if self.unlisted:
            notes.append(f"{len(self.unlisted)} volumes that manifest.json does not list")
        if self._missing:
            notes.append(f"{len(self._missing)} volumes that manifest.json lists are missing")
        return tuple(notes)
