"""What every data module of tumorgen offers: lists of volumes, loaders, the batch contract, and what it knows of them.

Legend for shapes: B batch, C channel, D depth (axial slice), H row, W column.
"""

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

import numpy as np
import torch
from jaxtyping import Float, Int
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from data_modules.cores import available_cores
from data_modules.draws import drawing_from, keyed_seed, run_seed
from data_modules.errors import InputError
from data_modules.origin import Origin, PatientKey, Verdict, check, check_volumes

if TYPE_CHECKING:
    from data_modules.transforms import Augmentation
    from data_modules.volumes.folder import VolumeFolder

Part: TypeAlias = Literal["train", "val", "test"]
LabelArray: TypeAlias = Int[np.ndarray, " n"]

# Up to this edge length an augmented volume takes a few milliseconds: worker processes would cost more than they save.
_IN_PROCESS_SIZE = 32


class Item(TypedDict):
    """One region of interest: float32 in [-1, 1], background exactly -1; class index; case identifier."""

    volume: Float[Tensor, "C D H W"]
    label: int
    case: str


class Batch(TypedDict):
    """What a training, validation or test step receives."""

    volume: Float[Tensor, "B C D H W"]
    label: Int[Tensor, " B"]
    case: list[str]


class VolumeSet(Dataset[Item], ABC):
    """A list of volumes, read when asked for, of which classes, patients and cases are known without reading any.

    Attributes:
        labels: Class index of every volume (n,), int64.
        patients: Patient of every volume; a generated volume is a patient of its own.
        cases: Case of every volume; the same volume twice has the same case twice.
        part: Part of the fold that the volumes are of; None where they are of none.
    """

    labels: LabelArray
    patients: tuple[str, ...]
    cases: tuple[str, ...]
    part: Part | None = None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Item: ...

    def digest(self, index: int) -> str:
        """Changes with everything that a volume depends on; unless a subclass knows better, with its voxels."""
        return hashlib.sha256(self[index]["volume"].numpy().tobytes()).hexdigest()


class ROIDataModule(LightningDataModule, ABC):
    """Regions of interest with a class each, as training, validation and test loaders.

    Subclasses fill `train`, `val` and `test` in `setup`, with volumes as they are on disk: the training loader augments
    them. Everything models are built from (`num_classes`, `class_names`, `channels`, `roi_size`, `spacing`) is cheap and
    available before `prepare_data`. What other rooms read is declared here, with a default.

    Args:
        roi_size: Edge length of the cubic volumes in voxels.
        spacing: Edge length of a voxel in mm.
        batch_size: Volumes per batch and process.
        num_workers: Loader processes. None chooses: 0 up to 32 voxels, where a volume takes a few milliseconds, otherwise
            one less than the processor cores, at most 4. No number drawn depends on it.

    Attributes:
        train: Training volumes, not augmented; None before `setup`, or where there are none.
        val: Validation volumes.
        test: Test volumes.
        augmentation: Changes training volumes at random; None: they are the same in every epoch.
        fold: Fold that is tested on, from 0.
        folds: Number of folds; 1 where the parts are what they are.
        patient_key: Turns patients into the hashes that checkpoints and manifests carry; None where nobody has one.
        phantom: Whether the patients are artificial.
        place: Folder that `prepare_data` leaves something in, for `tumorgen prepare` to name; None where it leaves nothing.
    """

    channels: int = 1
    augmentation: "Augmentation | None" = None
    fold: int = 0
    folds: int = 1
    patient_key: PatientKey | None = None
    phantom: bool = False
    place: Path | None = None

    def __init__(self, roi_size: int, spacing: float, batch_size: int, num_workers: int | None) -> None:
        super().__init__()
        positive = {"roi_size": roi_size, "spacing": spacing, "batch_size": batch_size}
        for name, value in positive.items():
            if value <= 0:
                raise InputError(f"--data.{name} is {value}; it must be above 0")
        if num_workers is not None and num_workers < 0:
            raise InputError(
                f"--data.num_workers is {num_workers}; it must be 0 or more, or null to let tumorgen choose"
            )
        self.roi_size = roi_size
        self.spacing = spacing
        self.batch_size = batch_size
        self.num_workers = default_workers(roi_size) if num_workers is None else num_workers
        self.train: VolumeSet | None = None
        self.val: VolumeSet | None = None
        self.test: VolumeSet | None = None
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._seed: tuple[object, int] | None = None

    @property
    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; the position is the label."""

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def train_real(self) -> VolumeSet | None:
        """Real training volumes, each once and under its own label: what samples are compared with while training."""
        return self.train

    @property
    def train_generated(self) -> VolumeSet | None:
        """Generated training volumes, each once and under its own label; None where there are none."""
        return None

    @property
    def held_out(self) -> dict[str, tuple[str, ...]]:
        """Patients that must be new to everything that is trained, by the name of their part."""
        parts = {"validation": self.val, "test": self.test}
        return {name: () if part is None else tuple(sorted(set(part.patients))) for name, part in parts.items()}

    @property
    def origin(self) -> Origin:
        """Who is behind everything that is trained on the training part: real patients, also those behind generated volumes."""
        patients = self._training_patients
        if self.patient_key is None:
            return Origin(fold=self.fold, unknown=bool(patients), phantom=self.phantom)
        hashes = self.patient_key.hashes(patients)
        return Origin(self.patient_key.split, self.fold, hashes, phantom=self.phantom and bool(patients))

    def describe(self) -> dict[str, Any]:
        """What a manifest of these volumes should say of how they were made, as JSON types: here nothing."""
        return {}

    def remarks(self) -> dict[str, list[int]]:
        """Further columns of the table of `tumorgen prepare`: by title, a number of cases per class. Here none."""
        return {}

    def check(self, what: object, origin: Origin) -> Verdict:
        """Refuses what must not be used with these data, such as a tokenizer, see `data_modules.origin.check`."""
        return check(what, origin, self.patient_key, self.held_out, self._training_patients)

    def check_volumes(self, folder: "VolumeFolder", trust_unmanifested: bool = False) -> Verdict:
        """Refuses generated volumes that must not be used with these data, see `data_modules.origin.check_volumes`."""
        return check_volumes(folder, self.patient_key, self.held_out, self._training_patients, trust_unmanifested)

    def set_epoch(self, epoch: int) -> None:
        """Says which epoch the augmentation is drawn for, in the loaders' worker processes too; called as epochs start."""
        self._epoch.fill_(epoch)

    def train_dataloader(self) -> DataLoader[Item]:
        """Shuffled batches of the training part; the last, smaller batch is kept, as in the published recipe."""
        if self.trainer is not None:
            # workers of a resumed run read ahead before its first epoch starts, and `current_epoch` is behind until then
            self.set_epoch(self.trainer.fit_loop.epoch_progress.total.processed)
        return self._loader(self._augmented(), shuffle=True)

    def val_dataloader(self) -> DataLoader[Item]:
        """Batches of the validation part, in a fixed order."""
        return self._loader(self.val, shuffle=False)

    def test_dataloader(self) -> DataLoader[Item]:
        """Batches of the test part, in a fixed order."""
        return self._loader(self.test, shuffle=False)

    def statistics_dataloader(self) -> DataLoader[Item]:
        """Training volumes, augmented, in one order for all epochs and ranks: to estimate statistics of networks from."""
        order = torch.Generator().manual_seed(0)
        return DataLoader(_there(self, self._augmented()), batch_size=self.batch_size, shuffle=True, generator=order)

    @property
    def _training_patients(self) -> set[str]:
        return set() if self.train_real is None else set(self.train_real.patients)

    def _augmented(self) -> VolumeSet | None:
        if self.train is None or self.augmentation is None:
            return self.train
        if self._seed is None or self._seed[0] is not self.trainer:  # steps of a training may seed the generator, too
            self._seed = self.trainer, run_seed()
        return Augmented(self.train, self.augmentation, self._seed[1], self._epoch)

    def parts(self) -> dict[Part, VolumeSet]:
        """Training, validation and test part, those that there are.

        Raises:
            RuntimeError: before `setup`.
        """
        parts: dict[Part, VolumeSet | None] = {"train": self.train, "val": self.val, "test": self.test}
        found = {name: part for name, part in parts.items() if part is not None}
        if not found:
            raise RuntimeError(f"{type(self).__name__}: call prepare_data() and setup() before asking for its parts")
        return found

    def _loader(self, volumes: VolumeSet | None, *, shuffle: bool) -> DataLoader[Item]:
        return DataLoader(
            _there(self, volumes),
            batch_size=self.batch_size,
            shuffle=shuffle,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )


