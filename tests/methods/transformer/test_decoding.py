import itertools
import math

import pytest
import torch
from torch import nn

from data_modules.errors import InputError
from tumorgen.methods.transformer.decoding import CachedAutoregressive, inverse_cdf, uniforms
from tumorgen.methods.transformer.network import TokenTransformer
from tumorgen.methods.transformer.parallel_decoding import ConfidenceOrder, HaltonOrder, ParallelDecoding, halton_order
from tumorgen.methods.transformer.vocabulary import Vocabulary

GRID = (4, 4, 4)
VOCABULARY = Vocabulary(num_codes=12, num_classes=2, unconditional=True)
SAMPLERS = {
    "cached": CachedAutoregressive(),
    "top-k, top-p": CachedAutoregressive(temperature=1.2, top_k=8, top_p=0.9),
    "confidence": ParallelDecoding(steps=6),
    "halton": ParallelDecoding(steps=6, order=HaltonOrder()),
    "guided": ParallelDecoding(steps=6, guidance_scale=1.5, temperature=0.9),
}


def network_for(sampler) -> TokenTransformer:
    """A network whose predictions depend strongly on class, positions and tokens."""
    torch.manual_seed(0)
    causal = isinstance(sampler, CachedAutoregressive)
    network = TokenTransformer(VOCABULARY.size, math.prod(GRID), layers=2, heads=4, width=32, causal=causal)
    for name, parameter in network.named_parameters():
        nn.init.normal_(parameter, mean=float("norm.weight" in name), std=0.4)
    return network.eval()


def sample(sampler, network=None, labels=(0, 1, 0, 1), seeds=(3, 4, 5, 6), vocabulary=VOCABULARY):
    network = network or network_for(sampler)
    return sampler.sample(network, vocabulary, torch.tensor(labels), list(seeds), GRID)


def record_calls(network, calls):
    """Notes every forward pass's input and output."""
    network.register_forward_hook(lambda module, args, output: calls.append((args[0].clone(), output)))
    return network


def forbid_codes(network):
    """Makes everything that is no code far more likely than any code."""
    with torch.no_grad():
        network.head.weight[VOCABULARY.num_codes :] = 0
        network.norm.bias[0] = 5
        network.head.weight[VOCABULARY.num_codes :, 0] = 100
    return network


@pytest.mark.parametrize("name", SAMPLERS)
def test_tokens_are_codes_even_where_others_are_likelier(name):
    sampler = SAMPLERS[name]
    network = forbid_codes(network_for(sampler))
    condition = VOCABULARY.condition(torch.tensor([0]))
    logits = network.token_logits(condition, torch.zeros(1, 64, dtype=torch.int64))
    assert (logits.argmax(-1) >= VOCABULARY.num_codes).all()
    tokens = sample(sampler, network)
    assert tokens.shape == (4, 64)
    assert tokens.dtype == torch.int64
    assert tokens.min() >= 0
    assert tokens.max() < VOCABULARY.num_codes


@pytest.mark.parametrize("name", SAMPLERS)
def test_same_seed_same_volume_whatever_is_beside_it(name):
    sampler = SAMPLERS[name]
    together = sample(sampler)
    assert torch.equal(together, sample(sampler))
    for index, (label, seed) in enumerate([(0, 3), (1, 4), (0, 5), (1, 6)]):
        assert torch.equal(together[index : index + 1], sample(sampler, labels=[label], seeds=[seed]))
    reordered = sample(sampler, labels=(1, 0, 1, 0, 1), seeds=(6, 5, 4, 3, 9))
    assert torch.equal(reordered[:4], together.flip(0))
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(reordered, 2))


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_global_random_state_is_neither_used_nor_moved(name):
    torch.manual_seed(0)
    network = network_for(SAMPLERS[name])
    before = torch.get_rng_state()
    first = sample(SAMPLERS[name], network)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(99)
    assert torch.equal(first, sample(SAMPLERS[name], network))


@pytest.mark.parametrize("name", SAMPLERS)
def test_label_changes_the_volume(name):
    assert not torch.equal(sample(SAMPLERS[name], labels=[0], seeds=[3]), sample(SAMPLERS[name], labels=[1], seeds=[3]))


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("autocast", [False, True])
def test_bfloat16(name, autocast):
    network = network_for(SAMPLERS[name])
    if not autocast:
        network = network.to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        tokens = sample(SAMPLERS[name], network)
        assert torch.equal(tokens, sample(SAMPLERS[name], network))
    assert tokens.max() < VOCABULARY.num_codes


@pytest.mark.parametrize("name", SAMPLERS)
def test_no_gradients_are_kept(name):
    assert not sample(SAMPLERS[name]).requires_grad
    assert torch.is_grad_enabled()


