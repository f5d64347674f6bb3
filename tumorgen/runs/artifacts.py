"""Generated volumes as an artifact of Weights & Biases: versioned, downloadable, with their manifest."""

import json

import lightning as L
import wandb

from data_modules.origin import Origin
from tumorgen.runs.loggers import RunRecord
from tumorgen.runs.volumes import VolumeWriter


class VolumeArtifact(L.Callback):
    """Keeps the folder of a `VolumeWriter` as an artifact of type `volumes`, once all ranks have written.

    The files are not copied: an offline run is synchronised from the folder itself.

    Args:
        writer: Whose folder; it has to come before this callback.
    """

    def __init__(self, writer: VolumeWriter) -> None:
        self.writer = writer

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Logs the artifact; what all volumes have in common becomes its metadata."""
        manifest = self.writer.folder / "manifest.json"
        if stage != "predict" or not trainer.is_global_zero or not manifest.is_file():
            return
        content = json.loads(manifest.read_text(encoding="utf-8"))
        content["volumes"] = len(content["volumes"])
        # hashes of patients belong to the manifest; beside hundreds of them nothing else could be read
        content["patients"] = len(Origin.from_json(content.pop("origin")).patients)
        content["generators"] = [{key: one[key] for key in one if key != "origin"} for one in content["generators"]]
        for logger in trainer.loggers:
            if isinstance(logger, RunRecord):
                name = "".join(
                    letter if letter.isalnum() or letter in "-_." else "-" for letter in logger.experiment.group
                )
                artifact = wandb.Artifact(f"{name}-volumes", type="volumes", metadata=content)
                artifact.add_dir(str(self.writer.folder), policy="immutable")
                logger.experiment.log_artifact(artifact)
