"""Random numbers keyed by seed, epoch and case."""

import random

import numpy as np
import torch

from data_modules.draws import drawing_from, generator, keyed_seed, run_seed


def test_a_seed_depends_on_every_part_of_its_key_and_on_nothing_else() -> None:
    keys = [(0, 0, "a", ""), (1, 0, "a", ""), (0, 1, "a", ""), (0, 0, "b", ""), (0, 0, "a", "mask"), (0, 10, "", "a")]
    assert len({keyed_seed(*key) for key in keys}) == len(keys)
    assert [keyed_seed(*key) for key in keys] == [keyed_seed(*key) for key in keys]
    assert all(0 <= keyed_seed(*key) < 2**63 for key in keys)


def test_by_hand() -> None:
    """The first 8 bytes of the SHA-256 of 1, 2, mask and case, each on a line, without the last bit."""
    digest = "8ed5ed1fa0753104"  # printf '1\n2\nmask\ncase' | sha256sum
    assert keyed_seed(1, 2, "case", "mask") == int(digest, 16) >> 1


def test_generators_of_one_key_draw_the_same() -> None:
    first, again = (torch.rand(4, generator=generator(3, 1, "case")) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, torch.rand(4, generator=generator(3, 2, "case")))


def test_the_global_generators_are_borrowed_and_given_back() -> None:
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    drawn = []
    for _ in range(2):
        with drawing_from(2**62 + 5):
            drawn.append((random.random(), float(np.random.rand()), float(torch.rand(()))))
    after = (random.random(), float(np.random.rand()), float(torch.rand(())))
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    assert drawn[0] == drawn[1] != after
    assert after == (random.random(), float(np.random.rand()), float(torch.rand(())))
    assert run_seed() == 1
