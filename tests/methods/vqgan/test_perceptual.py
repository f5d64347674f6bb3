"""Perceptual terms: values, gradients, what a checkpoint sees of them, and what happens without weights."""

import copy

import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn
from vgg_reference import published_files, restated_lpips

from data_modules.errors import InputError
from tumorgen.methods.vqgan import perceptual
from tumorgen.methods.vqgan.perceptual import LPIPSSlices, MRIPerceptual, draw_slices
from tumorgen.nn.mri_features import MRIFeatures
from tumorgen.nn.vgg import LPIPSVGG16, lpips_state_dict
from tumorgen.pretrained.weights import LPIPS_VGG16, MRI_FEATURES, write_weights


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TUMORGEN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def mri():
    torch.manual_seed(1)
    write_weights(MRI_FEATURES, MRIFeatures().state_dict(), {"source": "random"})
    term = MRIPerceptual()
    term.load()
    return term


@pytest.fixture
def lpips():
    torch.manual_seed(2)
    network = LPIPSVGG16()
    for head in network.heads:
        nn.init.uniform_(head)
    write_weights(LPIPS_VGG16, network.state_dict(), {"source": "random"})
    term = LPIPSSlices()
    term.load()
    return term


def ellipsoids(batch=2, side=32, seed=0):
    """Textured ellipsoids on -1."""
    generator = torch.Generator().manual_seed(seed)
    axis = torch.linspace(-1, 1, side)
    radius = sum(a**2 for a in torch.meshgrid(axis * 1.4, axis * 1.7, axis * 2.0, indexing="ij")).sqrt()
    texture = torch.randn(batch, 1, side, side, side, generator=generator).numpy()
    texture = torch.from_numpy(gaussian_filter(texture, (0, 0, side / 64, side / 64, side / 64)))
    texture = texture / texture.std()
    return torch.where(radius < 1, (0.3 + 0.15 * texture).clamp(-0.8, 1), -1.0)


def test_mri_distance_equals_its_definition(mri):
    x, x_hat = ellipsoids(), ellipsoids(seed=1)
    expected = 0.0
    with torch.no_grad():
        for f, g in zip(mri.network(x)[1:], mri.network(x_hat)[1:], strict=True):
            for b in range(2):
                u, v = f[b].flatten(1).double(), g[b].flatten(1).double()  # (channels, positions)
                u, v = u / (u.norm(dim=0) + 1e-2), v / (v.norm(dim=0) + 1e-2)
                expected += float((u - v).square().sum(0).mean()) / 2
    assert float(mri(x, x_hat)) == pytest.approx(expected, rel=1e-4)
    assert float(mri(x, x)) == 0


def test_lpips_is_the_sum_of_terms_and_the_mean_over_the_batch(monkeypatch):

    vgg16, linear = published_files()
    write_weights(LPIPS_VGG16, lpips_state_dict(vgg16, linear), {})
    term = LPIPSSlices(slices=3)
    term.load()
    x, x_hat = ellipsoids(), ellipsoids(seed=1)
    drawn = torch.tensor([[8, 23], [12, 12], [8, 15]])  # (term, sample), one index twice
    monkeypatch.setattr(perceptual, "draw_slices", lambda *_: drawn)
    expected = sum(
        float(restated_lpips(vgg16, linear, x[b : b + 1, :, k], x_hat[b : b + 1, :, k]))
        for row in drawn.tolist()
        for b, k in enumerate(row)
    )
    with torch.no_grad():
        assert float(term(x, x_hat)) == pytest.approx(expected / 2, rel=1e-4)
        assert float(term(x, x)) == 0


@pytest.mark.parametrize(("depth", "low", "high"), [(128, 30, 97), (64, 15, 48), (32, 8, 23)])
def test_slices_are_drawn_from_the_published_range(depth, low, high):
    torch.manual_seed(0)
    drawn = draw_slices(depth, 6, 500)
    assert drawn.shape == (6, 500)
    assert (int(drawn.min()), int(drawn.max())) == (low, high)


def test_a_depth_without_such_slices_is_refused():
    with pytest.raises(ValueError, match="depth of 1 voxels"):
        draw_slices(1, 6, 2)


def test_slices_follow_the_seed(lpips):
    x, x_hat = ellipsoids(), ellipsoids(seed=1)
    values = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        with torch.no_grad():
            values.append(float(lpips(x, x_hat)))
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize("name", ["mri", "lpips"])
def test_gradients_reach_the_reconstruction_only(name, request):
    term = request.getfixturevalue(name)
    x, x_hat = ellipsoids().requires_grad_(), ellipsoids(seed=1).requires_grad_()
    term(x, x_hat).backward()
    assert x.grad is None
    assert x_hat.grad.abs().sum() > 0
    assert all(not p.requires_grad and p.grad is None for p in term.network.parameters())


@pytest.mark.parametrize("name", ["mri", "lpips"])
def test_an_empty_reconstruction_has_finite_gradients(name, request):
    x_hat = torch.full((2, 1, 32, 32, 32), -1.0, requires_grad=True)
    request.getfixturevalue(name)(ellipsoids(), x_hat).backward()
    assert x_hat.grad.isfinite().all()


