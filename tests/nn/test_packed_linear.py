import pytest
import torch
from torch import nn

from tumorgen.nn.packed_linear import packed_linear_layers


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 16, bias=False))


@pytest.mark.parametrize("shape", [(1, 32), (4, 1, 32), (2, 7, 32)])
def test_packed_layers_compute_the_same(network, shape):
    x = torch.randn(shape)
    with torch.no_grad():
        expected = network(x)
        with packed_linear_layers(network, rows=4):
            assert "forward" in vars(network[0]), "packed on this machine"
            torch.testing.assert_close(network(x), expected, rtol=1e-5, atol=1e-5)


def test_the_network_is_itself_again_afterwards(network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(RuntimeError, match="stop"), packed_linear_layers(network, rows=1):
        raise RuntimeError("stop")
    assert all("forward" not in vars(module) for module in network)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    network(torch.randn(2, 32)).sum().backward()
    assert network[0].weight.grad is not None


def test_gradients_flow_even_inside(network):
    with packed_linear_layers(network, rows=1):
        network(torch.randn(2, 32)).sum().backward()
    assert network[0].weight.grad.abs().sum() > 0


def test_other_precisions_and_autocast_are_left_alone(network):
    with torch.autocast("cpu", dtype=torch.bfloat16), packed_linear_layers(network, rows=1):
        assert network(torch.randn(2, 32)).dtype == torch.bfloat16
    with packed_linear_layers(network.bfloat16(), rows=1):
        assert network(torch.randn(2, 32, dtype=torch.bfloat16)).dtype == torch.bfloat16
