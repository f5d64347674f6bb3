"""The loss terms against NumPy and hand-computed values, the adaptive weight, and the weighted sum."""

import numpy as np
import pytest
import torch
from torch import nn

from data_modules.errors import InputError
from tumorgen.methods.vqgan.discriminator import DiscriminatorOutput
from tumorgen.methods.vqgan.objective import (
    GeneratorTerms,
    VQGANObjective,
    adaptive_weight,
    adversarial_loss,
    feature_matching_loss,
    hinge_discriminator_loss,
    image_gradient_loss,
    importance_cross_entropy,
    outline_loss,
    pixel_loss,
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_pixel_and_adversarial():
    assert pixel_loss(torch.tensor([1.0, -1.0]), torch.tensor([0.0, -0.5])).item() == pytest.approx(0.75)
    assert adversarial_loss(torch.tensor([1.0, -3.0])).item() == pytest.approx(1.0)


def test_outline_by_hand():
    x, x_hat = torch.tensor([0.3, -1.0, -1.0]), torch.tensor([-0.8, -0.9, -0.7])
    expected = np.log1p(np.exp(-1)) + np.log(2) + np.log1p(np.exp(2))
    assert outline_loss(x, x_hat).item() == pytest.approx(expected / 3, rel=1e-5)


def test_outline_pulls_a_blurred_rim_to_the_size_that_pixels_alone_leave_too_large():
    """A profile that cannot be sharper than its sigmoid: the stronger the outline's part, the nearer to the true 16."""
    x = torch.where(torch.arange(32) < 16, 0.4, -1.0)

    def size(objective):
        edge = torch.tensor(16.0, requires_grad=True)
        optimizer = torch.optim.Adam([edge], lr=0.05)
        for _ in range(300):
            x_hat = 1.4 * torch.sigmoid(edge - torch.arange(32)) - 1
            loss = objective.pixel * pixel_loss(x, x_hat) + objective.outline * outline_loss(x, x_hat)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return int((x_hat > -0.9).sum())

    assert [size(VQGANObjective(outline=weight)) for weight in (0.0, 1.0, 10.0)] == [19, 18, 17]


def test_hinge_counts_only_what_is_not_yet_on_its_side():
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-2.0, 0.0])
    assert hinge_discriminator_loss(real, fake).item() == pytest.approx(0.5 * ((0 + 0.5 + 2) / 3 + (0 + 1) / 2))


def test_feature_matching_adds_the_first_four_maps_and_spares_the_real_side():
    real = [torch.randn(2, 3, n, n, n, requires_grad=True) for n in (6, 5, 4, 3, 2)]
    fake = [torch.randn(2, 3, n, n, n, requires_grad=True) for n in (6, 5, 4, 3, 2)]
    loss = feature_matching_loss(real, fake)
    maps = list(zip(real, fake, strict=True))[:4]
    expected = sum(np.abs(a.detach().numpy() - b.detach().numpy()).mean() for a, b in maps)
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    loss.backward()
    assert all(tensor.grad is None for tensor in real)
    assert fake[0].grad is not None


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_importance_cross_entropy_by_hand(smoothing):
    logits, labels = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    log_p = (logits - logits.logsumexp(1, keepdim=True)).numpy()
    target = np.eye(3)[labels] * (1 - smoothing) + smoothing / 3
    expected = -(target * log_p).sum(1).mean()
    assert importance_cross_entropy(logits, labels, smoothing).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_terms_are_float32_whatever_comes_in(dtype):
    a, b = torch.rand(2, 1, 1, 4, 4, 4).to(dtype)
    labels = torch.tensor([0])
    for term in (
        pixel_loss(a, b),
        adversarial_loss(a),
        hinge_discriminator_loss(a, b),
        feature_matching_loss([a], [b]),
        image_gradient_loss(a, b),
        importance_cross_entropy(a.flatten(1), labels),
        outline_loss(a, b),
    ):
        assert term.dtype == torch.float32


# ---------------------------------------------------------------- adaptive weight


def losses(pixel_slope, adversarial_slope):
    """Two losses whose gradients at the last layer have known norms."""
    layer = nn.Parameter(torch.tensor([3.0, 4.0]))
    direction = torch.tensor([0.6, 0.8])
    return pixel_slope * (layer @ direction), adversarial_slope * (layer @ direction), layer


@pytest.mark.parametrize(
    ("pixel_slope", "adversarial_slope", "expected"),
    [
        (0.3, 0.6, 0.3 / (0.6 + 1e-4)),
        (2.0, 0.5, 1.0),
        (0.0, 0.5, 0.0),
        (5e-5, 0.0, 0.5),
        (float("nan"), 1.0, 0.0),
        (1.0, float("nan"), 0.0),
        (1.0, float("inf"), 0.0),
        (float("inf"), 1.0, 0.0),
    ],
)
def test_adaptive_weight(pixel_slope, adversarial_slope, expected):
    weight = adaptive_weight(*losses(pixel_slope, adversarial_slope))
    assert weight.item() == pytest.approx(expected, rel=1e-6)
    assert not weight.requires_grad
    assert weight.dtype == torch.float32


