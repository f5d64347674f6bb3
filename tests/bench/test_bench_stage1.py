"""What each optimisation of stage 1 gains over its plain form: ratios measured in one run (`make bench`).

The plain forms are stated here. Equal values are tested in tests/nn and tests/vqgan, and once more here at full size.
"""

import time

import pytest
import torch
import torch.nn.functional as F

from tumorgen.methods.vqgan.autoencoder import Decoder
from tumorgen.methods.vqgan.discriminator import PatchDiscriminator3D
from tumorgen.methods.vqgan.image_gradient import SPATIAL, image_gradient_loss
from tumorgen.methods.vqgan.quantizers.codebook import collect_hits
from tumorgen.nn.upsampling import PixelShuffleLevel, UpsampleConv3d, UpsampleLevel

CHANNELS_LAST = torch.channels_last_3d


def seconds(function, repeats=3):
    """Return the fastest of a few runs after a warm-up: on a shared machine the others measure the neighbours."""
    function()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return min(times)


def compare(title, plain, fast, at_least, unit="s"):
    """Print one line of the table and hold the ratio against its lower bound."""
    print(f"\n{title:<72} plain {plain:9.3f} {unit}  fast {fast:9.3f} {unit}  ratio {plain / fast:5.2f}", end="")
    assert plain / fast >= at_least


def both_ways(function, x):
    """Return a forward and backward pass of `function` from `x`."""

    def run():
        leaf = x.detach().requires_grad_()
        function(leaf).float().square().mean().backward()

    return run


