"""Inner products of volumes that are read lazily: exact, bounded in memory, and read no more often than stated."""

import subprocess
import sys
import weakref

import pytest
import torch

from tumorgen.metrics.gram import CHUNK, linear_gram


def volumes(n, seed, side=6):
    return torch.rand(n, 2, side, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


class Lazily:
    """Counts reads, and how many of the volumes that it gave out are alive at once."""

    def __init__(self, stored):
        self.stored, self.reads, self.alive, self.most_alive = stored, [], 0, 0

    def __len__(self):
        return len(self.stored)

    def __getitem__(self, index):
        if not 0 <= index < len(self):
            raise IndexError(index)
        volume = self.stored[index].clone()
        self.reads.append(index)
        self.alive += 1
        self.most_alive = max(self.most_alive, self.alive)
        weakref.finalize(volume, self._gone)
        return volume

    def _gone(self):
        self.alive -= 1


@pytest.mark.parametrize("block", [1, 7, 20, 53, 200])
def test_equals_one_matrix_product(block):
    x, y = volumes(33, 0), volumes(20, 1)
    gram = linear_gram(Lazily(x), Lazily(y), block=block)
    x, y = x.flatten(1).double(), y.flatten(1).double()
    for found, expected in zip(gram, (x @ x.T, y @ y.T, x @ y.T), strict=True):
        assert found.dtype == torch.float64
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


def test_each_volume_is_dropped_once_used_and_read_seldom():
    x, y = Lazily(volumes(33, 0)), Lazily(volumes(20, 1))
    linear_gram(x, y, block=20)
    assert max(x.most_alive, y.most_alive) <= 2
    # 53 volumes in blocks of 20: what follows a block passes by it; and one look at the first volume's shape
    assert len(x.reads) + len(y.reads) == 1 + 53 + 33 + 13
    assert set(x.reads) == set(range(33))
    assert set(y.reads) == set(range(20))


def test_memory_stays_within_block_and_chunk():
    """64 + 64 volumes of 1 MiB pass through a block of 32."""
    script = """
import resource, torch
from tumorgen.metrics.gram import linear_gram
class Lazy:
    def __len__(self): return 64
    def __getitem__(self, index): return torch.full((1, 64, 64, 64), index / 64)
linear_gram(Lazy(), Lazy(), block=1)
torch.ones(32, 2 ** 18) @ torch.ones(2 ** 18, 32)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
linear_gram(Lazy(), Lazy(), block=32)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(out.stdout) < 32 + CHUNK + 16


def test_squared_distances_survive_a_large_background():
    """Nearly equal volumes whose products are all about the number of voxels."""
    x = torch.full((2, 1, 64, 64, 64), -1.0)
    x[0, :, 10:20, 10:20, 10:20] = 0.3
    x[1, :, 10:20, 10:20, 10:20] = 0.31
    gram = linear_gram(list(x[:1]), list(x[1:]))
    found = float(gram.xx + gram.yy - 2 * gram.xy)
    assert found == pytest.approx(float((x[0] - x[1]).double().square().sum()), rel=0.02)


def test_parts_of_a_gram_are_grams_of_parts():
    x, y = volumes(9, 0), volumes(8, 1)
    gram = linear_gram(list(x), list(y))
    a, b = torch.tensor([0, 3, 4]), torch.tensor([7, 2])
    for part, whole in (
        (gram.select(a, b), linear_gram(list(x[a]), list(y[b]))),
        (gram.real_halves(a, b), linear_gram(list(y[a]), list(y[b]))),
    ):
        for found, expected in zip(part, whole, strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


def test_other_shapes_and_nothing_at_all_are_refused():
    with pytest.raises(ValueError, match=r"volume 2 has shape \(2, 5, 5, 5\)"):
        linear_gram(list(volumes(2, 0)), list(volumes(1, 0, side=5)))
    with pytest.raises(ValueError, match="no volumes"):
        linear_gram([], [])
