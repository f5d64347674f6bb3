"""Running statistics that belong to the weights."""

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import nn


class PreciseBatchNorm(L.Callback):
    """Estimates the running statistics of batch norms anew, on training volumes, before every look at the validation part.

    Tumours fill few voxels, and how many differs from batch to batch: running averages lag behind weights that still change, so
    that probabilities drift to one side while cases keep their order (Wu and Johnson 2021, Rethinking "Batch" in BatchNorm).
    Networks without batch norms are left alone, and so are checkpoints that are only looked at. The random numbers of the
    training go on as if nothing had been drawn.

    Args:
        most: Volumes to look at, at most.
    """

    def __init__(self, most: int = 256) -> None:
        self.most = most

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Passes training volumes through the network, everything but the batch norms in evaluation mode."""
        norms = [part for part in pl_module.modules() if isinstance(part, nn.BatchNorm3d)]
        if not norms or trainer.state.fn is not TrainerFn.FITTING:
            return
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain average over batches
            norm.train()
        seen = 0
        with torch.random.fork_rng(devices=[]):  # augmentation draws, on the CPU
            for batch in trainer.datamodule.statistics_dataloader():
                pl_module(batch["volume"].to(pl_module.device))
                seen += len(batch["volume"])
                if seen >= self.most:
                    break
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
