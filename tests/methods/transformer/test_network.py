import pytest
import torch
from torch import nn

from data_modules.errors import InputError
from tumorgen.methods.transformer.network import TokenTransformer
from tumorgen.methods.transformer.vocabulary import Vocabulary

VOCABULARY = Vocabulary(num_codes=12, num_classes=2)


def small(causal=True, length=16, seed=0, scale=0.2) -> TokenTransformer:
    """A network whose every parameter matters (at the initial values positions and biases would not)."""
    torch.manual_seed(seed)
    network = TokenTransformer(VOCABULARY.size, length, layers=3, heads=4, width=32, causal=causal)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=scale)
    return network.eval()


def inputs_for(network, batch=3):
    return torch.randint(VOCABULARY.size, (batch, network.sequence.positions), generator=torch.manual_seed(1))


def test_published_size():
    with torch.device("meta"):
        network = TokenTransformer(Vocabulary(512, 2).size, 512)
    assert sum(parameter.numel() for parameter in network.parameters()) == 303_890_432
    assert network.position_embedding.shape == (512, 1024)
    assert network.token_embedding.weight.shape == network.head.weight.shape == (515, 1024)


def test_initial_values():
    network = TokenTransformer(515, 64, layers=2, heads=4, width=128)
    for name, parameter in network.named_parameters():
        if name == "position_embedding" or name.endswith("bias"):
            assert not parameter.any(), name
        elif "norm" in name:
            assert (parameter == 1).all(), name
        else:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.05), name
            assert abs(parameter.mean().item()) < 0.001, name


@pytest.mark.parametrize("causal", [True, False])
def test_parity_with_pytorchs_encoder_layers(causal):
    network = small(causal)
    inputs = inputs_for(network)
    x = network.token_embedding(inputs) + network.position_embedding
    mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1]) if causal else None
    for block in network.blocks:
        layer = nn.TransformerEncoderLayer(32, 4, 128, dropout=0, activation="gelu", batch_first=True, norm_first=True)
        names = {
            "self_attn.in_proj_weight": block.attention.query_key_value.weight,
            "self_attn.in_proj_bias": block.attention.query_key_value.bias,
            "self_attn.out_proj.weight": block.attention.projection.weight,
            "self_attn.out_proj.bias": block.attention.projection.bias,
            "linear1.weight": block.mlp[0].weight,
            "linear1.bias": block.mlp[0].bias,
            "linear2.weight": block.mlp[2].weight,
            "linear2.bias": block.mlp[2].bias,
            "norm1.weight": block.attention_norm.weight,
            "norm1.bias": block.attention_norm.bias,
            "norm2.weight": block.mlp_norm.weight,
            "norm2.bias": block.mlp_norm.bias,
        }
        layer.load_state_dict(names)
        x = layer.train()(x, src_mask=mask)  # train(): the fused inference path is not the reference
    expected = network.norm(x) @ network.head.weight.T
    torch.testing.assert_close(network(inputs), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("changed", [0, 7, 15])
def test_causal_outputs_do_not_see_the_future(changed):
    network = small()
    inputs = inputs_for(network)
    other = inputs.clone()
    other[:, changed] = (other[:, changed] + 1) % VOCABULARY.size
    before, after = network(inputs), network(other)
    assert torch.equal(before[:, :changed], after[:, :changed])
    assert (before[:, changed:] != after[:, changed:]).any(-1).all()


def test_bidirectional_outputs_see_everything():
    network = small(causal=False)
    inputs = inputs_for(network)
    other = inputs.clone()
    other[:, -1] = (other[:, -1] + 1) % VOCABULARY.size
    assert (network(inputs) != network(other)).any(-1).all()


@pytest.mark.parametrize("steps", [[1] * 16, [16], [5, 1, 1, 9], [1, 15]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cached_logits_equal_uncached_ones(steps, dtype):
    network = small().to(dtype)
    inputs = inputs_for(network)
    cache = network.new_cache(len(inputs))
    cached = torch.cat([network(part, cache) for part in inputs.split(steps, dim=1)], dim=1)
    assert cache.length == 16
    # float64 weights leave nothing but the final rounding to float32
    tolerance = {"rtol": 1e-6, "atol": 1e-6} if dtype == torch.float64 else {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(cached, network(inputs), **tolerance)


def test_cache_errors():
    network = small()
    cache = network.new_cache(1)
    network(torch.zeros(1, 16, dtype=torch.int64), cache)
    with pytest.raises(ValueError, match="17 positions"):
        network(torch.zeros(1, 1, dtype=torch.int64), cache)
    bidirectional = small(causal=False)
    with pytest.raises(ValueError, match="no cache"):
        bidirectional(torch.zeros(1, 1, dtype=torch.int64), bidirectional.new_cache(1))


@pytest.mark.parametrize("causal", [True, False])
def test_token_logits_predict_each_token_from_what_it_may_see(causal):
    network = small(causal)
    condition = VOCABULARY.condition(torch.tensor([0, 1]))
    tokens = torch.randint(12, (2, 16))
    logits = network.token_logits(condition, tokens)
    assert logits.shape == (2, 16, VOCABULARY.size)
    changed = tokens.clone()
    changed[:, 5] = (tokens[:, 5] + 1) % 12
    sees = (network.token_logits(condition, changed) != logits).any(-1)
    assert sees.tolist() == [[not causal or index > 5 for index in range(16)]] * 2
    assert (network.token_logits(condition.flip(0), tokens) != logits).any(-1).all()  # the class reaches every token


@pytest.mark.parametrize("causal", [True, False])
def test_bfloat16_weights_and_autocast_give_float32_logits(causal):
    network = small(causal, scale=0.1)
    inputs = inputs_for(network)
    expected = network(inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        autocast = network(inputs)
        if causal:
            cached = network(inputs, network.new_cache(len(inputs)))
            torch.testing.assert_close(cached, autocast)
    half = network.to(torch.bfloat16)
    if causal:
        torch.testing.assert_close(half(inputs, half.new_cache(len(inputs))), half(inputs))
    for logits in (autocast, half(inputs)):
        assert logits.dtype == torch.float32
        torch.testing.assert_close(logits, expected, rtol=0.05, atol=0.05)


def test_weight_decay_on_linear_weights_only():
    network = small()
    optimizer = torch.optim.AdamW(network.parameter_groups(), weight_decay=0.01)
    decayed, others = optimizer.param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.01, 0.0)
    assert len(decayed["params"]) == 3 * 4 + 1
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    decayed_names = {names.pop(id(parameter)) for parameter in decayed["params"]}
    assert set(names.values()) == {names[id(parameter)] for parameter in others["params"]}
    assert all(name.endswith("weight") and "norm" not in name and "embedding" not in name for name in decayed_names)


def test_every_parameter_learns():
    network = small()
    network(inputs_for(network)).logsumexp(-1).mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_heads_must_divide_width():
    with pytest.raises(InputError, match="3 heads"):
        TokenTransformer(10, 8, layers=1, heads=3, width=32)
