"""Stage 2 in training: what the loss counts, what stays frozen, what is remembered, what is reported."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from front import ROOT, TINY_TRANSFORMER, read_yaml
from stage2 import PARALLEL, tokenizer
from stage2_probes import FixedData, FrozenCheck
from tiny import merged
from torch import Tensor
from torch.nn import functional as F
from toy import TOY_KEY, Blobs, ToyDataModule

from data_modules.errors import InputError
from data_modules.origin import Origin
from tumorgen.methods.loading import build
from tumorgen.methods.transformer.held_out import TokenMetrics
from tumorgen.methods.transformer.module import MaskedTransformer

PUBLISHED_DRAWS = ("index_proportional_draws", "exclude_slice_changes", "raster_neighbours", "fill_in_raster_order")
NETWORK = {
    "class_path": "tumorgen.methods.transformer.network.TokenTransformer",
    "init_args": {"layers": 1, "heads": 2, "width": 16},
}
SCHEDULED = {
    "class_path": "tumorgen.methods.transformer.masking.ScheduledMasking",
    "init_args": {"corrupted_only": True},
}
RANDOM = {"class_path": "tumorgen.methods.transformer.masking.RandomMasking", "init_args": {"mask_ratio": 0.25}}


def tiny(path: Path | None = None, causal: bool = True, **arguments: Any) -> MaskedTransformer:
    torch.manual_seed(0)
    network = {**NETWORK, "init_args": {**NETWORK["init_args"], "causal": causal}}
    arguments = {"tokenizer": str(path or tokenizer()), "network": network, **arguments}
    return build("tumorgen.methods.transformer.module.MaskedTransformer", arguments, MaskedTransformer)


class Changing(ToyDataModule):
    """Blobs that are augmented."""

    augmentation = staticmethod(torch.clone)


def train(model: MaskedTransformer, data: ToyDataModule, epochs: int = 2, **options: Any) -> L.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    trainer = L.Trainer(max_epochs=epochs, accelerator="cpu", enable_checkpointing=False, **quiet, **options)
    torch.manual_seed(0)
    trainer.fit(model, data)
    return trainer


@pytest.fixture
def batch() -> dict[str, Any]:
    items = Blobs(4, 16, 50).items
    return {
        "volume": torch.stack([item["volume"] for item in items]),
        "label": torch.tensor([item["label"] for item in items]),
        "case": [item["case"] for item in items],
    }


def loss_and_log(model: MaskedTransformer, batch: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
    logged: dict[str, Tensor] = {}
    model.log = lambda name, value, **_: logged.update({name: value})
    model._augmentation_off = lambda: False
    torch.manual_seed(7)
    return model.training_step(batch, 0), logged


# ---------------------------------------------------------------------- the step


def test_sizes_and_names_are_the_tokenizer_s() -> None:
    model = tiny()
    assert (model.class_names, model.roi_size, model.spacing) == (("LGG", "HGG"), 16, 8.0)
    assert (model.vocabulary.num_codes, model.vocabulary.size) == (16, 19)
    assert model.network.length == 64
    assert tiny(class_dropout=0.1).vocabulary.size == 20, "one token more for 'no class'"


def test_the_loss_is_the_cross_entropy_of_all_original_tokens(batch: dict[str, Any]) -> None:
    model = tiny(masking=RANDOM)
    loss, logged = loss_and_log(model, batch)
    tokens, scores = model.tokenizer.encode(batch["volume"])
    torch.manual_seed(7)
    corrupted = model.masking(tokens, scores, (4, 4, 4), model.vocabulary, model.draws(batch, "mask"))
    inputs = torch.cat([batch["label"][:, None] + 17, corrupted.inputs[:, :-1]], dim=1)
    entropy = F.cross_entropy(model.network(inputs).flatten(0, 1), tokens.flatten(), reduction="none").view(4, 64)
    assert loss.item() == pytest.approx(entropy.mean().item(), rel=1e-6)
    assert logged["train/loss"].item() == logged["train/cross_entropy"].item() == loss.item()
    at_corrupted = entropy[corrupted.positions]
    assert at_corrupted.numel() == 4 * 16
    assert logged["train/cross_entropy_corrupted"].item() == pytest.approx(at_corrupted.mean().item(), rel=1e-6)
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.network.parameters())
    assert all(parameter.grad is None for parameter in model.tokenizer.parameters())


def test_the_bidirectional_loss_counts_corrupted_tokens_only(batch: dict[str, Any]) -> None:
    model = tiny(causal=False, masking=SCHEDULED, sampler={"class_path": PARALLEL})
    loss, logged = loss_and_log(model, batch)
    assert loss.item() == logged["train/cross_entropy_corrupted"].item()
    assert loss.item() != logged["train/cross_entropy"].item()


@pytest.mark.parametrize(("dropout", "shares"), [(0.0, {0.0}), (0.5, {0.25, 0.5, 0.75}), (0.999999, {1.0})])
def test_class_dropout_withholds_the_class(batch: dict[str, Any], dropout: float, shares: set[float]) -> None:
    model, seen = tiny(class_dropout=dropout), []
    forward = model.network.token_logits
    model.network.token_logits = lambda condition, tokens: seen.append(condition[:, 0]) or forward(condition, tokens)
    loss_and_log(model, batch)
    dropped = seen[0] == 19
    assert dropped.float().mean().item() in shares
    assert torch.equal(seen[0][~dropped], (batch["label"] + 17)[~dropped])


def test_parts_that_do_not_belong_together_are_refused_before_training() -> None:
    # jsonargparse wraps what a constructor raises; the command line unwraps it again
    with pytest.raises(ValueError, match="ParallelDecoding fills tokens in any order"):
        tiny(sampler={"class_path": PARALLEL})
    with pytest.raises(ValueError, match="CachedAutoregressive samples from left to right"):
        tiny(causal=False, masking=SCHEDULED)
    with pytest.raises(ValueError, match=r"corrupted_only is false, .* copy the intact tokens"):
        tiny(causal=False, sampler={"class_path": PARALLEL})
    with pytest.raises(ValueError, match="class_dropout is 1"):
        tiny(class_dropout=1.0)


@pytest.mark.parametrize(
    ("overlay", "masking", "options"),
    [
        ("bidirectional", "ScheduledMasking", {"corrupted_only": True}),
        ("masking_top_k_0", "TemporalAgnosticMasking", {"top_k_ratio": 0.0}),
        ("masking_top_k_25", "TemporalAgnosticMasking", {"top_k_ratio": 0.25}),
        ("masking_top_k_50", "TemporalAgnosticMasking", {"top_k_ratio": 0.5}),
        ("paper_transformer", "TemporalAgnosticMasking", dict.fromkeys(PUBLISHED_DRAWS, True)),
    ],
)
def test_overlays_say_what_their_names_say(overlay: str, masking: str, options: dict[str, Any]) -> None:
    changes = read_yaml(ROOT / "experiments" / "overlays" / f"{overlay}.yaml")["model"]["init_args"]
    base = read_yaml(TINY_TRANSFORMER)["model"]["init_args"] | {"tokenizer": str(tokenizer())}
    model = build("tumorgen.methods.transformer.module.MaskedTransformer", merged(base, changes), MaskedTransformer)
    assert type(model.masking).__name__ == masking
    plain = dict.fromkeys(PUBLISHED_DRAWS, False) if masking.startswith("Temporal") else {}
    found = {name: value for name, value in vars(model.masking).items() if name in {**plain, **options}}
    assert found == {**plain, **options}
    bidirectional = overlay == "bidirectional"
    assert model.network.causal is not bidirectional
    assert model.vocabulary.unconditional is bidirectional
    assert type(model.sampler).__name__ == ("ParallelDecoding" if bidirectional else "CachedAutoregressive")
    assert model.class_dropout == (0.1 if bidirectional else 0.0)


def test_the_published_optimiser_is_the_default() -> None:
    model = tiny()
    trainer = train(model, FixedData(), epochs=1)
    optimizer = trainer.optimizers[0]
    assert type(optimizer).__mro__[1] is torch.optim.AdamW
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.0]
    assert optimizer.param_groups[0]["initial_lr"] == 4.5e-6
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.95)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-8), "the cosine has arrived"
    owned = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert owned == {id(parameter) for parameter in model.network.parameters()}


# ---------------------------------------------------------------------- tokens


def test_the_tokenizer_stays_frozen_over_epochs() -> None:
    model = tiny()
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    train(model, ToyDataModule(), callbacks=[FrozenCheck()])
    assert any(not torch.equal(value, before[name]) for name, value in model.network.state_dict().items())


@pytest.mark.parametrize(("data", "volumes"), [(FixedData(), 8 + 4), (Changing(), 3 * 8 + 4)])
def test_tokens_are_computed_once_where_volumes_stay_as_they_are(data: ToyDataModule, volumes: int) -> None:
    model, encoded = tiny(), []
    encode = model.tokenizer.encode
    model.tokenizer.encode = lambda volume: encoded.append(len(volume)) or encode(volume)
    train(model, data, epochs=3)
    assert sum(encoded) == volumes


def test_remembered_tokens_are_the_computed_ones(batch: dict[str, Any]) -> None:
    model = tiny()
    tokens, scores = model.tokenizer.encode(batch["volume"])
    for order in ([0, 1], [3, 2, 1, 0], [2, 0]):
        part = {"volume": batch["volume"][order], "label": None, "case": [batch["case"][i] for i in order]}
        known, known_scores = model.tokenize(part, remember=True)
        assert torch.equal(known, tokens[order])
        torch.testing.assert_close(known_scores, scores[order], rtol=1e-5, atol=1e-6)


def test_cases_met_in_validation_first_can_be_trained_on() -> None:
    """Lightning validates in inference mode, whose tensors cannot take part in a backward pass."""
    train(tiny(), FixedData(same=True), epochs=1, val_check_interval=1)


# ---------------------------------------------------------------------- figures


def test_figures_are_means_over_positions_by_kind_and_class() -> None:
    torch.manual_seed(0)
    figures, rows = TokenMetrics(("LGG", "HGG", "none")), []
    for size in (3, 2):
        logits, tokens = torch.randn(size, 10, 5), torch.randint(4, (size, 10))
        corrupted, labels = torch.rand(size, 10) < 0.4, torch.randint(2, (size,))
        figures.update(logits, tokens, corrupted, labels)
        for i in range(size):
            for j in range(10):
                entropy = -logits[i, j].log_softmax(0)[tokens[i, j]].item()
                hit = float(logits[i, j].argmax() == tokens[i, j])
                rows.append((("LGG", "HGG")[labels[i]], bool(corrupted[i, j]), entropy, hit))
    expected = {}
    for kind, wanted in (("corrupted", True), ("intact", False)):
        for group in ("", "_LGG", "_HGG"):
            chosen = [row for row in rows if row[1] == wanted and group in ("", f"_{row[0]}")]
            expected[f"cross_entropy_{kind}{group}"] = sum(row[2] for row in chosen) / len(chosen)
            expected[f"accuracy_{kind}{group}"] = sum(row[3] for row in chosen) / len(chosen)
    found = {name: value.item() for name, value in figures.compute().items()}
    assert found == pytest.approx(expected, rel=1e-5), "and nothing of a class that was not seen"


def test_validation_corrupts_the_same_way_every_time(batch: dict[str, Any]) -> None:
    model = tiny()
    tokens, scores = model.tokenizer.encode(batch["volume"])
    state = torch.get_rng_state()
    first, again = (model.corrupt(tokens, scores, batch["case"]) for _ in range(2))
    other = model.corrupt(tokens, scores, [f"other {case}" for case in batch["case"]])
    alone = model.corrupt(tokens[:1], scores[:1], batch["case"][:1])
    assert torch.equal(first.inputs, again.inputs)
    assert torch.equal(first.inputs[:1], alone.inputs), "whatever batch a case is in"
    assert not torch.equal(first.masked, other.masked)
    assert torch.equal(state, torch.get_rng_state())


# ---------------------------------------------------------------------- what belongs together


def test_patients_are_chained_from_the_tokenizer() -> None:
    model = tiny()
    train(model, FixedData(count=10), epochs=1, limit_train_batches=1)
    earlier = Origin.of_checkpoint(torch.load(tokenizer(), weights_only=True))
    assert earlier == Origin("toy", 0, TOY_KEY.hashes(f"blob{i:04d}" for i in range(8)))
    assert model.origin == Origin("toy", 0, TOY_KEY.hashes(f"blob{i:04d}" for i in range(10)))
    # a run that goes on with fewer cases has still seen the others
    checkpoint: dict[str, Any] = {}
    model.on_save_checkpoint(checkpoint)
    again = tiny()
    again.on_load_checkpoint(checkpoint)
    train(again, FixedData(count=2), epochs=1, limit_train_batches=1)
    again.on_load_checkpoint(checkpoint)
    assert again.origin == model.origin


@pytest.mark.parametrize("stored", [{}, {"origin": Origin(unknown=True).to_json()}])
def test_unknown_patients_of_a_tokenizer_stay_unknown(tmp_path: Path, stored: dict[str, Any]) -> None:
    checkpoint = torch.load(tokenizer(), weights_only=True)
    checkpoint["tumorgen"] = stored
    torch.save(checkpoint, tmp_path / "imported.ckpt")
    model = tiny(tmp_path / "imported.ckpt")
    train(model, FixedData(), epochs=1, limit_train_batches=1)
    saved: dict[str, Any] = {}
    model.on_save_checkpoint(saved)
    for origin in (model.origin, Origin.of_checkpoint(saved)):
        assert origin.unknown
        assert len(origin.patients) == 8


def test_a_tokenizer_that_has_seen_held_out_patients_is_refused() -> None:
    data = FixedData()
    data.setup("fit")
    data.setup = lambda stage: setattr(data, "test", data.train)
    with pytest.raises(InputError, match="what this MaskedTransformer is built on: 8 of the 8 test patients"):
        train(tiny(), data, epochs=1)


def test_rounded_weights_are_not_trained() -> None:
    model = tiny(bfloat16_sampling=True)
    train(model, FixedData(), epochs=1)
    assert {value.dtype for value in model.network.state_dict().values()} == {torch.float32}
    model.prepare_sampling()
    assert {value.dtype for value in model.network.state_dict().values()} == {torch.bfloat16}
    with pytest.raises(RuntimeError, match="rounded to bfloat16"):
        train(model, FixedData(), epochs=1)
