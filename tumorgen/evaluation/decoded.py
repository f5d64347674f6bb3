"""Volumes of a folder as arrays on disk: each file is decoded once, and memory does not grow with their number."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from data_modules.volumes.folder import VolumeFolder


class Decoded(Sequence[Float[Tensor, "1 D H W"]]):
    """The volumes of a folder, decoded when first asked for and mapped into memory from then on.

    Args:
        folder: Holds the files.
        scratch: Where a temporary file may lie: 8 MB per volume of 128 voxels a side. It is gone with this object.
    """

    def __init__(self, folder: VolumeFolder, scratch: Path) -> None:
        self.folder = folder
        self._file = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 (open as long as this object lives)
        self._shape = (1, *(folder.roi_size,) * 3)
        self._offsets: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.folder)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if index not in self._offsets:
            self._offsets[index] = self._file.seek(0, 2)
            self._file.write(self.folder.volume(index).tobytes())
            self._file.flush()
        # mapped anew every time: pages that are in use are those of the volumes in use; private, so that it may be written to
        mapped = np.memmap(self._file, np.float32, "c", self._offsets[index], self._shape)
        return torch.from_numpy(mapped)
