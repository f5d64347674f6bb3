"""Pictures of what the model does with held-out cases, in the run's folder and on the dashboard."""

from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.loggers import WandbLogger
from matplotlib.figure import Figure

from tumorgen.methods.vqgan.module import VQGAN
from tumorgen.results.sheets import Reconstructed, reconstruction_sheet, save


class ReconstructionPictures(L.Callback):
    """Original, reconstruction and importance overlay of some validation cases, three planes each.

    Args:
        cases_per_class: Cases shown of every class, the first of the validation share.
        every_n_epochs: Epochs between two sheets.
    """

    def __init__(self, cases_per_class: int = 1, every_n_epochs: int = 1) -> None:
        self.cases_per_class = cases_per_class
        self.every_n_epochs = every_n_epochs

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draws a sheet when it is time for one."""
        epoch = trainer.current_epoch
        last = trainer.max_epochs is not None and epoch + 1 == trainer.max_epochs
        if (
            trainer.sanity_checking
            or not trainer.is_global_zero
            or not ((epoch + 1) % self.every_n_epochs == 0 or last)
        ):
            return
        if not isinstance(pl_module, VQGAN):
            raise TypeError(f"ReconstructionPictures shows a VQGAN, not a {type(pl_module).__name__}")
        rows = self._rows(trainer, pl_module)
        if rows:
            log_picture(trainer, "reconstructions", reconstruction_sheet(rows))

    def _rows(self, trainer: L.Trainer, model: VQGAN) -> list[Reconstructed]:
        rows, shown = [], dict.fromkeys(range(len(model.class_names)), 0)
        dataset = trainer.datamodule.val
        for index in range(len(dataset)):
            if min(shown.values()) >= self.cases_per_class:
                break
            item = dataset[index]
            if shown[item["label"]] >= self.cases_per_class:
                continue
            shown[item["label"]] += 1
            with torch.no_grad(), trainer.precision_plugin.forward_context():
                volume = item["volume"][None].to(model.device)
                encoding = model.encode(volume)
                reconstruction = model.decode(encoding.codes)
            rows.append(
                Reconstructed(
                    title=f"{model.class_names[item['label']]} {item['case']}",
                    original=item["volume"][0].numpy(),
                    reconstruction=reconstruction[0, 0].float().cpu().numpy(),
                    importance=encoding.scores[0, 0].float().cpu().numpy(),
                )
            )
        return rows


def log_picture(trainer: L.Trainer, name: str, figure: Figure) -> Path:
    """Writes a figure to `pictures/<name>_<epoch>.png` of the run's folder and sends it to Weights & Biases."""
    folder = Path(trainer.default_root_dir) / "pictures"
    path = save(figure, folder / f"{name}_{trainer.current_epoch + 1:04d}.png")
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(f"pictures/{name}", [str(path)])
    return path
