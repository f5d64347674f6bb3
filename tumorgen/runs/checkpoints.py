"""Checkpoint files: a kill, a full disk or a power cut leaves the old file or the new one, never half of one."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from data_modules.files import atomic_path


class DurableCheckpoints(TorchCheckpointIO):
    """Writes beside the target, waits until the disk has it, and renames.

    Lightning's own way writes to `$TMPDIR` and moves: from another file system, that copies over the old file.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Path | str, storage_options: Any = None) -> None:
        """Saves one checkpoint; `storage_options` are for object stores and do nothing here."""
        with atomic_path(path) as temporary:
            torch.save(checkpoint, temporary)
            _to_disk(temporary)
        _to_disk(Path(path).parent)  # the new name too


def _to_disk(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
