"""Reconstruction figures against NumPy, MONAI and figures worked out by hand."""

import numpy as np
import pytest
import torch
from monai.metrics import DiceMetric, PSNRMetric
from toy import blob

from tumorgen.metrics.ms_ssim import ms_ssim_fidelity
from tumorgen.metrics.reconstruction import (
    ReconstructionMetrics,
    mean_absolute_error,
    psnr,
    relative_volume,
    shape_dice,
    tumour_mask,
)


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(4, 1, 6, 7, 8, generator=generator) * 2 - 1
    x[torch.rand(x.shape, generator=generator) < 0.7] = -1
    return x, (x + 0.3 * torch.randn(x.shape, generator=generator)).clamp(-1, 1)


def test_equals_monai_on_the_whole_volume(pair):
    x, x_hat = pair
    expected = PSNRMetric(max_val=2.0)(x_hat, x).flatten()
    torch.testing.assert_close(psnr(x, x_hat), expected)
    expected = DiceMetric()(x_hat > -0.9, x > -0.9).flatten()
    torch.testing.assert_close(shape_dice(x, x_hat), expected)


def test_equals_numpy_inside_the_tumour(pair):
    x, x_hat = pair
    mask = tumour_mask(x)
    for b in range(len(x)):
        a, c = x[b].numpy()[x[b].numpy() > -0.9], x_hat[b].numpy()[x[b].numpy() > -0.9]
        assert float(mean_absolute_error(x, x_hat, mask)[b]) == pytest.approx(np.abs(a - c).mean(), rel=1e-5)
        expected = 10 * np.log10(4 / ((a - c) ** 2).mean())
        assert float(psnr(x, x_hat, mask)[b]) == pytest.approx(expected, rel=1e-5)


def test_by_hand():
    x = torch.full((1, 1, 1, 1, 4), -1.0)
    x[..., :2] = 0.5
    x_hat = torch.tensor([0.0, -1.0, 0.0, -1.0]).view(1, 1, 1, 1, 4)
    found = ReconstructionMetrics()(x, x_hat)
    assert float(found["l1"]) == pytest.approx((0.5 + 1.5 + 1) / 4)
    assert float(found["l1_tumour"]) == pytest.approx(1.0)
    assert float(found["psnr"]) == pytest.approx(10 * np.log10(4 / ((0.25 + 2.25 + 1) / 4)), rel=1e-5)
    assert float(found["psnr_tumour"]) == pytest.approx(10 * np.log10(4 / 1.25), rel=1e-5)
    assert float(found["dice"]) == pytest.approx(2 * 1 / (2 + 2))
    assert float(found["relative_volume_tumour"]) == pytest.approx(1.0)


def test_the_darkest_tumour_voxel_and_the_background_are_told_apart():
    assert tumour_mask(torch.tensor([-1.0, -0.9, -0.89])).tolist() == [False, False, True]


def test_equal_volumes_are_finite(pair):
    found = ReconstructionMetrics()(pair[0], pair[0])
    assert float(found["l1"]) == 0
    assert float(found["psnr"]) == pytest.approx(10 * np.log10(4 / 1e-10), rel=1e-4)
    assert float(found["dice"]) == 1


def test_batches_and_ranks_do_not_matter(pair):
    x, x_hat = pair
    whole = ReconstructionMetrics()(x, x_hat)
    one, two = ReconstructionMetrics(), ReconstructionMetrics()
    one.update(x[:1], x_hat[:1])
    one.update(x[1:3], x_hat[1:3])
    two.update(x[3:], x_hat[3:])
    one.merge_state(two)
    for name, value in one.compute().items():
        torch.testing.assert_close(value, whole[name])


def test_volumes_without_a_tumour_stay_out_of_the_figures_inside_it(pair):
    x, x_hat = pair
    alone = ReconstructionMetrics()(x[1:], x_hat[1:])
    x[0] = -1
    found = ReconstructionMetrics()(x, x_hat)
    assert float(found["l1_tumour"]) == pytest.approx(float(alone["l1_tumour"]))
    assert float(found["psnr_tumour"]) == pytest.approx(float(alone["psnr_tumour"]))
    empty = torch.full((1, 1, 2, 2, 2), -1.0)
    found = ReconstructionMetrics()(empty, empty)
    assert float(found["dice"]) == 1
    assert found["l1_tumour"].isnan()
    assert found["relative_volume_tumour"].isnan()


def test_relative_volume_counts_voxels_above_the_threshold():
    x = torch.full((2, 1, 1, 1, 4), -1.0)
    x[..., :2] = 0.5
    x_hat = torch.tensor([[0.0, 0.0, -0.8, -1.0], [0.0, -0.95, -1.0, -1.0]]).view(2, 1, 1, 1, 4)
    assert relative_volume(x, x_hat).tolist() == [1.5, 0.5]
    assert float(ReconstructionMetrics()(x, x_hat)["relative_volume_tumour"]) == pytest.approx(1.0)


def test_background_is_what_is_not_tumour():
    x = torch.full((1, 1, 1, 1, 4), -1.0)
    x[..., :2] = 0.5
    x_hat = torch.tensor([0.0, -1.0, 0.0, -0.5]).view(1, 1, 1, 1, 4)
    found = ReconstructionMetrics()(x, x_hat)
    assert float(found["l1_background"]) == pytest.approx(0.75)
    assert float(found["psnr_background"]) == pytest.approx(10 * np.log10(4 / 0.625), rel=1e-5)
    full = ReconstructionMetrics()(torch.ones(1, 1, 2, 2, 2), torch.zeros(1, 1, 2, 2, 2))
    assert full["l1_background"].isnan()
    assert float(full["l1_tumour"]) == 1


def test_similarity_is_that_of_ms_ssim():
    x = torch.stack([blob(i % 2, 16, i) for i in range(3)])
    x_hat = (0.9 * x - 0.1).clamp(-1, 1)
    found = ReconstructionMetrics()(x, x_hat)
    whole, inside = ms_ssim_fidelity(x, x_hat, x > -0.9)
    assert float(found["ms_ssim_fidelity"]) == pytest.approx(float(whole.mean()))
    assert float(found["ms_ssim_fidelity_tumour"]) == pytest.approx(float(inside.mean()))
    assert 0 < float(whole.mean()) != float(inside.mean()) < 1


def test_volumes_too_small_for_similarity_have_all_other_figures(pair):
    found = ReconstructionMetrics()(pair[0][..., :5], pair[1][..., :5])
    undefined = {name for name, value in found.items() if value.isnan()}
    assert undefined == {"ms_ssim_fidelity", "ms_ssim_fidelity_tumour"}