class Augmented(VolumeSet):
    """Volumes changed at random when they are read: every case, and every copy of it, in its own way in every epoch.

    Args:
        volumes: What is changed.
        augmentation: How.
        seed: Of all draws.
        epoch: int64 (); in shared memory, where worker processes are to see it change.
    """

    def __init__(
        self, volumes: VolumeSet, augmentation: "Augmentation", seed: int, epoch: Int[Tensor, ""] | None = None
    ) -> None:
        self.volumes, self.augmentation, self.seed = volumes, augmentation, seed
        self.epoch = torch.zeros((), dtype=torch.int64) if epoch is None else epoch
        self.labels, self.patients, self.cases, self.part = (
            volumes.labels,
            volumes.patients,
            volumes.cases,
            volumes.part,
        )
        seen: Counter[str] = Counter()
        self._copies = []  # of each volume, how many of the same case come before it
        for case in volumes.cases:
            self._copies.append(seen[case])
            seen[case] += 1

    def __len__(self) -> int:
        return len(self.volumes)

    def __getitem__(self, index: int) -> Item:
        item = self.volumes[index]
        seed = keyed_seed(self.seed, int(self.epoch), item["case"], f"augmentation {self._copies[index]}")
        with drawing_from(seed):
            volume = self.augmentation(item["volume"])
        return Item(volume=volume, label=item["label"], case=item["case"])


def origin_of(data: object) -> Origin:
    """Who is behind what is trained on some data; nobody knows it unless they are an `ROIDataModule`."""
    return data.origin if isinstance(data, ROIDataModule) else Origin(unknown=True)


def _there(data: ROIDataModule, volumes: VolumeSet | None) -> VolumeSet:
    if volumes is None:
        raise RuntimeError(f"{type(data).__name__}: call prepare_data() and setup() before asking for a loader")
    return volumes


def default_workers(roi_size: int) -> int:
    """Number of loader processes for volumes of `roi_size` voxels a side on this machine."""
    if roi_size <= _IN_PROCESS_SIZE:
        return 0
    return max(0, min(4, available_cores() - 1))
