"""Random numbers that belong to the data: keyed by seed, epoch and case, whatever process, rank, batch or worker asks."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def keyed_seed(seed: int, epoch: int, case: str, purpose: str = "") -> int:
    """A seed in [0, 2^63) that depends on its key alone; other keys give unrelated seeds.

    Args:
        seed: Of the run; see `run_seed`.
        epoch: From 0.
        case: What the draw is for, such as an `Item`'s case.
        purpose: Keeps draws of one case apart that must not depend on each other, such as `mask` and `dropout`.
    """
    key = "\n".join((str(seed), str(epoch), purpose, case))
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1


def generator(
    seed: int, epoch: int, case: str, purpose: str = "", device: torch.device | str = "cpu"
) -> torch.Generator:
    """A torch generator seeded by `keyed_seed`; on another device the same key draws other numbers."""
    return torch.Generator(device).manual_seed(keyed_seed(seed, epoch, case, purpose))


def run_seed() -> int:
    """The seed that this process's torch generator was last given: `seed_everything` of the run. Not in loader workers."""
    return torch.initial_seed()


@contextmanager
def drawing_from(seed: int) -> Iterator[None]:
    """Inside, the global generators of Python, NumPy and torch (CPU) start from `seed`; afterwards they are as before."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would also seed the GPU's, which nobody restores
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
