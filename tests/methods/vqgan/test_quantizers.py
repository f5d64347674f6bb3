"""The quantisers: contract, moving averages by hand, dead codes, precision, ranks."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from data_modules.errors import InputError
from tumorgen.methods.vqgan.quantizers.cosine_ema import CosineEMAQuantizer
from tumorgen.methods.vqgan.quantizers.fsq import FSQQuantizer

RANK_SCRIPT = Path(__file__).with_name("codebook_rank.py")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def cosine(num_codes=12, code_dim=6, **options):
    return CosineEMAQuantizer(num_codes, code_dim, **options)


def fsq():
    return FSQQuantizer((4, 3), 6)


def with_codes(codes, **options):
    """A quantiser in training mode whose codes are given."""
    quantizer = cosine(len(codes), len(codes[0]), **options)
    quantizer.codebook.copy_(torch.tensor(codes))
    quantizer.initialised.fill_(True)
    return quantizer


def as_latent(rows):
    """Rows (n, width) as one volume of n tokens in a line."""
    return torch.as_tensor(rows, dtype=torch.float32).T[None, :, None, None]


both = pytest.mark.parametrize("build", [cosine, fsq])


@both
@pytest.mark.parametrize("grid", [(4, 4, 4), (2, 3, 5)])
def test_shapes_types_and_exact_decoding(build, grid):
    quantizer = build()
    for training in (True, False):
        quantizer.train(training)
        latent, codes, commitment = quantizer(torch.randn(2, 6, *grid))
        assert latent.shape == (2, 6, *grid)
        assert codes.shape == (2, *grid)
        assert codes.dtype == torch.int64
        assert commitment.shape == ()
        assert int(codes.min()) >= 0
        assert int(codes.max()) < quantizer.num_codes
    # in training mode the codes have moved since
    assert torch.equal(quantizer.decode(codes), latent)


@both
def test_float32_under_autocast(build):
    quantizer = build().eval()
    z = torch.randn(2, 6, 4, 4, 4)
    plain = quantizer(z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for result, expected in zip(quantizer(z), plain, strict=True):
            assert torch.equal(result, expected)
        assert torch.equal(quantizer.decode(plain.codes), plain.latent)
        assert quantizer(z.bfloat16()).latent.dtype == torch.float32


@both
def test_no_buffer_moves_in_evaluation(build):
    quantizer = build().eval()
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    for _ in range(3):
        quantizer(torch.randn(2, 6, 4, 4, 4))
    for name, value in quantizer.state_dict().items():
        assert torch.equal(value, before[name]), name


@both
def test_errors_name_what_does_not_fit(build):
    quantizer = build()
    with pytest.raises(InputError, match="width 6 and got 5"):
        quantizer(torch.randn(1, 5, 2, 2, 2))
    with pytest.raises(InputError, match="from 0 to 12; the quantiser has 12"):
        quantizer.decode(torch.tensor([0, 12]).view(1, 1, 1, 2))
    with pytest.raises(InputError, match="from -1 to 0"):
        quantizer.decode(torch.tensor([0, -1]).view(1, 1, 1, 2))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CosineEMAQuantizer(1, 8), "num_codes 1"),
        (lambda: CosineEMAQuantizer(8, 0), "code_dim 0"),
        (lambda: CosineEMAQuantizer(decay=1.5), "decay"),
        (lambda: CosineEMAQuantizer(revive_after=0), "revive_after"),
        (lambda: FSQQuantizer(()), "levels"),
        (lambda: FSQQuantizer((8, 1)), "levels"),
    ],
)
def test_impossible_arguments(build, message):
    with pytest.raises(InputError, match=message):
        build()


# ---------------------------------------------------------------- cosine EMA


def test_values_are_the_nearest_codes_of_the_normalised_features():
    quantizer = cosine(beta=0.5).eval()
    z = 3 * torch.randn(2, 6, 2, 3, 4)
    latent, codes, commitment = quantizer(z)
    direction = F.normalize(z, dim=1)
    squared = []
    for b, d, h, w in np.ndindex(2, 2, 3, 4):
        distances = ((quantizer.codebook - direction[b, :, d, h, w]) ** 2).sum(1)
        assert int(codes[b, d, h, w]) == int(distances.argmin())
        assert torch.equal(latent[b, :, d, h, w], quantizer.codebook[codes[b, d, h, w]])
        squared.append(float(distances.min()))
    assert float(commitment) == pytest.approx(0.5 * np.mean(squared) / 6, rel=1e-5)


def test_gradients_pass_straight_through_the_normalised_feature():
    quantizer = cosine().eval()
    z = torch.randn(1, 6, 2, 2, 2, requires_grad=True)
    upstream = torch.randn(1, 6, 2, 2, 2)
    latent, codes, commitment = quantizer(z)
    direction = F.normalize(z, dim=1)
    (through,) = torch.autograd.grad((latent * upstream).sum(), z, retain_graph=True)
    (expected,) = torch.autograd.grad((direction * upstream).sum(), z, retain_graph=True)
    torch.testing.assert_close(through, expected)
    (pull,) = torch.autograd.grad(commitment, z)
    target = quantizer.decode(codes)
    (expected,) = torch.autograd.grad((target - F.normalize(z, dim=1)).square().mean(), z)
    torch.testing.assert_close(pull, expected)


def test_moving_average_by_hand():
    quantizer = with_codes([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    # lengths must not matter: [2, 2] and [3, 0] hit code 0, [0, 5] code 1, nothing code 2
    latent, codes, _ = quantizer(as_latent([[2.0, 1.99], [3.0, 0.0], [0.0, 5.0]]))
    assert codes.flatten().tolist() == [0, 0, 1]
    # what the decoder sees is the code before it moved
    assert latent[0, :, 0, 0, 0].tolist() == [1, 0]
    mean = np.array([1.0, 0.0]) + np.array([2.0, 1.99]) / np.hypot(2.0, 1.99)
    moved = 0.99 * np.array([1.0, 0.0]) + 0.01 * mean / np.linalg.norm(mean)
    expected = [moved / np.linalg.norm(moved), [0.0, 1.0], [-1.0, 0.0]]
    np.testing.assert_allclose(quantizer.codebook.numpy(), expected, atol=1e-6)
    assert quantizer.idle_steps.tolist() == [0, 0, 1]


def test_moving_average_does_not_depend_on_the_number_of_hits():
    once, often = (with_codes([[1.0, 0.0], [0.0, 1.0]]) for _ in range(2))
    once(as_latent([[2.0, 1.0]]))
    often(as_latent([[2.0, 1.0]] * 9))
    torch.testing.assert_close(once.codebook, often.codebook)


def test_first_training_batch_initialises_and_a_resumed_run_does_not():
    quantizer = cosine(revive_after=None, decay=1.0)
    assert not quantizer.initialised
    z = torch.randn(3, 6, 4, 4, 4)
    start = quantizer.codebook.clone()
    errors = float(quantizer.eval()(z).commitment), float(quantizer.train()(z).commitment)
    assert quantizer.initialised
    assert errors[1] < 0.7 * errors[0]
    assert not torch.allclose(quantizer.codebook, start)
    resumed = cosine(revive_after=None, decay=1.0)
    resumed.load_state_dict(quantizer.state_dict())
    resumed(torch.randn(3, 6, 4, 4, 4))
    torch.testing.assert_close(resumed.codebook, quantizer.codebook)


def test_fewer_features_than_codes():
    quantizer = cosine(num_codes=64)
    assert float(quantizer(torch.randn(1, 6, 2, 2, 2)).commitment) < 1e-3
    torch.testing.assert_close(quantizer.codebook.norm(dim=1), torch.ones(64))


def test_dead_codes_restart_at_features_that_are_described_badly():
    quantizer = with_codes([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], revive_after=3)
    odd = [0.8, -0.6, 0.0]
    z = as_latent([[1.0, 0.0, 0.0]] * 40 + [[0.0, 2.0, 0.0], odd])
    for _ in range(2):
        quantizer(z)
    assert quantizer.idle_steps.tolist() == [0, 0, 2]
    assert quantizer.codebook[2].tolist() == [0, 0, 1]
    quantizer(z)
    torch.testing.assert_close(quantizer.codebook[2], torch.tensor(odd))
    assert quantizer.idle_steps.tolist() == [0, 0, 0]
    assert quantizer(z).codes.flatten().tolist() == [0] * 40 + [1, 2]


def test_dead_codes_stay_dead_in_the_published_variant():
    quantizer = with_codes([[1.0, 0.0], [0.0, 1.0]], revive_after=None)
    for _ in range(200):
        quantizer(as_latent([[1.0, 0.1]]))
    assert quantizer.codebook[1].tolist() == [0, 1]


def test_every_code_comes_alive_on_features_that_need_them():
    quantizer = cosine(num_codes=32, revive_after=5)
    directions = F.normalize(torch.randn(32, 6), dim=1)
    codes = None
    for _ in range(60):
        codes = quantizer(as_latent(directions.repeat(8, 1) + 0.02 * torch.randn(256, 6))).codes
    assert len(codes.unique()) > 0.8 * 32


def test_one_batch_with_overflow_does_not_spoil_the_codebook():
    quantizer = with_codes([[1.0, 0.0], [0.0, 1.0]], revive_after=1)
    for _ in range(3):
        quantizer(as_latent([[float("nan"), 1.0], [float("inf"), 1.0], [1.0, 0.2]]))
    assert bool(quantizer.codebook.isfinite().all())


def test_published_embedding_loads_as_the_codebook():
    quantizer = CosineEMAQuantizer()
    embedding = F.normalize(torch.randn(512, 128), dim=1)
    state = quantizer.state_dict() | {"codebook": embedding, "initialised": torch.tensor(True)}
    quantizer.load_state_dict(state)
    assert torch.equal(quantizer.decode(torch.full((1, 1, 1, 1), 7)).flatten(), embedding[7])


@pytest.mark.ci
def test_two_ranks_hold_one_codebook(tmp_path):
    ranks = [
        subprocess.Popen([sys.executable, str(RANK_SCRIPT), str(rank), str(tmp_path)], stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    for process in ranks:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error.decode()
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2))
    for name in ("initial", "after_one", "codebook", "idle_steps"):
        assert torch.equal(first[name], second[name]), name
    # one process that sees both ranks' features moves its codes the same way
    alone = cosine(8, 4, revive_after=None)
    alone.codebook.copy_(first["initial"])
    alone.initialised.fill_(True)
    alone(as_latent(torch.cat((first["features"], second["features"]))))
    torch.testing.assert_close(alone.codebook, first["after_one"])
    # the initialisation saw both ranks: their features lie in opposite corners
    for features in (first["features"], second["features"]):
        assert float((F.normalize(features, dim=1) @ first["initial"].T).max(1).values.mean()) > 0.9
    assert int(first["revived"]) > 0
