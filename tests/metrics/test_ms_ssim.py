"""MS-SSIM against SciPy and MONAI, its scales, and the diversity of sets of volumes."""

import weakref

import numpy as np
import pytest
import scipy_ms_ssim
import torch
from monai.metrics import MultiScaleSSIMMetric
from monai.metrics.regression import compute_ssim_and_cs
from scipy import ndimage
from toy import blob

from tumorgen.metrics.ms_ssim import (
    WEIGHTS,
    Diversity,
    definition,
    diversity,
    draw_pairs,
    ms_ssim,
    ms_ssim_fidelity,
    ms_ssim_paper,
    scales_for,
)
from tumorgen.metrics.ssim import Recipe, reflecting_matrix

SIZES = (6, 15, 16, 21, 22, 32, 43, 44, 64, 87, 88, 128, 175, 176)


def clouds(size, seed, count=1):
    """Smooth noise without any background, in [-1, 1]."""
    rng = np.random.default_rng(seed)
    raw = ndimage.gaussian_filter(rng.normal(size=(count, 1, size, size, size)), (0, 0, 1, 1, 1))
    return torch.from_numpy(np.clip(2 * raw / raw.std() / 3, -1, 1)).float()


def blobs(size, *seeds):
    return torch.stack([blob(seed % 2, size, seed) for seed in seeds])


def noisy(x, sd=0.2):
    return (x + sd * torch.randn(x.shape, generator=torch.Generator().manual_seed(9))).clamp(-1, 1)


# ---------------------------------------------------------------------- the form of published tables


