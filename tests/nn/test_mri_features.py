"""The MRI encoder against a plain functional restatement and, with the network at hand, against the original."""

import pytest
import torch
import torch.nn.functional as F

from data_modules.errors import InputError
from tumorgen.commands.weights import mri_state_dict
from tumorgen.nn.mri_features import MRIFeatures, StemConvolution
from tumorgen.pretrained.pypi import DEEPBET, download_wheel, read_pinned


def instance_norm(y):
    mean = y.mean((2, 3, 4), keepdim=True)
    variance = (y - mean).square().mean((2, 3, 4), keepdim=True)
    return (y - mean) / torch.sqrt(variance + 1e-5)


def restated(weights, x):
    """The encoder from its published names alone: strides and shortcuts written out."""
    y = F.relu(instance_norm(F.conv3d(x, weights["init.0.weight"], stride=2, padding=3)))
    maps, y = [y], F.max_pool3d(y, kernel_size=3, stride=2, padding=1)
    for i, first_stride in enumerate((1, 2, 2, 2)):
        for j, stride in ((1, first_stride), (2, 1)):
            name = f"down{i}.block{j}"
            z = F.relu(instance_norm(F.conv3d(y, weights[f"{name}.double_conv.0.weight"], stride=stride, padding=1)))
            z = instance_norm(F.conv3d(z, weights[f"{name}.double_conv.3.weight"], padding=1))
            if f"{name}.downsample.0.weight" in weights:
                y = instance_norm(F.conv3d(y, weights[f"{name}.downsample.0.weight"], stride=stride))
            y = F.relu(z + y)
        maps.append(y)
    return maps


@pytest.mark.parametrize("shape", [(48, 48, 48), (34, 40, 71)])
def test_equals_the_plain_restatement(shape):
    torch.manual_seed(0)
    network = MRIFeatures().double()
    x = torch.randn(2, 1, *shape).double()
    with torch.no_grad():
        found, expected = network(x), restated(network.state_dict(), x)
    assert [f.shape for f in found] == [e.shape for e in expected]
    for f, e in zip(found, expected, strict=True):
        torch.testing.assert_close(f, e, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("shape", [(16, 16, 16), (9, 8, 15)])
def test_the_stem_equals_a_strided_convolution(shape):
    torch.manual_seed(0)
    stem = StemConvolution(4).double()
    x = torch.randn(2, 1, *shape).double().requires_grad_()
    found, expected = stem(x), F.conv3d(x, stem.weight, stride=2, padding=3)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    direction = torch.randn_like(expected)
    gradients = [torch.autograd.grad(y, (x, stem.weight), direction) for y in (found, expected)]
    for f, e in zip(*gradients, strict=True):
        torch.testing.assert_close(f, e, atol=1e-11, rtol=0)


@pytest.mark.parametrize(
    ("side", "sides"), [(128, [64, 32, 16, 8, 4]), (64, [32, 16, 8, 4, 2]), (32, [16, 8, 4, 2]), (16, [8, 4, 2])]
)
def test_leaves_out_the_stages_of_a_single_voxel(side, sides):
    with torch.no_grad():
        maps = MRIFeatures()(torch.randn(1, 1, side, side, side))
    assert [m.shape[-1] for m in maps] == sides
    assert [m.shape[1] for m in maps] == [16, 16, 32, 64, 128][: len(maps)]


def test_training_mode_changes_nothing():
    network, x = MRIFeatures(), torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        trained, evaluated = network.train()(x), network.eval()(x)
    assert all(torch.equal(a, b) for a, b in zip(trained, evaluated, strict=True))


def test_volumes_of_a_few_voxels_are_refused():
    with pytest.raises(ValueError, match="at least 5 voxels"):
        MRIFeatures()(torch.zeros(1, 1, 4, 32, 32))


def test_number_of_parameters():
    network = MRIFeatures()
    assert len(network.state_dict()) == 20
    assert sum(p.numel() for p in network.parameters()) == 2_076_016


@pytest.mark.slow
def test_equals_the_original_network(tmp_path):
    try:
        wheel = download_wheel(DEEPBET, tmp_path)
    except InputError as error:
        pytest.skip(f"the original network cannot be fetched: {error}")
    script = tmp_path / "network.pt"
    script.write_bytes(read_pinned(wheel, DEEPBET))
    network = MRIFeatures()
    network.load_state_dict(mri_state_dict(script))
    network.double()
    original = torch.jit.load(script, map_location="cpu").eval().double()
    relu = getattr(original.conv, "2")  # one module that the traced stages take as their first argument
    x = torch.randn(1, 1, 64, 64, 64).double()
    with torch.no_grad():
        y = original.init(relu, x)
        expected = []
        for i in range(4):
            y = getattr(original, f"down{i}")(relu, y)
            expected.append(y)
        found = network(x)[1:]
    for f, e in zip(found, expected, strict=True):
        torch.testing.assert_close(f, e, atol=1e-9, rtol=1e-9)
