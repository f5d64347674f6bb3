"""What the form `paper` of MS-SSIM gains over SciPy at 128^3, at equal values; `make bench`."""

import time

import numpy as np
import pytest
import scipy_ms_ssim
import torch
from scipy import ndimage
from toy import blob

from tumorgen.metrics.ms_ssim import ms_ssim_paper

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

SIZE, AT_LEAST = 128, 4.0


def full():
    """Smooth noise in every voxel: nothing can be left out."""
    raw = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(2, SIZE, SIZE, SIZE)), (0, 2, 2, 2))
    raw[1] += raw[0]  # else they are negatively correlated by chance at some scale
    return torch.from_numpy(np.clip(raw / raw.std() / 3, -1, 1)).float()


def tumours():
    """Two bodies on black; real ones fill less."""
    return torch.stack([blob(0, SIZE, 0)[0], blob(1, SIZE, 1)[0]])


def fastest(functions, rounds):
    """Return the least processor time of each on one thread; in turns, so that other work on the machine hits all."""
    times = [[] for _ in functions]
    for _ in range(rounds):
        for kept, function in zip(times, functions, strict=True):
            begin = time.process_time()
            function()
            kept.append(time.process_time() - begin)
    return [min(kept) for kept in times]


@pytest.fixture(autouse=True)
def _one_thread():
    """SciPy's filters have no more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("volumes", [full, tumours])
def test_paper_is_faster_than_scipy(volumes):
    x, y = volumes()
    expected = scipy_ms_ssim.ms_ssim_paper(x.numpy(), y.numpy())
    found = ms_ssim_paper(x[None, None], y[None, None])
    assert 0.1 < expected < 0.99
    assert float(found) == pytest.approx(expected, abs=1e-5)
    plain, fast = fastest(
        [
            lambda: scipy_ms_ssim.ms_ssim_paper(x.numpy(), y.numpy()),
            lambda: ms_ssim_paper(x[None, None], y[None, None]),
        ],
        rounds=10,
    )
    title = f"MS-SSIM `paper`, one pair of {SIZE}^3, {volumes.__name__}"
    print(f"\n{title:<60} SciPy {plain:6.3f} s  tumorgen {fast:6.3f} s  ratio {plain / fast:5.1f}", end="")
    assert plain / fast >= AT_LEAST