def test_gradient_of_the_mri_distance_is_right(mri):
    mri.double()
    x = ellipsoids(1, 16).double()
    # without a constant background, whose ties in max pooling have no derivative
    x_hat = torch.rand(x.shape, generator=torch.Generator().manual_seed(3)).double().requires_grad_()
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(4)).double()
    (gradient,) = torch.autograd.grad(mri(x, x_hat), x_hat)
    step = 1e-5
    with torch.no_grad():
        numeric = (mri(x, x_hat + step * direction) - mri(x, x_hat - step * direction)) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(float(numeric), rel=1e-4)


def test_nothing_of_a_term_is_in_checkpoints_or_optimizers(mri):
    model = nn.ModuleDict({"conv": nn.Conv3d(1, 1, 1), "perceptual": mri})
    assert set(model.state_dict()) == {"conv.weight", "conv.bias"}
    assert len(list(model.parameters())) == 2
    assert not list(mri.buffers())
    fresh = nn.ModuleDict({"conv": nn.Conv3d(1, 1, 1), "perceptual": MRIPerceptual()})
    fresh.load_state_dict(model.state_dict())
    assert not fresh["perceptual"].loaded
    assert copy.deepcopy(model)["perceptual"].loaded


def test_the_network_follows_conversions_and_stays_in_evaluation_mode(mri):
    model = nn.ModuleDict({"perceptual": mri}).train().requires_grad_(True).double()
    parameters = list(mri.network.parameters())
    assert model.training
    assert not mri.network.training
    assert all(p.dtype == torch.float64 and not p.requires_grad for p in parameters)
    nn.ModuleDict({"perceptual": mri}).to("meta")
    assert all(p.is_meta for p in mri.network.parameters())


@pytest.mark.parametrize("name", ["mri", "lpips"])
def test_autocast_keeps_the_value(name, request):
    term, x, x_hat = request.getfixturevalue(name), ellipsoids(), ellipsoids(seed=1)
    values = []
    for enabled in (False, True):
        torch.manual_seed(0)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            values.append(term(x, x_hat))
    assert values[1].dtype == torch.float32
    assert float(values[1]) == pytest.approx(float(values[0]), rel=0.05)


def test_training_works_after_use_in_inference_mode(mri):
    x = ellipsoids()
    with torch.inference_mode():
        mri(x, x)
    x_hat = ellipsoids(seed=1).requires_grad_()
    mri(x, x_hat).backward()
    assert x_hat.grad is not None


def test_constructing_needs_no_weights_and_computing_does(tmp_path):
    term = MRIPerceptual(tmp_path / "nowhere.safetensors")
    x = ellipsoids()
    with pytest.raises(RuntimeError, match="load\\(\\)"):
        term(x, x)


@pytest.mark.parametrize(
    ("term", "command"), [(MRIPerceptual(), "tumorgen weights "), (LPIPSSlices(), "tumorgen weights lpips ")]
)
def test_missing_weights_say_what_to_type(term, command):
    with pytest.raises(InputError, match=f"Type: {command}"):
        term.load()
    assert not term.loaded


@pytest.mark.parametrize(
    ("content", "message"), [(b"not tensors", "not a readable safetensors file"), (None, "expected 'mri_features'")]
)
def test_wrong_files_are_refused(tmp_path, content, message):
    file = tmp_path / "file.safetensors"
    if content is None:
        write_weights(LPIPS_VGG16, {"a": torch.zeros(1)}, {}).rename(file)
    else:
        file.write_bytes(content)
    with pytest.raises(InputError, match=message):
        MRIPerceptual(file).load()


def test_tensors_that_do_not_fit_are_named():
    tensors = MRIFeatures().state_dict()
    tensors["init.0.weight"] = torch.zeros(8, 1, 7, 7, 7)
    write_weights(MRI_FEATURES, tensors, {})
    with pytest.raises(InputError, match=r"init\.0\.weight: found \(8, 1, 7, 7, 7\), expected \(16, 1, 7, 7, 7\)"):
        MRIPerceptual().load()


def test_volumes_that_do_not_fit_are_refused(mri):
    with pytest.raises(ValueError, match="one channel"):
        mri(torch.zeros(1, 2, 32, 32, 32), torch.zeros(1, 2, 32, 32, 32))
    with pytest.raises(ValueError, match="differ in shape"):
        mri(torch.zeros(1, 1, 32, 32, 32), torch.zeros(1, 1, 32, 32, 16))


@pytest.mark.slow
@pytest.mark.parametrize(("side", "sigma"), [(32, 0.7), (64, 1.0), (128, 2.0)])
def test_real_weights_tell_blur_from_noise(mri, side, sigma):
    """At equal mean squared error blur must cost more than noise, and clearly more so than with random weights."""
    from tumorgen.commands import weights

    try:
        weights.run(["--overwrite"])
    except InputError as error:
        pytest.skip(f"the weights cannot be fetched: {error}")
    trained = MRIPerceptual()
    trained.load()
    x = ellipsoids(1, side)
    tumour = x > -0.9
    blurred = torch.from_numpy(gaussian_filter(x.numpy(), (0, 0, sigma, sigma, sigma)))
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for blur, grain in ((blurred, noise), (torch.where(tumour, blurred, x), noise * tumour)):
            noisy = x + grain * ((blur - x).square().mean() / grain.square().mean()).sqrt()
            ratios = [float(term(x, blur) / term(x, noisy)) for term in (trained, mri)]
            assert ratios[0] > 2
            assert ratios[0] > 1.5 * ratios[1]
