"""The real volumes that a generator is held against while it trains, as they are on disk, whatever training makes of them."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from data_modules.base import ROIDataModule, VolumeSet
from data_modules.volumes.select import joined
from tumorgen.metrics.metric import Real, Resampling, Volumes


class _Lazily(Sequence[Float[Tensor, "C D H W"]]):
    """Volumes of a list, read when asked for."""

    def __init__(self, volumes: VolumeSet) -> None:
        self.volumes = volumes

    def __len__(self) -> int:
        return len(self.volumes)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self.volumes[index]["volume"].float()


def real_volumes(data: ROIDataModule, resampling: Resampling) -> Real:
    """Validation volumes to compare with, and training volumes to find copies of.

    Args:
        data: After `setup`, with real training volumes.
        resampling: How intervals, tests and floors are taken.
    """
    parts = [part for part in (data.val, data.train_real, data.train_generated) if part is not None]
    whole = joined(*parts)
    volumes = Volumes.of(_Lazily(whole), whole.labels, patients=whole.patients)
    held_out, generated = len(data.val or ()), len(data.train_generated or ())
    real = volumes.select(torch.arange(len(whole) - generated))
    validation = volumes.select(torch.arange(held_out)) if held_out else None
    part = "validation part" if held_out else "training part (nothing was held out)"
    return Real(
        class_names=data.class_names,
        spacing=data.spacing,
        compared=validation or real,
        everything=real,
        training=volumes.select(torch.arange(held_out, len(whole))),
        held_out=validation,
        resampling=resampling,
        facts={"real_volumes": f"{part} of fold {data.fold} of {data.folds}"},
        generated_training=generated,
    )
