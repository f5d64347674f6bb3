"""Optimizers and schedules as the published recipes set them; any other goes in by ``class_path``."""

from collections.abc import Callable, Iterable
from typing import TypeAlias

from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

OptimizerFactory: TypeAlias = Callable[[Iterable[Tensor]], Optimizer]
ScheduleFactory: TypeAlias = Callable[[Optimizer, int], LRScheduler]
"""Builds a schedule from an optimizer and the number of its steps in the whole run."""


class GANAdam(Adam):
    """Adam with the short momentum that GANs train with (published stage 1: betas 0.5 and 0.9, lr 5e-5).

    Args:
        params: Parameters or groups of them.
        lr: Learning rate.
        beta1: Decay of the running mean of gradients.
        beta2: Decay of the running mean of their squares.
    """

    def __init__(self, params: Iterable[Tensor], lr: float = 5e-5, beta1: float = 0.5, beta2: float = 0.9) -> None:
        super().__init__(params, lr=lr, betas=(beta1, beta2))


class CosineSchedule(CosineAnnealingLR):
    """Half a cosine from the optimizer's learning rate down to `final_lr` over the whole run.

    Args:
        optimizer: Optimizer whose learning rate falls.
        steps: Steps of the whole run; beyond them the rate stays at `final_lr`.
        final_lr: Learning rate of the last step (published stage 1: 3e-7).
    """

    def __init__(self, optimizer: Optimizer, steps: int, final_lr: float = 3e-7) -> None:
        self.steps = steps
        super().__init__(optimizer, T_max=steps, eta_min=final_lr)

    def step(self, epoch: int | None = None) -> None:
        """Advances by one optimizer step; plain `CosineAnnealingLR` would rise again after the last one."""
        if self.last_epoch < self.steps:
            super().step(epoch)


class TransformerAdamW(AdamW):
    """AdamW as the published stage 2 sets it: betas 0.9 and 0.95, lr 4.5e-6, decay 0.01 (on linear weights only).

    Args:
        params: Parameters, or groups of them; a group may switch the decay off for itself.
        lr: Learning rate.
        beta1: Decay of the running mean of gradients.
        beta2: Decay of the running mean of their squares.
        weight_decay: Decoupled weight decay.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 4.5e-6,
        beta1: float = 0.9,
        beta2: float = 0.95,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, lr=lr, betas=(beta1, beta2), weight_decay=weight_decay)
