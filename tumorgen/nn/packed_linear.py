"""Linear layers that a CPU computes quickly for few rows, for sampling token by token."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@contextmanager
def packed_linear_layers(network: nn.Module, rows: int) -> Iterator[None]:
    """Inside, the float32 linear layers of `network` on a CPU compute with weights laid out for oneDNN.

    Sampling token by token multiplies every weight with a handful of rows, and the plain layout reads the weights slowly:
    packed, 4 rows take about a third of the time. Results differ in the last digits. It does nothing on other devices, in
    other precisions, under autocast, for a compiled network, or where torch was built without oneDNN.

    Args:
        network: Must not be trained inside; its parameters stay as they are. A second copy of the weights is kept inside.
        rows: Rows that most products will have, a hint for the layout.
    """
    layers = [module for module in network.modules() if type(module) is nn.Linear]
    if not _possible(network):
        layers = []
    for layer in layers:
        layer.forward = _packed(layer, rows)  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward  # uncovers the method of the class


def _possible(network: nn.Module) -> bool:
    plain = all(parameter.is_cpu and parameter.dtype == torch.float32 for parameter in network.parameters())
    compiled = getattr(network, "_compiled_call_impl", None) is not None
    available = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return plain and available and not compiled and not torch.is_autocast_enabled("cpu")


def _packed(layer: nn.Linear, rows: int) -> Callable[[Tensor], Tensor]:
    """The layer's product with weights packed as torch's own compiler packs them (there is no public function for it)."""
    weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), rows)
    bias = None if layer.bias is None else layer.bias.detach()

    def forward(x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return F.linear(x, layer.weight, layer.bias)
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")

    return forward
