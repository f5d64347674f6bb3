"""One fold of the benchmark: its real parts, the generated volumes it may use, and what each arm trains on."""

import hashlib
import json
from collections.abc import Hashable, Mapping, MutableMapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from data_modules.base import ROIDataModule, VolumeSet
from data_modules.errors import InputError
from data_modules.origin import Verdict
from data_modules.transforms import Augmentation
from data_modules.volumes.folder import VolumeFolder
from data_modules.volumes.memory import Block, InMemory
from data_modules.volumes.select import first_patients, joined, oversampled, with_shuffled_labels
from tumorgen.benchmark.arms import TrainingSet


@dataclass(frozen=True)
class Generated:
    """A folder of generated volumes that a fold may use.

    Attributes:
        folder: The volumes, their labels those of the real data.
        verdict: What is known of the patients behind them.
    """

    folder: VolumeFolder
    verdict: Verdict

    @cached_property
    def digest(self) -> str:
        """Changes with any file, and with how files are read."""
        return short_digest([self.folder.checksums, self.folder.conversions, self.folder.labels.tolist()])

    def in_memory(self) -> VolumeSet:
        """The same volumes, all of them read: the loader processes of all trainings to come share them."""
        return InMemory(self.folder).filled()


@dataclass(frozen=True)
class Fold:
    """What one fold trains, selects and tests on.

    Attributes:
        number: Which fold is held out.
        class_names: Classes in label order.
        channels: MRI sequences per volume.
        roi_size: Side of the volumes in voxels.
        spacing: Side of a voxel in mm.
        train: Real training part, unchanged.
        val: Real validation part.
        test: Real test part.
        augmentation: Of the arm with classic augmentation.
        augmentation_settings: Its class and arguments as plain data.
        generated: Generated volumes by label.
        batch_size: Volumes per step.
        num_workers: Loader processes.
        phantom: Whether the real parts are phantoms.
        split: Identifier of the cohort's split; None where it has none.
    """

    number: int
    class_names: tuple[str, ...]
    channels: int
    roi_size: int
    spacing: float
    train: VolumeSet
    val: VolumeSet
    test: VolumeSet
    augmentation: Augmentation | None
    augmentation_settings: Any
    generated: Mapping[str, Generated]
    batch_size: int
    num_workers: int
    phantom: bool = False
    split: str | None = None

    @cached_property
    def digest(self) -> str:
        """Changes with any case and any region of interest of the fold."""
        parts = {"train": self.train, "val": self.val, "test": self.test}
        return short_digest({"classes": self.class_names, **{name: _content(part) for name, part in parts.items()}})

    def training_set(self, wanted: TrainingSet, generated: VolumeSet | None, seed: int) -> VolumeSet:
        """The volumes of a stage of training, not augmented.

        Args:
            wanted: What they are.
            generated: Generated volumes, where the wanted holds some.
            seed: Of shares, oversampling and shuffled labels: equal for all arms.
        """
        parts: list[VolumeSet] = []
        if wanted.real_share > 0:
            parts.append(first_patients(self.train, seed, share=wanted.real_share))
        if wanted.synthetic:
            assert generated is not None
            parts.append(with_shuffled_labels(generated, seed) if wanted.shuffled else generated)
        volumes = joined(*parts)
        return oversampled(volumes, seed) if wanted.oversampled else volumes


@dataclass(frozen=True)
class Reading:
    """How folders of generated volumes are read.

    Attributes:
        trust_unmanifested: Accept volumes that cannot tell whom they were trained on.
        intensities: Range of files where no manifest states it, see `VolumeFolder`.
        convert: Bring volumes of another size or spacing to that of the real ones.
    """

    trust_unmanifested: bool = False
    intensities: str | None = None
    convert: bool = False


def open_fold(
    data: ROIDataModule,
    folders: Mapping[str, str],
    reading: Reading,
    augmentation_settings: Any,
    kept: MutableMapping[Hashable, Block],
) -> Fold:
    """Opens a fold and the generated volumes for it.

    Args:
        data: Prepared, with its fold set.
        folders: Of generated volumes, by label.
        reading: How they are read.
        augmentation_settings: Class and arguments of the augmentation as plain data.
        kept: Where real volumes are kept in memory; the same for all folds.

    Raises:
        InputError: There are no validation cases, volumes cannot be used, or their generator has seen held-out patients.
    """
    data.setup("fit")
    parts = data.parts()
    if lacking := [name for name in ("train", "val", "test") if not len(parts.get(name, ()))]:
        raise InputError(
            f"--data: fold {data.fold} has no cases in its part '{lacking[0]}'; the benchmark trains, selects weights by "
            "validation cases and tests: give a --data.val_share above 0, such as 0.15."
        )
    return Fold(
        number=data.fold,
        class_names=data.class_names,
        channels=data.channels,
        roi_size=data.roi_size,
        spacing=data.spacing,
        train=InMemory(parts["train"], kept),
        val=InMemory(parts["val"], kept),
        test=InMemory(parts["test"], kept),
        augmentation=data.augmentation,
        augmentation_settings=augmentation_settings,
        generated={label: _open_generated(Path(path), data, reading) for label, path in folders.items()},
        batch_size=data.batch_size,
        num_workers=data.num_workers,
        phantom=data.phantom,
        split=None if data.patient_key is None else data.patient_key.split,
    )


def _open_generated(path: Path, data: ROIDataModule, reading: Reading) -> Generated:
    """A folder for the fold of a data module, if it may be used there."""
    folder = VolumeFolder(
        path, data.class_names, data.roi_size, data.spacing, reading.intensities, convert=reading.convert
    )
    if lacking := [name for index, name in enumerate(data.class_names) if index not in folder.labels]:
        raise InputError(
            f"{path}: holds no volume of the class {', '.join(lacking)}, expected some of each of "
            f"{', '.join(data.class_names)}."
        )
    return Generated(folder, data.check_volumes(folder, reading.trust_unmanifested))


def short_digest(content: object) -> str:
    """Sixteen hex digits of the SHA-256 of JSON types."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _content(part: VolumeSet) -> list[tuple[str, int, str]]:
    cases = zip(part.cases, part.labels.tolist(), strict=True)
    return [(case, label, part.digest(index)) for index, (case, label) in enumerate(cases)]
