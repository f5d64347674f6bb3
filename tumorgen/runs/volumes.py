"""Writes sampled volumes as they come: one NIfTI each, and a manifest that says where every one of them comes from."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import lightning as L
import nibabel as nib
from lightning.pytorch.callbacks import BasePredictionWriter

from data_modules.cohort.grades import class_order
from data_modules.errors import InputError
from data_modules.files import atomic_path, sha256, write_json
from data_modules.origin import Origin
from data_modules.request import RequestBatch
from data_modules.roi.extract import foreground
from data_modules.volumes.file import to_nifti
from tumorgen.methods.generator import Generator
from tumorgen.methods.system import System
from tumorgen.runs.packages import package_versions
from tumorgen.types import Volume


class VolumeWriter(BasePredictionWriter):
    """Streams volumes to `<folder>/<class>/<class>_0001.nii.gz` and `manifest.json`, which has the SHA-256 of each of them.

    A run that was interrupted continues when the same command is given again: what the manifest lists and the disk holds is
    not sampled again. The same holds for a command that asks for more volumes of the same checkpoint and sampler. Generators
    of other classes may write into the same folder, one after the other: so methods that are trained per class come to one
    folder of samples. Anything else that is already there is left alone unless `overwrite` is true.

    Args:
        folder: Where to write.
        dtype: `float32` for intensities in [0, 1], `int16` for 0..1000.
        overwrite: Remove the volumes of an earlier, different run in the folder, and write new ones.

    Attributes:
        checkpoint: File that the generator was read from; the manifest tells its SHA-256.
    """

    def __init__(
        self,
        folder: Path = Path("samples"),
        dtype: Literal["float32", "int16"] = "float32",
        overwrite: bool = False,
    ) -> None:
        super().__init__(write_interval="batch")
        self.folder, self.dtype, self.overwrite = folder, dtype, overwrite
        self.checkpoint: Path | None = None
        self._shape: dict[str, Any] = {}  # what all volumes of a folder have in common
        self._generator: dict[str, Any] = {}  # what those of this run have in common
        self._others: list[dict[str, Any]] = []  # the same of the generators of other classes
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
        self._describe(trainer, pl_module)
        wanted = {item["name"]: item["seed"] for item in trainer.datamodule.wanted(pl_module.class_names)}
        earlier, foreign = self._earlier()
        self._written = {
            name: entry
            for name, entry in earlier.items()
            if self._path(name).is_file() and wanted.get(name, entry["seed"]) == entry["seed"]
        }
        unlisted = {name for name in wanted if name not in self._written and self._path(name).exists()}
        in_the_way = sorted(unlisted | {name for name in foreign if self._path(name).exists()})
        if in_the_way and not self.overwrite:
            raise InputError(
                f"{self.folder}: holds {in_the_way[0]}.nii.gz of another run (another checkpoint, sampler or seed, or no "
                "manifest); choose another --output.folder, or replace what is there with --output.overwrite."
            )
        trainer.strategy.barrier()  # every rank has read what the first one now tidies up
        if trainer.is_global_zero:
            self._tidy_up(in_the_way)
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
        """Writes the manifest and then a batch of volumes: a file that is there is always one that the manifest lists."""
        assert isinstance(pl_module, Generator)
        if prediction.shape[1] != 1:
            raise InputError(f"{prediction.shape[1]} channels per volume; this version writes volumes of one sequence.")
        volumes = prediction[:, 0].float().cpu().numpy()
        for volume, label, seed, name in zip(
            volumes, batch["condition"].label, batch["seed"], batch["name"], strict=True
        ):
            self._written[name] = {
                "file": f"{name}.nii.gz",
                "class": pl_module.class_names[int(label)],
                "seed": int(seed),
                "empty": not bool(foreground(volume).any()),
            }
        alone = trainer.world_size == 1
        self._write_manifest("manifest.json" if alone else f"manifest.rank{trainer.global_rank}.json")
        for volume, name in zip(volumes, batch["name"], strict=True):
            with atomic_path(self._path(name)) as temporary:
                nib.save(to_nifti(volume, pl_module.spacing, self.dtype), temporary)
                self._written[name]["sha256"] = sha256(temporary)  # on disk with the next manifest, see `_tidy_up`

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Gathers the ranks' lists into one manifest and says where it is; also on ranks that had nothing to sample."""
        if stage != "predict":
            return
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            self._written = self._earlier()[0] | self._written  # of its own volumes, this rank has all checksums
            self._tidy_up([])
            print(f"{len(self._written)} volumes in {self.folder}")

    def _describe(self, trainer: L.Trainer, model: Generator) -> None:
        """Notes what the volumes of this run have in common."""
        sampler = {**model.describe_sampler(), "precision": str(trainer.precision)}
        alike = model.batch_invariant and sampler["precision"] == "32-true" and model.device.type == "cpu"
        if not alike:  # the same volume in another batch differs in its last digits, or in a token
            sampler["batch_size"] = trainer.datamodule.batch_size
        config = {"sampler": sampler, "dtype": self.dtype, "class_names": list(model.class_names)}
        self._shape = {
            "roi_size": model.roi_size,
            "spacing_mm": model.spacing,
            "intensities": "[0, 1]" if self.dtype == "float32" else "0..1000",
        }
        self._generator = {
            "system": asdict(model.system),
            "method": type(model).__name__,
            "class_names": list(model.class_names),
            "sampler": sampler,
            "checkpoint_sha256": sha256(self.checkpoint) if self.checkpoint is not None else None,
            "config_sha256": hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest(),
            "origin": model.origin.to_json(),
            "packages": package_versions(),
        }

    def _earlier(self) -> tuple[dict[str, dict[str, Any]], list[str]]:
        """Volumes that manifests in the folder list: entries that stay, and names of those that are another run's.

        Entries of this checkpoint and sampler stay, and those of generators of other classes, which are noted.
        """
        found: dict[str, dict[str, Any]] = {}
        foreign: list[str] = []
        self._others = []
        for path in [self.folder / "manifest.json", *sorted(self.folder.glob("manifest.rank*.json"))]:
            if not path.is_file():
                continue
            try:
                manifest = json.loads(path.read_text())
                members = [self._welcome(manifest, one) for one in manifest["generators"]]
                entries = {entry["file"].removesuffix(".nii.gz"): entry for entry in manifest["volumes"]}
                classes = {name for one in filter(None, members) for name in one["class_names"]}
                stay = {name: entry for name, entry in entries.items() if entry["class"] in classes}
                if any(not self._path(name).resolve().is_relative_to(self.folder.resolve()) for name in entries):
                    raise ValueError("lists files outside of its folder")
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise InputError(f"{path}: is no manifest of tumorgen ({error!r}); move it away.") from error
            self._others += [one for one in members if one and one not in (self._generator, *self._others)]
            found |= stay
            foreign += entries.keys() - stay.keys()
        return found, foreign

    def _welcome(self, manifest: dict[str, Any], generator: dict[str, Any]) -> dict[str, Any] | None:
        """A generator that a manifest lists, if its volumes may stay: this one, or one of other classes; None otherwise."""
        if any(manifest[key] != value for key, value in self._shape.items()):
            return None
        if all(generator[key] == self._generator[key] for key in ("checkpoint_sha256", "config_sha256")):
            return self._generator
        return None if set(generator["class_names"]) & set(self._generator["class_names"]) else generator

    def _tidy_up(self, names: Iterable[str]) -> None:
        """Removes volumes that are replaced and what killed runs left, and makes one manifest of all.

        A manifest is written before its files are, so it lacks the checksums of a run's, or a rank's, last batch.
        """
        for name in names:
            self._path(name).unlink()
        for half in self.folder.glob("*/.*.tmp.nii.gz"):
            half.unlink()
        for name, entry in self._written.items():
            if "sha256" not in entry and self._path(name).is_file():
                entry["sha256"] = sha256(self._path(name))
        self._write_manifest("manifest.json")
        for part in self.folder.glob("manifest.rank*.json"):
            part.unlink()

    def _write_manifest(self, name: str) -> None:
        names = self._generator["class_names"]
        if self._others:
            names = list(class_order({name for one in (self._generator, *self._others) for name in one["class_names"]}))
        generators = sorted([self._generator, *self._others], key=lambda one: names.index(one["class_names"][0]))
        origin, *others = (Origin.from_json(one["origin"]) for one in generators)
        content = {
            "kind": "generated",
            "system": asdict(System.together([System(**one["system"]) for one in generators])),
            "method": ", ".join(dict.fromkeys(one["method"] for one in generators)),
            "class_names": names,
            **self._shape,
            "origin": origin.joined(*others).to_json(),
            "generators": generators,
            "volumes": [self._written[name] for name in sorted(self._written)],
        }
        write_json(self.folder / name, content)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.nii.gz"
