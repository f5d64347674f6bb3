"""Writes sampled volumes as they come: one NIfTI each, and a manifest that says where every one of them comes from."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import lightning as L
import nibabel as nib
import numpy as np
import torch
from lightning.pytorch.callbacks import BasePredictionWriter

from data_modules.errors import InputError
from data_modules.files import atomic_path, sha256, write_json
from data_modules.request import RequestBatch
from data_modules.roi import FOREGROUND_THRESHOLD
from tumorgen.generator import Generator
from tumorgen.provenance import package_versions
from tumorgen.types import Volume


def to_nifti(volume: np.ndarray, spacing: float, dtype: str = "float32") -> nib.Nifti1Image:
    """A generated volume as an image that viewers understand.

    Args:
        volume: (D, H, W) in [-1, 1].
        spacing: Side of a voxel in mm.
        dtype: `float32` for intensities in [0, 1], `int16` for 0..1000.

    Returns:
        Voxels (x, y, z) with LPS axes, the volume centred on the world's origin, background (x <= -0.9) exactly 0.
    """
    intensities = np.where(volume > FOREGROUND_THRESHOLD, (np.clip(volume, -1, 1) + 1) / 2, 0).transpose(2, 1, 0)
    voxels = np.rint(1000 * intensities).astype(np.int16) if dtype == "int16" else intensities.astype(np.float32)
    affine = np.diag([-spacing, -spacing, spacing, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(voxels.shape) - 1) / 2)
    image = nib.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"synthetic tumour region, tumorgen"
    return image


class VolumeWriter(BasePredictionWriter):
    """Streams volumes to `<folder>/<class>/<class>_0001.nii.gz` and `manifest.json`.

    A run that was interrupted continues when the same command is given again: what the manifest lists and the disk holds is
    not sampled again. Anything else that is already there is left alone unless `overwrite` is true.

    Args:
        folder: Where to write; None is `volumes` in the run's folder.
        dtype: `float32` for intensities in [0, 1], `int16` for 0..1000.
        overwrite: Replace volumes of an earlier, different run in the folder.
    """

    def __init__(
        self,
        folder: Path | None = None,
        dtype: Literal["float32", "int16"] = "float32",
        overwrite: bool = False,
    ) -> None:
        super().__init__(write_interval="batch")
        self.folder, self.dtype, self.overwrite = folder, dtype, overwrite
        self.origin: dict[str, Any] = {}
        self._written: dict[str, dict[str, Any]] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Looks at what is in the folder, and takes what needs no sampling off the request.

        Raises:
            InputError: The folder holds volumes of another checkpoint, sampler or seed.
        """
        if stage != "predict":
            return
        if not isinstance(pl_module, Generator):
            raise InputError(
                f"--ckpt_path: a {type(pl_module).__name__} samples nothing; give the checkpoint of a generator, for example "
                "of experiments/transformer.yaml. A tokenizer is looked at with `tumorgen reconstruct`."
            )
        self.folder = Path(trainer.default_root_dir) / "volumes" if self.folder is None else self.folder
        self.origin = self._origin(trainer, pl_module)
        wanted = {item["name"]: item for item in trainer.datamodule.wanted(pl_module.class_names)}
        earlier = self._earlier()
        for name, entry in earlier.items():
            item = wanted.get(name)
            if item is not None and entry["seed"] == item["seed"] and self._path(name).is_file():
                self._written[name] = entry
        strange = [name for name in wanted if self._path(name).exists() and name not in self._written]
        if strange and not self.overwrite:
            raise InputError(
                f"{self.folder}: holds {strange[0]}.nii.gz of another run (another checkpoint, sampler or seed, or no "
                "manifest); choose another --output.folder, or replace them with --output.overwrite true."
            )
        trainer.datamodule.leave_out(self._written)

    def write_on_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        prediction: Volume,
        batch_indices: Sequence[int] | None,
        batch: RequestBatch,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Writes a batch of volumes and then the manifest."""
        assert isinstance(pl_module, Generator)
        for volume, label, seed, name in zip(prediction, batch["label"], batch["seed"], batch["name"], strict=True):
            if volume.shape[0] != 1:
                raise InputError(f"{name}: {volume.shape[0]} channels; this version writes volumes of one sequence.")
            image = to_nifti(volume[0].float().cpu().numpy(), pl_module.spacing, self.dtype)
            with atomic_path(self._path(name)) as temporary:
                nib.save(image, temporary)
            self._written[name] = {
                "file": f"{name}.nii.gz",
                "class": pl_module.class_names[int(label)],
                "seed": int(seed),
                "empty": not bool(torch.any(volume > FOREGROUND_THRESHOLD)),
            }
        self._write_manifest(trainer)

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Gathers the ranks' lists into one manifest and says where it is."""
        trainer.strategy.barrier()
        if not trainer.is_global_zero:
            return
        assert self.folder is not None
        self._written |= self._earlier()
        write_json(self.folder / "manifest.json", self._manifest())
        for part in self.folder.glob("manifest.rank*.json"):
            part.unlink()
        print(f"{len(self._written)} volumes in {self.folder}")

    def _origin(self, trainer: L.Trainer, model: Generator) -> dict[str, Any]:
        """What all volumes of a run have in common."""
        sampler = model.describe_sampler()
        config = {"sampler": sampler, "dtype": self.dtype, "class_names": list(model.class_names)}
        return {
            "method": type(model).__name__,
            "sampler": sampler,
            "checkpoint_sha256": sha256(str(trainer.ckpt_path)) if trainer.ckpt_path else None,
            "config_sha256": hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest(),
            "class_names": list(model.class_names),
            "roi_size": model.roi_size,
            "spacing_mm": model.spacing,
            "intensities": "[0, 1]" if self.dtype == "float32" else "0..1000",
            "affine": to_nifti(np.zeros((model.roi_size,) * 3), model.spacing).affine.tolist(),
            "training_patients": dict(model.provenance),
            "packages": package_versions(),
        }

    def _earlier(self) -> dict[str, dict[str, Any]]:
        """Volumes that manifests in the folder list, if they come from the same checkpoint and sampler."""
        assert self.folder is not None
        found: dict[str, dict[str, Any]] = {}
        for path in [self.folder / "manifest.json", *self.folder.glob("manifest.rank*.json")]:
            if not path.is_file():
                continue
            try:
                manifest = json.loads(path.read_text())
                same = all(manifest[key] == self.origin[key] for key in ("checkpoint_sha256", "config_sha256"))
                entries = {entry["file"].removesuffix(".nii.gz"): entry for entry in manifest["volumes"]}
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{path}: is no manifest of tumorgen ({error!r}); move it away.") from error
            if same:
                found |= entries
        return found

    def _write_manifest(self, trainer: L.Trainer) -> None:
        assert self.folder is not None
        name = "manifest.json" if trainer.world_size == 1 else f"manifest.rank{trainer.global_rank}.json"
        write_json(self.folder / name, self._manifest())

    def _manifest(self) -> dict[str, Any]:
        return {**self.origin, "volumes": [self._written[name] for name in sorted(self._written)]}

    def _path(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{name}.nii.gz"
