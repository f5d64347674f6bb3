"""`tumorgen import-checkpoint`: imported networks against a plain restatement of the published ones, and what is refused."""

import hashlib
import json
from functools import partial
from pathlib import Path

import nibabel as nib
import pytest
import torch
from front import TINY_TRANSFORMER, only_run, tumorgen
from published_forward import (
    STAGE2,
    Published,
    Sizes,
    as_stage1,
    as_stage2,
    random_file,
    tokenizer_shapes,
    transformer_shapes,
)
from torch import nn

from data_modules.origin import Origin
from tumorgen.methods.loading import load_method, read_checkpoint
from tumorgen.methods.published.convert import assemble, empty_networks, not_taken, tokenizer_parts
from tumorgen.methods.published.sizes import read_layout
from tumorgen.methods.published.tensors import check_shapes, flatten
from tumorgen.methods.transformer.module import MaskedTransformer
from tumorgen.methods.transformer.network import TokenTransformer
from tumorgen.methods.vqgan.module import VQGAN
from tumorgen.methods.vqgan.tokenizer import FrozenTokenizer, read_tokenizer

GOLDEN = Path(__file__).parents[1] / "golden" / "published_checkpoint_keys.json"
# 32^3 voxels, 2^3 tokens, and more positions than tokens, as in a published file with 1024 codes
SMALL = Sizes((8, 8, 16, 16, 24), width=8, codes=12, hidden=64, grid=2, layers=2, embedding=16, positions=12)
HEADS = 4

close = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-9)
close_volumes = partial(
    torch.testing.assert_close, rtol=1e-6, atol=1e-6, check_dtype=False
)  # the decoder ends in float32


def imported(folder: Path, flat: dict, stage: int, *words: object) -> Path:
    """The checkpoint that the command makes of a file with these tensors."""
    torch.save(as_stage1(flat) if stage == 1 else as_stage2(flat), folder / "published.pt")
    assert tumorgen("import-checkpoint", folder / "published.pt", "--output", folder / "out.ckpt", *words) == 0
    return folder / "out.ckpt"


@pytest.fixture(scope="module")
def stage1(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Published]:
    flat = random_file(SMALL, 1)
    return imported(tmp_path_factory.mktemp("one"), flat, 1), Published(flat, SMALL)


@pytest.fixture(scope="module")
def stage2(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Published]:
    flat = random_file(SMALL, 2, seed=1)
    path = imported(tmp_path_factory.mktemp("two"), flat, 2, "--heads", HEADS, "--spacing", 1.5)
    return path, Published(flat, SMALL, HEADS)


@pytest.fixture
def volume() -> torch.Tensor:
    return torch.rand((2, 1, 32, 32, 32), generator=torch.Generator().manual_seed(2)) * 2 - 1