def test_adaptive_weight_leaves_graph_and_gradients_alone():
    pixel, adversarial, layer = losses(0.3, 0.6)
    adaptive_weight(pixel, adversarial, layer)
    assert layer.grad is None
    (pixel + adversarial).backward()
    assert layer.grad is not None


def test_adaptive_weight_differentiates_the_last_layer_only():
    below = nn.Linear(4, 4)
    below.weight.register_hook(lambda gradient: pytest.fail("a gradient went below the last layer"))
    last = nn.Linear(4, 1)
    x = last(below(torch.randn(8, 4)))
    assert adaptive_weight(x.abs().mean(), -x.mean(), last.weight) > 0


def test_adaptive_weight_survives_float16_underflow():
    """Means over a whole ROI: voxelwise gradients below the smallest float16 number."""
    features = (1 + torch.randn(64**3, 2)).half()
    weight = nn.Parameter(torch.tensor([[0.5, -0.25]]))

    def two(dtype):
        x = torch.tanh(nn.functional.linear(features.to(dtype), weight.to(dtype)).float())
        return x.abs().mean() / 100, -x.mean()

    half, single = (adaptive_weight(*two(dtype), weight) for dtype in (torch.float16, torch.float32))
    assert 0 < single < 1
    assert half.item() == pytest.approx(single.item(), rel=0.05)


# ---------------------------------------------------------------- objective


def terms(**values):
    return GeneratorTerms(**{name: torch.tensor(values.get(name, 0.0)) for name in GeneratorTerms._fields})


def test_published_weights():
    values = dict(zip(GeneratorTerms._fields, (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8), strict=True))
    total = VQGANObjective().total(terms(**values), torch.tensor(0.25))
    expected = 0.8 * (4 * 0.1 + 0.2 + 0.3 + 4 * 0.4 + 4 * 0.5 + 0.25 * 0.6) + 0.2 * 0.7
    assert total.item() == pytest.approx(expected)


@pytest.mark.parametrize("name", GeneratorTerms._fields)
def test_each_weight_belongs_to_its_term(name):
    option = "importance_share" if name == "importance" else name
    objective = VQGANObjective(**{option: 10.0})
    share = 1.0 if name == "importance" else 0.8
    assert objective.total(terms(**{name: 1.0}), 1.0).item() == pytest.approx(share * 10.0)


def inputs(size=8):
    x, x_hat = torch.rand(2, 2, 1, size, size, size)
    return {
        "x": x,
        "x_hat": x_hat.requires_grad_(),
        "commitment": torch.tensor(0.3),
        "logits": torch.randn(2, 2),
        "labels": torch.tensor([0, 1]),
    }


def test_terms_by_name_with_everything_on():
    given = inputs()
    real, fake = (DiscriminatorOutput(torch.randn(2, 1, 2, 2, 2), [torch.randn(2, 8, 4, 4, 4)]) for _ in range(2))
    result = VQGANObjective(outline=1.0).generator_terms(**given, perceptual=torch.tensor(0.7), real=real, fake=fake)
    expected = {
        "pixel": pixel_loss(given["x"], given["x_hat"]),
        "perceptual": torch.tensor(0.7),
        "commitment": torch.tensor(0.3),
        "feature_matching": feature_matching_loss(real.features, fake.features),
        "image_gradient": image_gradient_loss(given["x"], given["x_hat"]),
        "adversarial": adversarial_loss(fake.logits),
        "importance": importance_cross_entropy(given["logits"], given["labels"], 0.1),
        "outline": outline_loss(given["x"], given["x_hat"]),
    }
    assert list(result._asdict()) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(getattr(result, name), value)


def test_parts_that_are_off_are_zero():
    result = VQGANObjective().generator_terms(**inputs())
    for name in ("perceptual", "feature_matching", "adversarial", "outline"):
        assert getattr(result, name).item() == 0
    VQGANObjective().total(result, 0.0).backward()


@pytest.mark.parametrize(
    ("from_start", "started", "needed"), [(False, False, False), (False, True, True), (True, False, True)]
)
def test_when_the_discriminator_is_needed(from_start, started, needed):
    assert VQGANObjective(feature_matching_from_start=from_start).judges_generator(started) is needed


@pytest.mark.parametrize(("option", "value"), [("pixel", -1.0), ("importance_share", -0.1), ("label_smoothing", 1.0)])
def test_impossible_weights(option, value):
    with pytest.raises(InputError, match=rf"objective\.{option} is {value}"):
        VQGANObjective(**{option: value})