def test_cached_sampling_equals_the_uncached_loop():
    sampler = SAMPLERS["top-k, top-p"]
    network = network_for(sampler)
    labels = torch.tensor([0, 1])
    numbers = uniforms([torch.Generator().manual_seed(seed) for seed in (7, 8)], 64)
    sequence = VOCABULARY.condition(labels)
    with torch.no_grad():
        for position in range(64):
            probabilities = sampler.probabilities(network(sequence)[:, -1, : VOCABULARY.num_codes])
            sequence = torch.cat([sequence, inverse_cdf(probabilities, numbers[:, position])[:, None]], dim=1)
    assert torch.equal(sample(sampler, network, labels=[0, 1], seeds=[7, 8]), sequence[:, 1:])


def test_cached_sampling_feeds_every_position_once():
    calls = []
    sample(SAMPLERS["cached"], record_calls(network_for(SAMPLERS["cached"]), calls))
    assert [tuple(inputs.shape) for inputs, _ in calls] == [(4, 1)] * 64
    assert calls[0][0][:, 0].tolist() == [12 + 1 + label for label in (0, 1, 0, 1)]


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"), [(1, None, None), (0.7, 3, None), (1.5, None, 0.6), (1, 5, 0.7)]
)
def test_probabilities_against_brute_force(temperature, top_k, top_p):
    logits = torch.randn(20, 12, generator=torch.Generator().manual_seed(0)) * 2
    found = CachedAutoregressive(temperature, top_k, top_p).probabilities(logits)
    for row, probabilities in zip(logits.tolist(), found.tolist(), strict=True):
        weights = {code: math.exp(value / temperature) for code, value in enumerate(row)}
        kept = sorted(weights, key=weights.__getitem__, reverse=True)[: top_k or 12]
        total = sum(weights[code] for code in kept)
        if top_p is not None:
            sums = list(itertools.accumulate(weights[code] / total for code in kept))
            kept = kept[: 1 + next(index for index, value in enumerate(sums) if value >= top_p)]
        total = sum(weights[code] for code in kept)
        expected = [weights[code] / total if code in kept else 0.0 for code in range(12)]
        assert probabilities == pytest.approx(expected, abs=1e-12)


def test_top_k_1_is_the_most_likely_code():
    sampler = CachedAutoregressive(top_k=1)
    network = network_for(sampler)
    tokens = sample(sampler, network)
    logits = network.token_logits(VOCABULARY.condition(torch.tensor([0, 1, 0, 1])), tokens)
    assert torch.equal(tokens, logits[..., : VOCABULARY.num_codes].argmax(-1))


def test_inverse_cdf_draws_with_the_given_probabilities():
    probabilities = torch.tensor([0.0, 0.2, 0.0, 0.5, 0.3, 0.0], dtype=torch.float64)
    numbers = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    drawn = inverse_cdf(probabilities.expand(1000, -1), numbers)
    assert drawn.bincount(minlength=6).tolist() == [0, 200, 0, 500, 300, 0]
    ends = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    assert inverse_cdf(probabilities.expand(2, -1), ends).tolist() == [1, 4]


@pytest.mark.parametrize("name", ["confidence", "halton", "guided"])
@pytest.mark.parametrize("steps", [1, 6, 64, 100])
def test_committed_tokens_never_change_and_no_mask_is_left(name, steps):
    chosen = SAMPLERS[name]
    sampler = ParallelDecoding(steps, chosen.order, chosen.guidance_scale)
    calls = []
    tokens = sample(sampler, record_calls(network_for(sampler), calls))
    assert len(calls) == min(steps, len(sampler.open_after(64)))
    stages = [inputs[:4, 1:] for inputs, _ in calls] + [tokens]  # without the class, and without guidance's second half
    opened = [64]
    for before, after in itertools.pairwise(stages):
        committed = before != VOCABULARY.mask_token
        assert torch.equal(before[committed], after[committed])
        still_open = (after == VOCABULARY.mask_token).sum(1)
        assert (still_open == still_open[0]).all()
        opened.append(still_open[0].item())
    assert opened == [64, *sampler.open_after(64)]
    assert opened[-1] == 0


@pytest.mark.parametrize(("steps", "length"), [(12, 512), (1, 512), (8, 8), (600, 512), (3, 1)])
def test_cosine_schedule(steps, length):
    schedule = ParallelDecoding(steps).open_after(length)
    assert schedule[-1] == 0
    assert all(a > b for a, b in itertools.pairwise([length, *schedule]))
    assert len(schedule) == min(steps, length) or steps > length
    if steps == 12:
        assert schedule == [math.floor(512 * math.cos(math.pi / 2 * s / 12) + 1e-9) for s in range(1, 13)]