def refused(capsys: pytest.CaptureFixture[str], content: object, folder: Path, *words: object) -> str:
    """The one line about a file with this content; nothing is written."""
    torch.save(content, folder / "published.pt")
    capsys.readouterr()
    assert tumorgen("import-checkpoint", folder / "published.pt", "--output", folder / "out.ckpt", *words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert not (folder / "out.ckpt").exists()
    return said


# ------------------------------------------------------------------ all names and shapes


def test_the_restatement_has_the_published_names_and_shapes() -> None:
    golden = json.loads(GOLDEN.read_text())
    found = {part: {k: list(v) for k, v in shapes.items()} for part, shapes in tokenizer_shapes(Sizes()).items()}
    assert found == golden["stage1"]
    assert golden["stage2_prefixes"] == {ours: part for part, ours in STAGE2.items()}
    block = golden["stage2_transformer_block_i (prefix transformer.blocks.<0..23>.)"]
    expected = golden["stage2_transformer"] | {f"blocks.{i}.{k}": v for i in range(24) for k, v in block.items()}
    assert {k: list(v) for k, v in transformer_shapes(Sizes()).items()} == expected
    assert golden["stage2_linear_prob_head (unused)"] == {"weight": [2, 515], "bias": [2]}


def published_shapes(stage: int) -> dict[str, torch.Tensor]:
    """A file of the published sizes out of the recorded names and shapes, without memory."""
    golden = json.loads(GOLDEN.read_text())
    shapes = {f"{part}.{k}": v for part, section in golden["stage1"].items() for k, v in section.items()}
    if stage == 2:
        block = golden["stage2_transformer_block_i (prefix transformer.blocks.<0..23>.)"]
        shapes |= {f"transformer.{k}": v for k, v in golden["stage2_transformer"].items()}
        shapes |= {f"transformer.blocks.{i}.{k}": v for i in range(24) for k, v in block.items()}
        shapes |= {f"linear_prob_head.{k}": v for k, v in golden["stage2_linear_prob_head (unused)"].items()}
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


@pytest.mark.parametrize("stage", [1, 2])
def test_every_tensor_of_the_published_size_has_its_place(stage: int) -> None:
    flat = published_shapes(stage)
    file = flatten(as_stage1(flat) if stage == 1 else as_stage2(flat), "published.pt")
    assert file.stage == stage
    layout = read_layout(file)
    assert sorted(name for row in layout.rows for name in row.published) == sorted(file.tensors), (
        "each one exactly once"
    )
    assert layout.sizes.roi_size == 128
    assert layout.sizes.num_codes == 512
    facts = {"class_names": ["LGG", "HGG"], "roi_size": 128}
    parts = tokenizer_parts(layout.sizes)
    check_shapes(layout.rows, file, empty_networks(file, layout, facts, parts))
    state = assemble(file, layout, parts)
    with torch.device("meta"):
        vqgan = VQGAN(**facts, **{name: partial(part, **options) for name, (part, options) in parts.items()})
        assert sum(p.numel() for p in vqgan.model.encoder.parameters()) == 25_156_384
        expected = vqgan.state_dict()
        if stage == 2:
            expected = {f"tokenizer.{k}": v for k, v in FrozenTokenizer(vqgan).state_dict().items()}
            network = TokenTransformer(515, 512, **layout.network)
            expected |= {f"network.{k}": v for k, v in network.state_dict().items()}
            assert sum(p.numel() for p in network.parameters()) == 303_890_432
    assert {k: (v.shape, v.dtype) for k, v in state.items()} == {k: (v.shape, v.dtype) for k, v in expected.items()}
    unused = {"attention of": 12, "counters": 4, "attention masks": 24, "linear probe": 2, "classifier": 8}
    found = {next(key for key in unused if why.startswith(key)): n for why, n in not_taken(file, layout).items()}
    assert found == (unused if stage == 2 else {"attention of": 12, "counters": 4})


# ------------------------------------------------------------------ values


def test_the_imported_tokenizer_computes_what_the_published_one_does(stage1, volume) -> None:
    path, published = stage1
    model = load_method(path, VQGAN)
    codes = published.codes(published.features(volume))
    assert len(codes.unique()) > 2, "a file that uses one code would prove little"
    with torch.no_grad():
        assert torch.equal(model.encode(volume).codes, codes)
        torch.testing.assert_close(model(volume), published.decode(codes), rtol=1e-3, atol=1e-4)
        # The quantiser is float32 whatever happens; all else is compared in float64, where rounding hides nothing
        model, published, volume = model.double(), published.double(), volume.double()
        z = published.features(volume)
        score, logits = published.importance(z)
        close(model.model.pre_quantizer(model.model.encoder(volume)), z)
        close(model.model.importance(z).scores, score)
        close(model.model.importance(z).logits, logits)
        close_volumes(model.decode(codes), published.decode(codes))
    assert published.decode(codes).std() > 0.05


def test_the_imported_transformer_computes_what_the_published_one_does(stage2, volume) -> None:
    path, published = stage2
    model = load_method(path, MaskedTransformer)
    labels, tokens = (
        torch.tensor([0, 1]),
        torch.randint(0, SMALL.codes, (2, 8), generator=torch.Generator().manual_seed(0)),
    )
    with torch.no_grad():
        found, scores = model.tokenizer.encode(volume)
        z = published.features(volume)
        assert torch.equal(found, published.codes(z).flatten(1))
        torch.testing.assert_close(scores, published.importance(z)[0].flatten(1), rtol=1e-4, atol=1e-5)
        logits = model.network.token_logits(model.vocabulary.condition(labels), tokens)
        torch.testing.assert_close(logits, published.token_logits(labels, tokens), rtol=1e-4, atol=1e-5)
        # The logits end in float32, so what is before them is compared in float64
        hidden = model.network.double().norm.register_forward_hook(lambda *call: setattr(model, "seen", call[2]))
        model.network.token_logits(model.vocabulary.condition(labels), tokens)
        hidden.remove()
        published = published.double()
        close(model.network.head(model.seen), published.token_logits(labels, tokens))
        close_volumes(model.tokenizer.double().decode(tokens), published.decode(tokens.view(2, 2, 2, 2)))
    assert (model.class_names, model.roi_size, model.spacing) == (("LGG", "HGG"), 32, 1.5)
    assert model.network.position_embedding.shape == (8, 16)


def test_the_transformer_brings_its_own_codebook(stage2) -> None:
    path, published = stage2
    tokenizer, section = read_tokenizer(path)
    assert torch.equal(tokenizer.model.quantizer.codebook, published.t["Codebook.embedding.weight"])
    assert tokenizer.spacing == 1.5
    assert section["origin"]["unknown"] is True


def test_the_codebook_is_not_initialised_again(stage1, volume) -> None:
    model = load_method(stage1[0], VQGAN)
    assert bool(model.model.quantizer.initialised)
    model.model.quantizer.train()
    before = model.model.quantizer.codebook.clone()
    model.model.quantizer(model.model.pre_quantizer(model.model.encoder(volume)).detach())
    assert (model.model.quantizer.codebook * before).sum(1).min() > 0.9, "codes drift, they do not jump"


def test_a_new_discriminator_is_the_same_every_time(tmp_path: Path, stage1) -> None:
    first = torch.load(stage1[0], weights_only=True)["state_dict"]
    torch.manual_seed(123)
    again = torch.load(imported(tmp_path, random_file(SMALL, 1), 1), weights_only=True)["state_dict"]
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert first["discriminator.levels.0.0.weight"].std() > 0.01


# ------------------------------------------------------------------ what the file says of itself


def test_the_checkpoint_says_where_it_comes_from(stage1) -> None:
    path, _ = stage1
    source = path.with_name("published.pt")
    stated = read_checkpoint(path)["tumorgen"]
    assert stated["imported"] is True
    assert stated["source"] == {
        "file": "published.pt",
        "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "stage": 1,
    }
    assert load_method(path, VQGAN).origin == Origin(unknown=True)


def test_the_command_says_what_it_took(tmp_path: Path, capsys) -> None:
    path = imported(tmp_path, random_file(SMALL, 1), 1)
    said = capsys.readouterr().out.splitlines()
    total = sum(len(shapes) for shapes in tokenizer_shapes(SMALL).values())
    assert f"stage 1 of the published code: {total - 16} tensors taken, 16 ignored" in said
    assert "  ignored: state of the optimizer" in said
    assert "tokenizer: 32^3 voxels, 2^3 tokens, 12 codes of width 8, channels 8, 8, 16, 16, 24" in said
    assert said[-1] == str(path)


def test_other_classes_need_names(tmp_path: Path, capsys) -> None:
    flat = random_file(Sizes(**{**vars(SMALL), "classes": 3}), 1)
    assert "tells 3 classes apart, found LGG, HGG" in refused(capsys, as_stage1(flat), tmp_path)
    assert "expected 3 different names" in refused(capsys, as_stage1(flat), tmp_path, "--class_names", "[a, b, b]")
    path = imported(tmp_path, flat, 1, "--class_names", "[A, B, C]")
    assert load_method(path, VQGAN).class_names == ("A", "B", "C")


# ------------------------------------------------------------------ used like any other checkpoint


def test_imported_checkpoints_train_and_sample_like_others(stage1, stage2, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    quiet = ["--wandb.mode", "disabled", "--trainer.accelerator", "cpu"]
    data = ["--data", "toy.ToyDataModule", "--data.roi_size", 32, "--data.spacing", 1, "--data.count", 4]
    words = ["--config", TINY_TRANSFORMER, *data, "--model.tokenizer", stage1[0], "--trainer.max_epochs", 1]
    assert tumorgen("fit", *words, *quiet) == 0
    trained = load_method(only_run("tiny-transformer") / "checkpoints/last.ckpt", MaskedTransformer)
    assert torch.equal(trained.tokenizer.model.quantizer.codebook, stage1[1].t["Codebook.embedding.weight"])
    assert trained.origin.unknown, "those behind the tokenizer stay unknown"
    assert len(trained.origin.patients) == 4
    request = ["--data", "data_modules.request.SamplingRequest", "--data.counts", "{LGG: 1, HGG: 1}"]
    words = ["--ckpt_path", stage2[0], *request, "--output.folder", tmp_path / "volumes"]
    assert tumorgen("predict", *words, *quiet) == 0
    assert nib.load(tmp_path / "volumes/HGG/HGG_0001.nii.gz").shape == (32, 32, 32)
    manifest = json.loads((tmp_path / "volumes/manifest.json").read_text())
    assert manifest["origin"]["unknown"] is True


# ------------------------------------------------------------------ what is refused


def test_missing_and_unknown_tensors_are_all_listed(tmp_path: Path, capsys) -> None:
    flat = random_file(SMALL, 2)
    for name in ("Encoder.conv5.conv.0.weight", "transformer.blocks.1.attn.key.bias", "Codebook.embedding.weight"):
        del flat[name]
    flat |= {"transformer.extra": torch.zeros(1), "Decoder.res_block9.x": torch.zeros(1)}
    said = refused(capsys, as_stage2(flat), tmp_path)
    assert (
        "3 missing: vqgan_encoder.conv5.conv.0.weight, codebook.embedding.weight, transformer.blocks.1.attn.key.bias."
        in (said.replace("; 2 unknown", ". 2 unknown"))
    )
    assert "2 unknown: transformer.extra, vqgan_decoder.res_block9.x" in said


def test_a_missing_part_and_what_is_no_tensor_are_listed(tmp_path: Path, capsys) -> None:
    content = as_stage1(random_file(SMALL, 1))
    del content["preV_conv"]
    content["epoch"] = 7
    content["Decoder"]["final_conv.bias"] = "none"
    said = refused(capsys, content, tmp_path)
    assert "2 missing: preV_conv.conv.weight, preV_conv.conv.bias; 1 unknown: epoch" in said
    assert "1 no tensors: Decoder.final_conv.bias" in said


@pytest.mark.parametrize(
    ("stage", "name", "value", "message"),
    [
        (1, "Encoder.conv2.conv.0.bias", torch.zeros(9), r"Encoder.conv2.conv.0.bias is (9,), expected (8,)"),
        (1, "Encoder.conv2.conv.0.weight", torch.zeros(9, 8, 4, 4, 4), "make no network of tumorgen"),
        (1, "Encoder.conv2.conv.0.weight", torch.zeros(8, 8), "is (8, 8), expected 5 dimensions"),
        (1, "ScoreNet.classifier.0.weight", torch.zeros(32, 72), "72 inputs, expected the code width 8 times a cube"),
        (2, "transformer.head.weight", torch.zeros(14, 16), "transformer.head.weight is (14, 16), expected (15, 16)"),
        (2, "transformer.blocks.0.attn.key.bias", torch.zeros(8), "attn.key.bias is (8,), expected (16,)"),
        (2, "transformer.pos_emb", torch.zeros(1, 7, 16), "7 positions for 8 tokens"),
        (2, "transformer.pos_emb", torch.zeros(12, 16), "expected 3 dimensions"),
        (2, "transformer.pos_emb", torch.zeros(1, 12, 8), "expected (1, positions, 16)"),
    ],
)
def test_wrong_shapes_are_refused(stage, name, value, message, tmp_path: Path, capsys) -> None:
    flat = random_file(SMALL, stage) | {name: value}
    assert message in refused(capsys, as_stage1(flat) if stage == 1 else as_stage2(flat), tmp_path)


@pytest.mark.parametrize(
    ("stage", "name", "value", "message"),
    [
        (
            1,
            "Encoder.res_block3.conv_module.4.gn.bias",
            torch.zeros(16),
            "Encoder.res_block3.group_norm.gn.bias and Encoder.res_block3.conv_module.4.gn.bias",
        ),
        (
            2,
            "ScoreNet.groupnorm1.gn.weight",
            torch.zeros(1),
            "score_net.groupnorm1.gn.weight and score_net.score_pred_net.4.gn.weight",
        ),
        (1, "Codebook.embedding.weight", torch.zeros(12, 8), "12 of 12 codes in Codebook.embedding.weight"),
        (1, "Codebook.embedding.weight", torch.full((12, 8), torch.nan), "are not of length 1"),
        (
            2,
            "transformer.blocks.1.attn.mask",
            torch.ones(1, 1, 12, 12),
            "not causal in transformer.blocks.1.attn.mask;",
        ),
    ],
)
def test_values_that_contradict_the_published_network_are_refused(
    stage, name, value, message, tmp_path, capsys
) -> None:
    flat = random_file(SMALL, stage) | {name: value}
    assert message in refused(capsys, as_stage1(flat) if stage == 1 else as_stage2(flat), tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list; expected a checkpoint of the published code"),
        ({"state_dict": {}, "epoch": 3}, "holds state_dict, epoch, ...; expected"),
        ({"hyper_parameters": {}, "state_dict": {}}, "nothing is to be imported"),
        ({"Encoder": nn.Linear(1, 1)}, "would run code when it is loaded (it calls torch.nn.modules.linear.Linear)"),
    ],
)
def test_other_files_are_refused(content, message, tmp_path: Path, capsys) -> None:
    assert message in refused(capsys, content, tmp_path)


def test_files_of_other_kinds_and_old_formats(tmp_path: Path, capsys) -> None:
    (tmp_path / "text.pt").write_text("hello")
    for name, message in (("text.pt", "not readable"), ("none.pt", "no such file"), (".", "no such file")):
        assert tumorgen("import-checkpoint", tmp_path / name, "--output", tmp_path / "out.ckpt") == 2
        assert message in capsys.readouterr().err
    flat = random_file(SMALL, 1)
    torch.save(as_stage1(flat), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert tumorgen("import-checkpoint", tmp_path / "old.pt", "--output", tmp_path / "out.ckpt") == 0
    load_method(tmp_path / "out.ckpt", VQGAN)


def test_nothing_is_overwritten_unasked(tmp_path: Path, capsys) -> None:
    path = imported(tmp_path, random_file(SMALL, 1), 1)
    before = path.read_bytes()
    words = ["import-checkpoint", tmp_path / "published.pt", "--output"]
    torch.save(as_stage1(random_file(SMALL, 1, seed=5)), tmp_path / "published.pt")
    assert tumorgen(*words, path) == 2
    assert "already there" in capsys.readouterr().err
    assert tumorgen(*words, tmp_path / "published.pt", "--overwrite") == 2
    assert "is the file to be imported" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert tumorgen(*words, path, "--overwrite") == 0
    assert path.read_bytes() != before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--heads", 4], "tokenizer (stage 1) and has no attention heads"),
        (["--heads", 0], "--heads is 0"),
        (["--spacing", 0], "--spacing is 0.0"),
        (["--spacing", ".inf"], "--spacing is inf"),
        (["--class_nams", "A,B"], "class_nams"),
    ],
)
def test_options_that_do_not_fit_are_refused(words, message, tmp_path: Path, capsys) -> None:
    assert message in refused(capsys, as_stage1(random_file(SMALL, 1)), tmp_path, *words)


def test_heads_that_do_not_divide_the_width_are_refused(tmp_path: Path, capsys) -> None:
    said = refused(capsys, as_stage2(random_file(SMALL, 2)), tmp_path, "--heads", 3)
    assert "width 16 cannot have 3 heads" in said
