"""Random number generators in the checkpoint, so that a resumed run draws what the uninterrupted one would have drawn."""

import random
from typing import Any

import lightning as L
import numpy as np
import torch


class RandomState(L.Callback):
    """Stores the generators of Python, NumPy, torch and the GPU, and restores them when training goes on.

    Restored at the start of the first resumed epoch, which is where the stored ones stood: a resumed run equals the
    uninterrupted one, bit by bit on a CPU. Under DDP every rank takes the state of rank zero over; neither the cases that a
    rank sees nor their augmentation depend on it.
    """

    def __init__(self) -> None:
        self._restored: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """The states as plain numbers and tensors."""
        version, internal, gauss = random.getstate()
        kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
        return {
            "python": [version, list(internal), gauss],
            "numpy": [str(kind), torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached],
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keeps the states until training starts: building loaders and models draws numbers too."""
        self._restored = state_dict

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restores what `load_state_dict` kept, once."""
        if self._restored is None:
            return
        state, self._restored = self._restored, None
        version, internal, gauss = state["python"]
        random.setstate((version, tuple(internal), gauss))
        kind, keys, position, has_gauss, cached = state["numpy"]
        np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
        torch.set_rng_state(state["torch"])
        if state["cuda"] is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(state["cuda"])
        # The loader draws when its iterator is made. An uninterrupted run makes it after this hook, a resumed one has made
        # it before
        iter(trainer.fit_loop._data_fetcher)
