"""The published networks, restated plainly from their description: shapes of all tensors, and the forward passes.

Nothing of tumorgen is used here. A file is a flat dictionary under the names of a stage-1 file ("Encoder.conv1...").
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

STAGE2 = {
    "Encoder": "vqgan_encoder",
    "Decoder": "vqgan_decoder",
    "preV_conv": "prev_conv",
    "postV_conv": "postV_conv",
    "ScoreNet": "score_net",
    "Codebook": "codebook",
}


@dataclass
class Sizes:
    channels: tuple = (32, 64, 128, 256, 512)
    width: int = 128
    codes: int = 512
    hidden: int = 1024
    grid: int = 8
    classes: int = 2
    layers: int = 24
    embedding: int = 1024
    positions: int = 512


# ---------------------------------------------------------------------------------------------------- shapes


def affine(name, *shape):
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def residual_shapes(name, c):
    shapes = {}
    for norm in ("group_norm", "conv_module.1", "conv_module.4"):
        shapes |= affine(f"{name}.{norm}.gn", c)
    for conv in (0, 3):
        shapes |= affine(f"{name}.conv_module.{conv}", c, c, 3, 3, 3)
    return shapes


def encoder_shapes(s):
    shapes, before = {}, 1
    for number, c in enumerate(s.channels, start=1):
        kernel = 3 if number == len(s.channels) else 4
        shapes |= affine(f"conv{number}.conv.0", c, before, kernel, kernel, kernel)
        shapes |= affine(f"conv{number}.conv.1.gn", c) | affine(f"conv{number}.group_norm.gn", c)
        shapes |= residual_shapes(f"res_block{number}", c)
        before = c
    return shapes


def decoder_shapes(s):
    shapes = {}
    for number in range(len(s.channels) - 1, 0, -1):
        c = s.channels[number - 1]
        shapes |= affine(f"upsize{number}.up.1", c, s.channels[number], 3, 3, 3)
        shapes |= affine(f"upsize{number}.up.2.gn", c) | affine(f"upsize{number}.group_norm.gn", c)
        shapes |= residual_shapes(f"res_block{number}", c)
    return shapes | affine("final_conv", 1, s.channels[0], 1, 1, 1)


def score_shapes(s):
    w = s.width
    shapes = affine("att.norm.gn", w) | affine("group_norm_att.gn", w) | affine("att.proj_out", w, w, 1, 1)
    for name in "qkv":
        shapes |= affine(f"att.{name}", w, w, 1, 1, 1)
    shapes |= affine("score_pred_net.1", w, w, 3, 3, 3) | affine("score_pred_net.3", 1, w, 1, 1, 1)
    shapes |= affine("score_pred_net.4.gn", 1) | affine("groupnorm1.gn", 1)
    shapes |= affine("classifier.0", s.hidden, w * s.grid**3) | affine("classifier.4", s.classes, s.hidden)
    return shapes | affine("classifier.1.gn", s.hidden) | affine("group_norm.gn", s.hidden)


def tokenizer_shapes(s):
    codebook = {"embedding.weight": (s.codes, s.width), "embedding.embed_avg": (s.codes, s.width)}
    codebook |= {"cluster_size": (s.codes,), "embedding.cluster_size": (s.codes,), "embedding.initted": (1,)}
    return {
        "Encoder": encoder_shapes(s),
        "Decoder": decoder_shapes(s),
        "ScoreNet": score_shapes(s),
        "Codebook": codebook,
        "preV_conv": affine("conv", s.width, s.channels[-1], 1, 1, 1),
        "postV_conv": affine("conv", s.channels[-1], s.width, 1, 1, 1),
    }


def transformer_shapes(s):
    e, vocabulary = s.embedding, s.codes + 1 + s.classes
    shapes = {"pos_emb": (1, s.positions, e), "tok_emb.weight": (vocabulary, e), "head.weight": (vocabulary, e)}
    shapes |= affine("ln_f", e)
    for layer in range(s.layers):
        block = f"blocks.{layer}"
        shapes |= affine(f"{block}.ln1", e) | affine(f"{block}.ln2", e)
        shapes[f"{block}.attn.mask"] = (1, 1, s.positions, s.positions)
        for name in ("key", "query", "value", "proj"):
            shapes |= affine(f"{block}.attn.{name}", e, e)
        shapes |= affine(f"{block}.mlp.0", 4 * e, e) | affine(f"{block}.mlp.2", e, 4 * e)
    return shapes


# ---------------------------------------------------------------------------------------------------- random files


def random_tensor(name, shape, generator):
    def noise():
        return torch.randn(shape, generator=generator)

    if name.endswith("attn.mask"):
        return torch.ones(shape).tril()
    if name.endswith("embedding.weight"):
        return F.normalize(noise(), dim=1)
    if name.endswith("initted"):
        return torch.ones(shape)
    if len(shape) == 1:
        return (1.0 if name.endswith("weight") else 0.0) + 0.3 * noise()
    return noise() / max(1, shape[1:].numel()) ** 0.5


def random_file(s, stage, seed=0):
    """A flat file with random weights; GroupNorms that are one module share one tensor, as torch.save would leave them."""
    generator = torch.Generator().manual_seed(seed)
    flat = {f"{part}.{name}": shape for part, shapes in tokenizer_shapes(s).items() for name, shape in shapes.items()}
    if stage == 2:
        flat |= {f"transformer.{name}": shape for name, shape in transformer_shapes(s).items()}
        flat |= affine("linear_prob_head", 2, s.codes + 1 + s.classes)
    tensors = {name: random_tensor(name, torch.Size(shape), generator) for name, shape in flat.items()}
    for name in tensors:
        for alias in aliases(name):
            tensors[alias] = tensors[name]
    return tensors


def aliases(name):
    """The other names of the tensor `name`, where `name` is the first one."""
    part, kind = name.rsplit(".", 1)
    module = part.removesuffix(".group_norm.gn")
    if part == "ScoreNet.groupnorm1.gn":
        return [f"ScoreNet.score_pred_net.4.gn.{kind}"]
    if module == part:
        return []
    if module == "ScoreNet":
        return [f"ScoreNet.classifier.1.gn.{kind}"]
    if "res_block" in module:
        return [f"{module}.conv_module.{index}.gn.{kind}" for index in (1, 4)]
    return [f"{module}.up.2.gn.{kind}" if "upsize" in module else f"{module}.conv.1.gn.{kind}"]


def as_stage1(flat):
    """What the published stage 1 saves."""
    content = {part: {} for part in STAGE2}
    for name, value in flat.items():
        part, rest = name.split(".", 1)
        content[part][rest] = value
    return content | {"OptimizerV_state_dict": {"state": {}, "param_groups": [{"lr": 5e-5, "params": [0]}]}}


def as_stage2(flat):
    """What the published stage 2 saves."""
    return {
        f"{STAGE2.get(part, part)}.{rest}": v for (part, rest), v in ((n.split(".", 1), v) for n, v in flat.items())
    }


# ---------------------------------------------------------------------------------------------------- forward passes


class Published:
    """Forward passes on a flat file, in evaluation mode."""

    def __init__(self, flat, sizes, heads=4):
        self.t, self.s, self.heads = flat, sizes, heads

    def double(self):
        """The same in float64."""
        return Published({name: value.double() for name, value in self.t.items()}, self.s, self.heads)

    def conv(self, name, x, **options):
        return F.conv3d(x, self.t[f"{name}.weight"], self.t[f"{name}.bias"], **options)

    def norm(self, name, x, groups=8):
        return F.group_norm(x, groups, self.t[f"{name}.weight"], self.t[f"{name}.bias"], eps=1e-6)

    def linear(self, name, x):
        return F.linear(x, self.t[f"{name}.weight"], self.t[f"{name}.bias"])

    def residual(self, name, x, act):
        y = act(self.norm(f"{name}.group_norm.gn", self.conv(f"{name}.conv_module.0", x, padding=1)))
        return x + act(self.norm(f"{name}.group_norm.gn", self.conv(f"{name}.conv_module.3", y, padding=1)))

    def features(self, x):
        """Volume to the features that are quantised."""

        def act(y):
            return F.leaky_relu(y, 0.2)

        for number in range(1, len(self.s.channels) + 1):
            stride = 1 if number == len(self.s.channels) else 2
            x = self.conv(f"Encoder.conv{number}.conv.0", x, stride=stride, padding=1)
            x = act(self.norm(f"Encoder.conv{number}.group_norm.gn", x))
            x = self.residual(f"Encoder.res_block{number}", x, act)
        return self.conv("preV_conv.conv", x)

    def codes(self, z):
        """Nearest code of every normalised feature, by Euclidean distance."""
        unit = z / z.norm(dim=1, keepdim=True)
        distances = (
            (unit.unsqueeze(1) - self.t["Codebook.embedding.weight"][None, :, :, None, None, None]).pow(2).sum(2)
        )
        return distances.argmin(1)

    def decode(self, codes):
        """Codes to a volume."""
        latent = self.t["Codebook.embedding.weight"][codes].permute(0, 4, 1, 2, 3)
        x = self.conv("postV_conv.conv", latent)
        for number in range(len(self.s.channels) - 1, 0, -1):
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = self.conv(f"Decoder.upsize{number}.up.1", x, padding=1)
            x = F.relu(self.norm(f"Decoder.upsize{number}.group_norm.gn", x))
            x = self.residual(f"Decoder.res_block{number}", x, F.relu)
        return torch.tanh(self.conv("Decoder.final_conv", x))

    def importance(self, z):
        """Score map and class logits."""
        normed = F.layer_norm(z, z.shape[1:])
        score = F.relu(self.conv("ScoreNet.score_pred_net.1", normed, padding=1))
        score = self.norm("ScoreNet.groupnorm1.gn", self.conv("ScoreNet.score_pred_net.3", score), groups=1).sigmoid()
        hidden = self.linear("ScoreNet.classifier.0", (normed * score).flatten(1))
        hidden = F.relu(self.norm("ScoreNet.group_norm.gn", hidden, groups=32))
        return score, self.linear("ScoreNet.classifier.4", hidden)

    def layer_norm(self, name, x):
        return F.layer_norm(x, x.shape[-1:], self.t[f"{name}.weight"], self.t[f"{name}.bias"])

    def split(self, name, x):
        """(B, T, width) to (B, heads, T, head width)."""
        return self.linear(name, x).view(*x.shape[:2], self.heads, -1).transpose(1, 2)

    def token_logits(self, labels, tokens):
        """Logits of all tokens, from the class token and the tokens before each."""
        class_tokens = self.s.codes + 1 + labels
        inputs = torch.cat([class_tokens[:, None], tokens[:, :-1]], 1)
        length = inputs.shape[1]
        x = self.t["transformer.tok_emb.weight"][inputs] + self.t["transformer.pos_emb"][:, :length]
        for layer in range(self.s.layers):
            block = f"transformer.blocks.{layer}"
            y = self.layer_norm(f"{block}.ln1", x)
            q, k, v = (self.split(f"{block}.attn.{name}", y) for name in ("query", "key", "value"))
            weights = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5
            hidden = self.t[f"{block}.attn.mask"][:, :, :length, :length] == 0
            weights = weights.masked_fill(hidden, float("-inf")).softmax(-1)
            x = x + self.linear(f"{block}.attn.proj", (weights @ v).transpose(1, 2).flatten(2))
            y = F.gelu(self.linear(f"{block}.mlp.0", self.layer_norm(f"{block}.ln2", x)))
            x = x + self.linear(f"{block}.mlp.2", y)
        return F.linear(self.layer_norm("transformer.ln_f", x), self.t["transformer.head.weight"])
