"""Random numbers of a batch, a stream for each of its volumes: masks, noise and times belong to the data, not to the process."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from data_modules.draws import keyed_seed


class Draws:
    """One random stream per volume, so that what is drawn for a volume does not depend on the batch it stands in.

    Numbers are drawn on the CPU and moved: the same on every device.

    Args:
        seeds: One per volume.
        device: Where the numbers are wanted.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        self._streams = [Generator().manual_seed(seed) for seed in seeds]
        self._device = device

    @classmethod
    def keyed(cls, seed: int, epoch: int, cases: Sequence[str], purpose: str, device: torch.device | str) -> "Draws":
        """Streams that depend on (seed, epoch, case) alone; draws of different purposes are independent."""
        return cls([keyed_seed(seed, epoch, case, purpose) for case in cases], device)

    def __len__(self) -> int:
        return len(self._streams)

    def uniform(self, *shape: int) -> Float[Tensor, "batch *shape"]:
        """Numbers in [0, 1)."""
        return self._each(lambda stream: torch.rand(shape, generator=stream))

    def normal(self, *shape: int) -> Float[Tensor, "batch *shape"]:
        """Numbers of mean 0 and standard deviation 1."""
        return self._each(lambda stream: torch.randn(shape, generator=stream))

    def exponential(self, *shape: int) -> Float[Tensor, "batch *shape"]:
        """Numbers above 0 of mean 1: waiting times."""
        return self._each(lambda stream: torch.empty(shape).exponential_(generator=stream))

    def integers(self, high: int, *shape: int) -> Int[Tensor, "batch *shape"]:
        """Whole numbers from 0 to `high` - 1."""
        return self._each(lambda stream: torch.randint(high, shape, generator=stream))

    def _each(self, draw: Callable[[Generator], Tensor]) -> Tensor:
        return torch.stack([draw(stream) for stream in self._streams]).to(self._device)
