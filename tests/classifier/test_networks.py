"""The networks that tell classes apart."""

import pytest
import torch
from torch import nn

from data_modules.errors import InputError
from tumorgen.classifier.networks import Classifier, ResNet3D, SmallCNN

NETWORKS = (SmallCNN, ResNet3D)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("size", "classes", "channels"), [(16, 2, 1), (32, 3, 4), (33, 2, 1)])
def test_one_logit_per_class(network: type[Classifier], size: int, classes: int, channels: int) -> None:
    model = network(classes, channels).eval()
    volume = torch.rand(2, channels, size, size, size)
    assert model(volume).shape == (2, classes)
    assert model.num_classes == classes
    assert model.features(volume).shape == (2, model.num_features)


@pytest.mark.parametrize("network", NETWORKS)
def test_logits_are_linear_in_the_features(network: type[Classifier]) -> None:
    model, volume = network().eval(), torch.rand(3, 1, 16, 16, 16)
    (linear,) = [part for part in model.head if isinstance(part, nn.Linear)]
    assert torch.equal(model(volume), linear(model.features(volume)))


def test_small_is_small() -> None:
    assert sum(parameter.numel() for parameter in SmallCNN().parameters()) < 45_000


def test_small_draws_the_numbers_of_a_plain_sequence() -> None:
    """What `make demo` found depends on this order."""
    model = SmallCNN(num_classes=2)
    torch.manual_seed(0)
    plain = [nn.Conv3d(1, 12, 3), nn.Conv3d(12, 24, 3), nn.Conv3d(24, 48, 3), nn.Linear(48, 2)]
    own = [part for part in model.modules() if isinstance(part, nn.Conv3d | nn.Linear)]
    for ours, theirs in zip(own, plain, strict=True):
        assert torch.equal(ours.weight, theirs.weight)
        assert torch.equal(ours.bias, theirs.bias)


def test_the_residual_network_is_monais() -> None:
    from monai.networks.nets import resnet10

    model = ResNet3D(stage_widths=(64, 128, 256, 512), norm="batch").eval()
    reference = resnet10(spatial_dims=3, n_input_channels=1, num_classes=2, conv1_t_stride=2, bias_downsample=False)
    missing = reference.load_state_dict(model.body.state_dict(), strict=False)
    assert set(missing.missing_keys) == {"fc.weight", "fc.bias"}
    reference.fc.load_state_dict(model.head[1].state_dict())
    volume = torch.rand(2, 1, 32, 32, 32)
    assert torch.allclose(model(volume), reference.eval()(volume), atol=1e-6)


def test_group_norms_make_a_volume_independent_of_its_batch() -> None:
    model = ResNet3D(dropout=0.0).train()
    assert not [part for part in model.modules() if isinstance(part, nn.BatchNorm3d)]
    volumes = torch.rand(3, 1, 16, 16, 16)
    alone = torch.cat([model(volume[None]) for volume in volumes])
    assert torch.allclose(model(volumes), alone, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"stage_widths": (8, 16, 32)}, "expected four of each"),
        ({"stage_blocks": (1, 1)}, "expected four of each"),
        ({"stage_widths": (8, 16, 32, 60)}, "groups is 8, expected a divisor"),
    ],
)
def test_stages_that_do_not_fit(options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        ResNet3D(**options)
