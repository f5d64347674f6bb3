"""What the masking strategy does: a validation case of each class, its importance, and its corrupted token grid."""

from typing import Any

import lightning as L
import numpy.typing as npt
from einops import rearrange
from torch import Tensor

from data_modules.base import Item
from tumorgen.callbacks.pictures import log_picture
from tumorgen.methods.transformer.module import MaskedTransformer
from tumorgen.results.masking import MaskedCase, masking_sheet


class MaskingPictures(L.Callback):
    """One sheet per class at the start of training; tokenizer and masking stay as they are, so it would not change."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draws the sheets; the random numbers of training are not touched."""
        if not trainer.is_global_zero:
            return
        if not isinstance(pl_module, MaskedTransformer):
            raise TypeError(f"MaskingPictures shows a MaskedTransformer, not a {type(pl_module).__name__}")
        dataset = trainer.datamodule.val or []
        waiting = set(range(len(pl_module.class_names)))
        for index in range(len(dataset)):
            item = dataset[index]
            if item["label"] in waiting:
                waiting.remove(item["label"])
                name = pl_module.class_names[item["label"]]
                log_picture(trainer, f"masking_{name}", masking_sheet(self._case(pl_module, item, name)))
            if not waiting:
                break

    def _case(self, model: MaskedTransformer, item: Item, name: str) -> MaskedCase:
        volume = item["volume"]
        tokens, scores = model.tokenizer.encode(volume[None].to(model.device))
        corrupted = model.corrupt(tokens, scores, [item["case"]])
        depth, rows, columns = model.tokenizer.grid

        def on_grid(values: Tensor) -> npt.NDArray[Any]:
            return rearrange(values[0].cpu(), "(d h w) -> d h w", d=depth, h=rows, w=columns).numpy()

        parts = (on_grid(scores), on_grid(corrupted.masked), on_grid(corrupted.replaced))
        return MaskedCase(f"{name} {item['case']}", volume[0].numpy(), *parts)
