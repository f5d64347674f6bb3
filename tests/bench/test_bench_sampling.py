"""Sampling 512 tokens with the published network: cached against uncached, and in parallel. About five minutes.

The uncached loop is timed at five prefix lengths and integrated; everything else is timed in full.
"""

import time

import pytest
import torch

from tumorgen.methods.transformer.decoding import CachedAutoregressive
from tumorgen.methods.transformer.network import TokenTransformer
from tumorgen.methods.transformer.parallel_decoding import ParallelDecoding
from tumorgen.methods.transformer.vocabulary import Vocabulary

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]

GRID, LENGTH = (8, 8, 8), 512
VOCABULARY = Vocabulary(num_codes=512, num_classes=2)
PREFIXES = (1, 128, 256, 384, 512)
WANTED = {1: 10, 4: 25}


def published_network(causal):
    return TokenTransformer(VOCABULARY.size, LENGTH, causal=causal).eval()


def seconds_to_sample(sampler, network, batch):
    labels = torch.arange(batch) % 2
    start = time.perf_counter()
    tokens = sampler.sample(network, VOCABULARY, labels, list(range(batch)), GRID)
    elapsed = time.perf_counter() - start
    assert tokens.shape == (batch, LENGTH)
    return elapsed


@torch.no_grad()
def seconds_uncached(network, batch):
    """Time of 512 passes over prefixes of 1..512 tokens, by the trapezoidal rule."""
    timed = []
    for prefix in PREFIXES:
        inputs = torch.zeros(batch, prefix, dtype=torch.int64)
        network(inputs[:, :1])  # wakes the threads
        start = time.perf_counter()
        network(inputs)
        timed.append(time.perf_counter() - start)
    return torch.trapezoid(torch.tensor(timed), torch.tensor(PREFIXES, dtype=torch.float32)).item() + timed[0]


def report(capsys, line):
    with capsys.disabled():
        print(f"\n{line}", end="", flush=True)


@pytest.fixture(scope="module")
def causal_network():
    torch.manual_seed(0)
    return published_network(causal=True)


@pytest.mark.parametrize("batch", WANTED)
def test_cached_sampling_is_faster_than_uncached(causal_network, batch, capsys):
    # uncached before and after, so that other work on the machine hits both
    before = seconds_uncached(causal_network, batch)
    cached = seconds_to_sample(CachedAutoregressive(), causal_network, batch)
    uncached = (before + seconds_uncached(causal_network, batch)) / 2
    report(
        capsys,
        f"batch {batch}: uncached {uncached / batch:7.1f} s, cached {cached / batch:6.1f} s per volume: "
        f"{uncached / cached:.1f} times faster (wanted: {WANTED[batch]})",
    )
    assert uncached / cached >= WANTED[batch]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cached_logits_equal_uncached_ones_at_full_size(causal_network, dtype, capsys):
    network = causal_network.to(dtype)
    inputs = torch.randint(VOCABULARY.size, (1, LENGTH), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(inputs)
        cache = network.new_cache(1)
        parts = [448, *[1] * (LENGTH - 448)]  # the last 64 tokens one by one
        found = torch.cat([network(part, cache) for part in inputs.split(parts, dim=1)], dim=1)
    causal_network.to(torch.float32)
    difference = (found - expected).abs().max().item()
    report(capsys, f"cached and uncached logits differ by at most {difference:.1e} ({dtype})")
    assert difference < (1e-5 if dtype == torch.float32 else 0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_parallel_decoding(dtype, capsys):
    torch.manual_seed(0)
    network = published_network(causal=False).to(dtype)
    elapsed = seconds_to_sample(ParallelDecoding(steps=12), network, batch=1)
    report(capsys, f"parallel decoding, 12 steps, batch 1, {dtype}: {elapsed:.1f} s per volume")


def test_cached_sampling_in_bfloat16(capsys):
    torch.manual_seed(0)
    network = published_network(causal=True).to(torch.bfloat16)
    elapsed = seconds_to_sample(CachedAutoregressive(), network, batch=1)
    report(capsys, f"cached, batch 1, bfloat16 weights: {elapsed:.1f} s per volume")