def test_guidance_moves_away_from_the_unconditional_prediction():
    network = network_for(SAMPLERS["guided"])
    labels = torch.tensor([0, 1])
    tokens = torch.full((2, 64), VOCABULARY.mask_token)
    of_class = network.token_logits(VOCABULARY.condition(labels), tokens)[..., :12]
    nothing = torch.full((2, 1), VOCABULARY.no_class_token)
    of_none = network.token_logits(nothing, tokens)[..., :12]
    guided = SAMPLERS["guided"]._logits(network, VOCABULARY, labels, tokens)
    torch.testing.assert_close(guided.float(), 2.5 * of_class - 1.5 * of_none, rtol=1e-4, atol=1e-4)
    assert not torch.equal(sample(ParallelDecoding(6)), sample(ParallelDecoding(6, guidance_scale=1.5)))


def test_confidence_order_without_noise_commits_the_surest():
    order = ConfidenceOrder(choice_temperature=0)
    confidences = torch.tensor([[0.1, 0.9, 0.5]], dtype=torch.float64)
    numbers = torch.tensor([[0.999, 0.0, 0.5]], dtype=torch.float64)
    assert order.priorities(confidences, numbers, 0.5, GRID).argsort(descending=True).tolist() == [[1, 2, 0]]
    noisy = ConfidenceOrder(4.5)
    assert noisy.priorities(confidences, numbers, 0.9, GRID).argsort(descending=True).tolist() == [[0, 2, 1]]
    assert torch.equal(noisy.priorities(confidences, numbers, 0.0, GRID), confidences.log())  # the noise has faded


@pytest.mark.parametrize("grid", [(8, 8, 8), (4, 4, 4), (2, 3, 5), (1, 1, 1), (5, 1, 7)])
def test_halton_order_is_a_permutation(grid):
    assert sorted(halton_order(grid)) == list(range(math.prod(grid)))


def test_halton_order_covers_evenly():
    order = torch.tensor(halton_order((8, 8, 8)))
    octant = (order // 256) * 4 + (order // 32 % 2) * 2 + order // 4 % 2
    for count in (32, 64, 128, 256):
        spread = octant[:count].bincount(minlength=8) / count * 8
        assert spread.min() >= 0.75, count
        assert spread.max() <= 1.25, count
        for axis in (order // 64, order // 8 % 8, order % 8):
            assert (axis[:count].bincount(minlength=8) - count / 8).abs().max() <= 3, count


def test_halton_order_starts_as_the_halton_sequence():
    # points 1, 2, 3 of bases 2, 3, 5: (1/2, 1/3, 1/5), (1/4, 2/3, 2/5), (3/4, 1/9, 3/5) on a grid of 4x9x5
    assert halton_order((4, 9, 5))[:3] == ((2 * 9 + 3) * 5 + 1, (1 * 9 + 6) * 5 + 2, (3 * 9 + 1) * 5 + 3)


def test_halton_order_is_followed():
    calls = []
    sampler = ParallelDecoding(8, HaltonOrder())
    sample(sampler, record_calls(network_for(sampler), calls))
    committed = (calls[4][0][0, 1:] != VOCABULARY.mask_token).nonzero()[:, 0].tolist()
    assert set(committed) == set(halton_order(GRID)[: len(committed)])
    assert 0 < len(committed) < 64


@pytest.mark.parametrize("name", ["cached", "confidence"])
def test_wrong_form_of_network_is_refused_with_the_sampler_that_fits(name):
    other = {"cached": "confidence", "confidence": "cached"}[name]
    fits = type(SAMPLERS[other]).__name__
    with pytest.raises(InputError, match=f"use tumorgen.methods.transformer.*{fits}"):
        sample(SAMPLERS[name], network_for(SAMPLERS[other]))


def test_guidance_without_class_dropout_is_refused():
    with pytest.raises(InputError, match="class dropout"):
        sample(SAMPLERS["guided"], vocabulary=Vocabulary(12, 2))


def test_requests_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="2 labels and 3 seeds"):
        sample(SAMPLERS["cached"], labels=[0, 1], seeds=[1, 2, 3])
    with pytest.raises(InputError, match="Class 2"):
        sample(SAMPLERS["cached"], labels=[2], seeds=[1])
    network = network_for(SAMPLERS["cached"])
    with pytest.raises(InputError, match="does not hold 64"):
        SAMPLERS["cached"].sample(network, VOCABULARY, torch.tensor([0]), [1], (8, 8, 8))


@pytest.mark.parametrize(
    ("sampler", "arguments"),
    [
        (CachedAutoregressive, {"temperature": 0}),
        (CachedAutoregressive, {"top_k": 0}),
        (CachedAutoregressive, {"top_p": 1.5}),
        (ParallelDecoding, {"steps": 0}),
        (ParallelDecoding, {"temperature": -1}),
        (ParallelDecoding, {"guidance_scale": -1}),
        (ConfidenceOrder, {"choice_temperature": -1}),
    ],
)
def test_impossible_options_are_refused(sampler, arguments):
    with pytest.raises(InputError, match=next(iter(arguments))):
        sampler(**arguments)