def saved_elements(function, *inputs):
    """Return how many distinct elements autograd keeps for the backward pass of `function`."""
    storages = {}

    def pack(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = function(*inputs)
    del result
    return sum(storages.values())


def plain_upsampling(layer, x):
    return F.conv3d(F.interpolate(x, scale_factor=2, mode="nearest"), layer.weight, layer.bias, padding=1)


def slices_of(volume, axis):
    return [volume.select(axis, index) for index in range(volume.shape[axis])]


def plain_image_gradient(x, x_hat):
    sobel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    total = 0.0
    for axis in SPATIAL:
        for kernel in (sobel, sobel.T):
            weight = kernel.expand(1, 1, 3, 3)
            for a, b in zip(slices_of(x, axis), slices_of(x_hat, axis), strict=True):
                difference = F.conv2d(a, weight, padding=1) - F.conv2d(b, weight, padding=1)
                total = total + difference.square().mean() / x.shape[axis]
    return total


@pytest.mark.bench
@pytest.mark.parametrize(("precision", "at_least"), [("32-true", 1.5), ("bf16-mixed", 1.5)])
def test_transposed_upsampling_at_the_finest_level(precision, at_least):
    torch.manual_seed(0)
    layer = UpsampleConv3d(64, 32)
    x = torch.randn(1, 64, 64, 64, 64).contiguous(memory_format=CHANNELS_LAST)
    half = x[..., :32, :32, :32].contiguous(memory_format=CHANNELS_LAST)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16-mixed"):
        with torch.no_grad():
            tolerance = 2e-5 if precision == "32-true" else 0.1
            torch.testing.assert_close(layer(x), plain_upsampling(layer, x), rtol=0, atol=tolerance)
            forward = [seconds(lambda f=f: f(x)) for f in (lambda v: plain_upsampling(layer, v), layer)]
        training = [seconds(both_ways(f, half), 1) for f in (lambda v: plain_upsampling(layer, v), layer)]
    compare(f"upsampling 64->32 at 64^3->128^3, channels last, {precision}, forward", *forward, at_least)
    compare(f"upsampling 64->32 at 32^3->64^3, channels last, {precision}, training", *training, at_least)


@pytest.mark.bench
def test_image_gradient_without_a_loop():
    torch.manual_seed(0)
    x, x_hat = torch.rand(2, 1, 1, 128, 128, 128)
    torch.testing.assert_close(image_gradient_loss(x, x_hat), plain_image_gradient(x, x_hat), rtol=1e-5, atol=0)
    times = [seconds(both_ways(lambda v, f=f: f(x, v), x_hat)) for f in (plain_image_gradient, image_gradient_loss)]
    compare("image gradient loss at 128^3, forward + backward", *times, 3.0)


@pytest.mark.bench
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_channels_last(precision):
    torch.manual_seed(0)
    level, x = UpsampleLevel(64, 32), torch.randn(1, 64, 32, 32, 32)
    convolution = level[0][0]
    forward, training = [], []
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16-mixed"):
        for layout in (torch.contiguous_format, CHANNELS_LAST):
            level.to(memory_format=layout)
            laid_out = x.contiguous(memory_format=layout)
            with torch.no_grad():
                forward.append(seconds(lambda v=laid_out: convolution(v)))
            training.append(seconds(both_ways(level, laid_out)))
    compare(f"channels last, upsampling 64->32 at 32^3->64^3, {precision}, forward", *forward, 1.2)
    # GroupNorm's backward on a CPU is slower in this layout and eats most of the gain
    compare(f"channels last, the whole level, {precision}, training", *training, 0.6)


@pytest.mark.bench
def test_bf16_and_channels_last_together():
    torch.manual_seed(0)
    level, x = UpsampleLevel(64, 32), torch.randn(1, 64, 32, 32, 32)
    plain = seconds(both_ways(level, x))
    level.to(memory_format=CHANNELS_LAST)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fast = seconds(both_ways(level, x.contiguous(memory_format=CHANNELS_LAST)))
    compare("bf16 and channels last, finest decoder level at 32^3->64^3, training", plain, fast, 1.2)


@pytest.mark.bench
def test_real_branch_without_gradients():
    torch.manual_seed(0)
    network = PatchDiscriminator3D()
    x = torch.randn(1, 1, 64, 64, 64)

    def without():
        with torch.no_grad():
            return network(x).features

    elements = [saved_elements(function) * 4 / 2**20 for function in (lambda: network(x).features, without)]
    times = [seconds(lambda: network(x)), seconds(without)]
    compare("discriminator's real branch under no_grad at 64^3, forward", *times, 0.9)
    print(
        f"\n{'the same, kept for the backward pass':<72} plain {elements[0]:9.1f} MiB  fast {elements[1]:.1f} MiB",
        end="",
    )
    assert elements[1] == 0 < elements[0]


@pytest.mark.bench
def test_checkpointing_the_finest_level():
    torch.manual_seed(0)
    plain, checkpointed = Decoder(), Decoder()
    checkpointed.checkpoint_levels = 1
    latent = torch.randn(1, 512, 4, 4, 4)
    kept = [saved_elements(decoder, latent) * 4 / 2**20 for decoder in (plain, checkpointed)]
    compare("checkpointing the finest decoder level at 64^3, kept activations", *kept, 1.5, unit="MiB")
    times = [seconds(both_ways(decoder, latent), 1) for decoder in (plain, checkpointed)]
    print(f"\n{'its price, forward + backward':<72} plain {times[0]:9.3f} s  fast {times[1]:9.3f} s", end="")


@pytest.mark.bench
def test_pixel_shuffle_at_the_finest_level_of_a_demonstration():
    torch.manual_seed(0)
    x = torch.randn(8, 32, 16, 16, 16).contiguous(memory_format=CHANNELS_LAST)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        times = [seconds(both_ways(kind(32, 16), x)) for kind in (UpsampleLevel, PixelShuffleLevel)]
    compare("pixel shuffle for the published finest level, 32->16 at 32^3, training", *times, 1.5)


@pytest.mark.bench
def test_counting_hits_without_one_hot():
    torch.manual_seed(0)
    features, codes = torch.randn(8192, 128), torch.randint(4096, (8192,))

    def one_hot():
        table = F.one_hot(codes, 4096).float()
        return table.sum(0), table.T @ features

    torch.testing.assert_close(one_hot()[1], collect_hits(features, codes, 4096).sums, rtol=1e-4, atol=1e-4)
    times = [seconds(function) for function in (one_hot, lambda: collect_hits(features, codes, 4096))]
    compare("codebook counts and sums, 8192 features, 4096 codes", *times, 5.0)
