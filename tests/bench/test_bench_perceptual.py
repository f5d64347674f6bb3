"""What the MRI perceptual term costs, and what its stem gains over the plain strided convolution (`make bench`)."""

import time

import pytest
import torch
import torch.nn.functional as F

from tumorgen.methods.vqgan.perceptual import MRIPerceptual
from tumorgen.nn.mri_features import MRIFeatures, StemConvolution
from tumorgen.pretrained.weights import MRI_FEATURES, write_weights

pytestmark = pytest.mark.bench
SIZES = [(16, 32), (1, 128)]


def seconds(function, x, repeats=3):
    """Fastest forward and backward pass of a few, after a warm-up."""
    times = []
    for _ in range(repeats + 1):
        leaf = x.detach().requires_grad_()
        begin = time.perf_counter()
        torch.autograd.grad(function(leaf).sum(), leaf)
        times.append(time.perf_counter() - begin)
    return min(times[1:])


@pytest.mark.parametrize(("batch", "side"), SIZES)
def test_the_stem_as_cells_beats_the_strided_convolution(batch, side):
    stem = StemConvolution(16).requires_grad_(False)
    x = torch.randn(batch, 1, side, side, side)
    plain = seconds(lambda y: F.conv3d(y, stem.weight, stride=2, padding=3), x)
    fast = seconds(stem, x)
    print(f"\nstem {batch}x{side}^3: plain {plain:.3f} s, cells {fast:.3f} s, ratio {plain / fast:.2f}")
    assert plain / fast > 1.3


@pytest.mark.parametrize(("batch", "side"), SIZES)
def test_cost_of_the_term(batch, side, tmp_path, monkeypatch):
    monkeypatch.setenv("TUMORGEN_CACHE", str(tmp_path))
    write_weights(MRI_FEATURES, MRIFeatures().state_dict(), {})
    term = MRIPerceptual()
    term.load()
    x = torch.randn(batch, 1, side, side, side)
    cost = seconds(lambda y: term(x, y), x + 0.1)
    print(f"\nMRI perceptual term {batch}x{side}^3, forward and backward: {cost:.3f} s")
    assert cost < 20