def pairs_of(size):
    """Volumes that fill the grid, tumours on black, a tumour at the border, and a noisy copy."""
    x, tumours, cut = clouds(size, 0), blobs(size, 0, 1), blobs(size, 2, 4).roll((size // 2, size // 3), (2, 4))
    yield x, noisy(x, 0.5)
    yield tumours[:1], tumours[1:]
    yield cut[:1], cut[1:]
    yield tumours[:1], noisy(tumours[:1])


@pytest.mark.parametrize("size", [32, 48])
def test_paper_equals_scipy(size):
    for x, y in pairs_of(size):
        expected = scipy_ms_ssim.ms_ssim_paper(x[0, 0].numpy(), y[0, 0].numpy())
        assert 0.1 < expected < 0.999
        assert float(ms_ssim_paper(x, y)) == pytest.approx(expected, abs=1e-5)
        assert float(ms_ssim_paper(y, x)) == pytest.approx(expected, abs=1e-5)


def test_paper_of_odd_and_unequal_sides():
    x = clouds(48, 3)[..., :33, :47, :]
    expected = scipy_ms_ssim.ms_ssim_paper(x[0, 0].numpy(), noisy(x)[0, 0].numpy())
    assert float(ms_ssim_paper(x, noisy(x))) == pytest.approx(expected, abs=1e-5)


def test_paper_counts_the_last_term_four_times_and_proper_ms_ssim_once():
    x, y = blobs(32, 0, 1).split(1)
    once = Recipe(taps=13, sigma=1.5, weights=WEIGHTS, data_range=1.0, whole_windows=False)
    last = scipy_ms_ssim.halved
    a, b = (last(last(last(last(v[0, 0].numpy().astype(np.float64))))) for v in (x, y))
    ssim = scipy_ms_ssim.ssim_and_contrast(a, b)[0]
    ratio = float(ms_ssim_paper(x, y)) / float(ms_ssim(x, y, once))
    assert ratio == pytest.approx(ssim ** (3 * WEIGHTS[-1]), rel=1e-5)
    assert ratio < 0.999


def test_paper_is_not_defined_where_a_mean_contrast_is_negative():
    x = clouds(32, 0)
    found = ms_ssim_paper(torch.cat([x, x]), torch.cat([-x, x]))
    assert found.isnan().tolist() == [True, False]
    assert float(ms_ssim(x, -x)) == 0, "the standard form counts it as 0"
    seen = diversity(torch.cat([x, -x, noisy(x)]), form="paper")
    assert seen.nan == 2
    assert seen.pairs == 3
    assert seen.mean == pytest.approx(float(ms_ssim_paper(x, noisy(x))))


def test_paper_wants_sixteen_voxels():
    assert float(ms_ssim_paper(blobs(16, 0), blobs(16, 0))) == 1
    with pytest.raises(ValueError, match="at least 16 voxels"):
        ms_ssim_paper(blobs(15, 0), blobs(15, 0))


@pytest.mark.parametrize("n", [1, 2, 5, 6, 13, 40])
def test_the_filter_reflects_as_scipy_does_again_and_again(n):
    line = np.random.default_rng(n).normal(size=n)
    expected = ndimage.gaussian_filter1d(line, 1.5, mode="reflect", truncate=4)
    np.testing.assert_allclose(reflecting_matrix(n, 13, 1.5).double().numpy() @ line, expected, atol=1e-6)


# ---------------------------------------------------------------------- the standard form


@pytest.fixture
def _monai_in_double(monkeypatch):
    """MONAI takes differences of squares in float32, on a background of -1: that costs it the fourth digit."""

    def double(data, output_type, dtype):
        return (data.double(),)

    monkeypatch.setattr("monai.metrics.regression.convert_data_type", double)


@pytest.mark.usefixtures("_monai_in_double")
@pytest.mark.parametrize("size", [16, 24, 44])
def test_standard_equals_monai_at_equal_settings(size):
    recipe = scales_for(size)
    reference = MultiScaleSSIMMetric(
        3, data_range=2.0, kernel_size=recipe.taps, kernel_sigma=recipe.sigma, weights=recipe.weights
    )
    for x, y in list(pairs_of(size))[: 1 if size == 44 else None]:  # its convolutions take seconds in double
        expected = float(reference(y, x))
        assert 0 <= expected < 0.9999
        assert float(ms_ssim(x, y)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.usefixtures("_monai_in_double")
def test_several_channels_equal_monai():
    x = torch.cat([clouds(24, 0), blobs(24, 1)], dim=1)
    reference = MultiScaleSSIMMetric(3, data_range=2.0, weights=scales_for(24).weights)
    assert float(ms_ssim(x, noisy(x))) == pytest.approx(float(reference(noisy(x), x)), abs=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_every_scale_holds_a_whole_window(size):
    recipe = scales_for(size)
    scales = len(recipe.weights)
    assert 2 <= scales <= 5
    assert recipe.taps % 2
    assert recipe.taps >= 3
    assert size // 2 ** (scales - 1) >= recipe.taps
    assert recipe.taps == 11 or size < 22
    assert scales == 5 or size // 2**scales < 11, "one more scale would not fit"
    assert sum(recipe.weights) == pytest.approx(1)
    assert recipe.sigma / recipe.taps == pytest.approx(1.5 / 11)


def test_scales_by_size():
    assert {size: len(scales_for(size).weights) for size in (22, 43, 44, 64, 87, 88, 128, 175, 176)} == {
        22: 2, 43: 2, 44: 3, 64: 3, 87: 3, 88: 4, 128: 4, 175: 4, 176: 5,
    }  # fmt: skip
    assert scales_for(16).taps == 7
    with pytest.raises(ValueError, match="at least 6 voxels"):
        scales_for(5)


@pytest.mark.parametrize("form", [ms_ssim, ms_ssim_paper])
def test_order_of_volumes(form):
    x = blobs(32, 0)
    values = [float(form(x, y)) for y in (x, noisy(x, 0.05), noisy(x, 0.5), blobs(32, 1))]
    assert values[0] == 1
    assert values == sorted(values, reverse=True)
    assert float(form(torch.full_like(x, -1), torch.full_like(x, -1))) == 1
    assert np.isnan(float(form(x, x.clone().index_fill_(2, torch.tensor([5]), torch.nan))))


@pytest.mark.parametrize("form", [ms_ssim, ms_ssim_paper])
def test_autocast_matmul_precision_and_inference_mode_change_nothing(form):
    x, y = blobs(32, 0, 1).split(1)
    expected = form(x, y)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
            assert torch.equal(form(x, y), expected)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


# ---------------------------------------------------------------------- volumes and their reconstructions


def test_fidelity_of_whole_volumes_is_the_standard_form():
    x = torch.cat([blobs(32, 0, 1), clouds(32, 2)])
    whole, _ = ms_ssim_fidelity(x, noisy(x), x > -0.9)
    torch.testing.assert_close(whole, ms_ssim(x, noisy(x)), atol=1e-6, rtol=0)


def test_fidelity_inside_the_tumour_is_the_mean_over_the_mask():
    """MONAI's maps, of volumes that carry their reflected border with them."""
    x, y = blobs(32, 0), noisy(blobs(32, 0), 0.4)
    mask = (x > -0.9).float()
    recipe, a, b, expected = scales_for(32), x, y, 1.0
    for scale, weight in enumerate(recipe.weights):
        wide = [torch.from_numpy(np.pad(v[0, 0].numpy(), 5, mode="symmetric"))[None, None] for v in (a, b)]
        ssim, contrast = compute_ssim_and_cs(wide[0], wide[1], 3, [11] * 3, [1.5] * 3, data_range=2.0)
        values = ssim if scale == len(recipe.weights) - 1 else contrast
        expected *= float((values * mask).sum() / mask.sum()) ** weight
        a, b, mask = (torch.nn.functional.avg_pool3d(v, 2) for v in (a, b, mask))
    _, inside = ms_ssim_fidelity(x, y, x > -0.9)
    assert float(inside) == pytest.approx(expected, abs=2e-5)


def test_fidelity_inside_the_tumour_does_not_see_what_is_far_outside():
    x = blobs(48, 0)
    spoiled, hurt = x.clone(), x.clone()
    spoiled[..., :5, :5, :5] = 1
    hurt[..., 22:26, 22:26, 22:26] = 1
    mask = x > -0.9
    assert float(ms_ssim_fidelity(x, spoiled, mask)[1]) > 0.999
    assert float(ms_ssim_fidelity(x, hurt, mask)[1]) < float(ms_ssim_fidelity(x, hurt, mask)[0]) < 0.999
    whole, inside = ms_ssim_fidelity(x, hurt, torch.zeros_like(mask))
    assert whole.isfinite()
    assert inside.isnan()


# ---------------------------------------------------------------------- diversity


@pytest.mark.parametrize(("volumes", "pairs"), [(2, 1), (5, 10), (5, 1000), (40, 100), (250, 1000)])
def test_pairs_are_distinct_and_seeded(volumes, pairs):
    found = draw_pairs(volumes, pairs, seed=3)
    assert len(found) == min(pairs, volumes * (volumes - 1) // 2)
    assert (found[:, 0] < found[:, 1]).all()
    assert found.min() >= 0
    assert found.max() < volumes
    assert len(np.unique(found, axis=0)) == len(found)
    assert (found == draw_pairs(volumes, pairs, seed=3)).all()
    assert len(found) < 100 or (found != draw_pairs(volumes, pairs, seed=4)).any()


def test_every_pair_is_as_likely():
    counts = np.zeros((6, 6))
    for seed in range(3000):
        i, j = draw_pairs(6, 3, seed).T
        counts[i, j] += 1
    drawn = counts[np.triu_indices(6, 1)]
    assert counts.sum() == drawn.sum() == 9000
    assert abs(drawn - 600).max() < 5 * (600 * 0.8) ** 0.5


def test_diversity_is_the_mean_of_its_pairs():
    volumes = blobs(16, 0, 2, 4, 6)
    found = diversity(volumes)
    expected = [float(ms_ssim(volumes[i][None], volumes[j][None])) for i in range(4) for j in range(i + 1, 4)]
    assert found.values.tolist() == expected
    assert found.mean == pytest.approx(np.mean(expected))
    assert found.sd == pytest.approx(np.std(expected, ddof=1))
    assert found.pairs == 6
    assert found.nan == 0
    copies = diversity(blobs(16, 0, 0, 0))
    assert copies.mean == 1
    assert found.mean < 0.9


def test_one_volume_is_no_set():
    with pytest.raises(ValueError, match="at least two volumes"):
        diversity(blobs(16, 0))


class Lazy:
    """Volumes made on demand; counts how many are alive."""

    def __init__(self, count):
        self.count, self.alive, self.most = count, weakref.WeakSet(), 0

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        volume = blob(0, 16, index)
        self.alive.add(volume)
        self.most = max(self.most, len(self.alive))
        return volume


def test_two_volumes_are_held_at_a_time():
    volumes = Lazy(30)
    assert diversity(volumes, pairs=60).pairs == 60
    assert volumes.most <= 3


def simulated(rng, volumes, pairs):
    """Similarities of pairs that share volumes: 0.8 + what is typical of either volume + noise of the pair."""
    indices = draw_pairs(volumes, pairs, int(rng.integers(1 << 30)))
    own, noise = rng.normal(0, 0.03, volumes), rng.normal(0, 0.01, len(indices))
    return Diversity(0.8 + own[indices].sum(1) + noise, indices, volumes)


@pytest.mark.parametrize(("volumes", "pairs"), [(30, 1000), (60, 100)])
def test_the_interval_is_that_of_volumes_not_of_pairs(volumes, pairs):
    rng, covered, naively = np.random.default_rng(0), 0, 0
    for _ in range(200):
        found = simulated(rng, volumes, pairs)
        interval = found.interval(resamples=200)
        covered += interval.low < 0.8 < interval.high
        naively += abs(found.mean - 0.8) < 1.96 * found.sd / found.pairs**0.5
    assert 0.88 <= covered / 200 <= 1
    assert naively < covered - 10, "pairs taken as independent"
    assert "volumes" in interval.method
    assert interval.level == 0.95


def test_the_interval_of_one_pair_or_of_none():
    one = Diversity(np.array([0.7]), np.array([[0, 1]]), 2).interval(resamples=50)
    assert (one.low, one.high) == pytest.approx((0.7, 0.7))
    none = Diversity(np.array([np.nan]), np.array([[0, 1]]), 2)
    assert np.isnan([none.mean, none.sd, none.interval().low]).all()


def test_definitions_say_what_differs():
    standard, paper = definition("standard", 128), definition("paper", 128)
    assert (standard["scales"], standard["data_range"], standard["size"]) == (4, 2.0, 128)
    assert "11 taps" in standard["window"]
    assert (paper["scales"], paper["data_range"]) == (5, 1.0)
    assert "13 taps" in paper["window"]
    assert "four times" in paper["recipe"]
    assert standard["better"] == "real"
