"""How the parts of the VQGAN train together: what each step changes, what is logged, what the options do."""

from typing import Any

import lightning as L
import pytest
import torch
from front import ROOT, TINY_VQGAN, read_yaml, tumorgen
from tiny import FSQ, equal, gradients_of, merged, tiny_vqgan, train, values_of
from torch import Tensor, nn
from toy import Blobs, ToyDataModule

from data_modules.errors import InputError
from tumorgen.methods.loading import build
from tumorgen.methods.vqgan.module import VQGAN
from tumorgen.methods.vqgan.objective import GeneratorTerms
from tumorgen.metrics.reconstruction import ReconstructionMetrics
from tumorgen.nn.mri_features import MRIFeatures
from tumorgen.pretrained.weights import MRI_FEATURES, write_weights

NO_DROPOUT = {"init_args": {"dropout": 0.0}}


def objective(**weights: float) -> dict[str, Any]:
    return {"class_path": "tumorgen.methods.vqgan.objective.VQGANObjective", "init_args": weights}


def generator_side(model: VQGAN) -> nn.ModuleDict:
    parts = {name: part for name, part in model.named_children() if name not in ("discriminator", "held_out")}
    return nn.ModuleDict(parts)


@pytest.fixture(scope="module")
def curve() -> list[dict[str, Tensor]]:
    """Four batches, the discriminator joins at the third."""
    return train(tiny_vqgan(), epochs=2)[1]


# ---------------------------------------------------------------------- the two steps


def test_every_term_is_logged_by_name_and_finite(curve: list[dict[str, Tensor]]) -> None:
    expected = {*GeneratorTerms._fields, "adaptive_weight", "importance_accuracy", "total", "voxels_per_second"}
    assert {name.removeprefix("train/") for name in curve[0]} == expected
    assert {name.removeprefix("train/") for name in curve[-1]} >= expected | {"discriminator"}
    for step in curve:
        for name, value in step.items():
            assert value.isfinite(), name
    assert all(step["train/voxels_per_second"] > 0 for step in curve)


def test_the_total_is_the_weighted_sum_of_what_is_logged(curve: list[dict[str, Tensor]]) -> None:
    for step in curve:
        value = {name.removeprefix("train/"): float(figure) for name, figure in step.items()}
        reconstruction = (
            4 * value["pixel"]
            + value["perceptual"]
            + value["commitment"]
            + 4 * value["feature_matching"]
            + 4 * value["image_gradient"]
            + value["adaptive_weight"] * value["adversarial"]
        )
        assert value["total"] == pytest.approx(0.8 * reconstruction + 0.2 * value["importance"], rel=1e-5)


def test_the_adversarial_terms_join_at_their_share_of_the_run(curve: list[dict[str, Tensor]]) -> None:
    late = ("train/adversarial", "train/feature_matching", "train/adaptive_weight")
    for name in late:
        assert [bool(step[name] != 0) for step in curve] == [False, False, True, True], name
    assert [("train/discriminator" in step) for step in curve] == [False, False, True, True]
    assert all(0 < step["train/adaptive_weight"] <= 1 for step in curve[2:])


def test_published_feature_matching_is_there_from_the_start() -> None:
    model = tiny_vqgan(objective=objective(feature_matching_from_start=True))
    before = values_of(model.discriminator)
    _, steps = train(model, limit_train_batches=1, epochs=2)
    assert steps[0]["train/feature_matching"] > 0
    assert steps[0]["train/adaptive_weight"] == 0
    assert not equal(before, values_of(model.discriminator)), "the second of the two batches trains it"


class DiscriminatorDiary(L.Callback):
    """The discriminator's weights after every batch."""

    def __init__(self) -> None:
        self.pages: list[dict[str, Tensor]] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.pages.append(values_of(pl_module.discriminator))

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self.pages.append(values_of(pl_module.discriminator))


def test_the_discriminator_does_not_move_before_it_starts() -> None:
    diary = DiscriminatorDiary()
    train(tiny_vqgan(), epochs=2, callbacks=(diary,))
    changed = [not equal(a, b) for a, b in zip(diary.pages, diary.pages[1:], strict=False)]
    assert changed == [False, False, True, True]


def test_each_side_leaves_the_other_alone() -> None:
    """Over two accumulated batches, so that gradients of both sides are there to be spoilt."""
    model = tiny_vqgan(discriminator_start=0.0, compute={"accumulate_batches": 2})
    inner_generator, inner_discriminator = model._generator_step, model._discriminator_step
    seen = []

    def generator_step(*arguments: Any) -> Tensor:
        own, other = values_of(generator_side(model)), values_of(model.discriminator)
        gradients = gradients_of(model.discriminator)
        result = inner_generator(*arguments)
        assert equal(other, values_of(model.discriminator))
        assert equal(gradients, gradients_of(model.discriminator))
        assert not result.requires_grad
        seen.append(("generator", equal(own, values_of(generator_side(model)))))
        return result

    def discriminator_step(*arguments: Any) -> None:
        own, other = values_of(model.discriminator), values_of(generator_side(model))
        gradients = gradients_of(generator_side(model))
        inner_discriminator(*arguments)
        assert equal(other, values_of(generator_side(model)))
        assert equal(gradients, gradients_of(generator_side(model)))
        if len(seen) == 1:
            assert any(gradient is not None for gradient in gradients.values()), "nothing there that could be spoilt"
            assert all(gradient is not None for gradient in gradients_of(model.discriminator).values())
        seen.append(("discriminator", equal(own, values_of(model.discriminator))))

    model._generator_step, model._discriminator_step = generator_step, discriminator_step
    train(model)
    assert [name for name, _ in seen] == ["generator", "discriminator"] * 2
    assert [same for name, same in seen if name == "discriminator"] == [True, False], "steps with the second batch only"
    assert all(parameter.requires_grad for parameter in model.parameters()), "both sides are switched back on"


def test_every_parameter_of_both_sides_learns() -> None:
    model = tiny_vqgan(discriminator_start=0.0)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    train(model, epochs=2)
    # before the score map's own normalisation a shift is lost; in the linear part of the hinge, real and fake cancel
    idle = {"importance.score.2.bias", "discriminator.final.bias"}
    still = {name for name, parameter in model.named_parameters() if torch.equal(parameter, before[name])}
    assert still <= idle


# ---------------------------------------------------------------------- accumulation, clipping, schedules


class GradientDiary(L.Callback):
    """Gradients that each optimizer steps with, before clipping."""

    def __init__(self) -> None:
        self.pages: list[list[Tensor]] = []

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Any) -> None:
        groups = optimizer.param_groups
        self.pages.append([p.grad.clone() for group in groups for p in group["params"] if p.grad is not None])


def distance(a: list[Tensor], b: list[Tensor]) -> float:
    """Of two gradients, as a share of their length. A change of the weights by 1e-7 already gives 1e-4."""
    assert len(a) == len(b) > 5
    x, y = (torch.cat([part.flatten() for part in parts]) for parts in (a, b))
    return float((x - y).norm() / x.norm())


def test_two_accumulated_halves_have_the_gradients_of_the_whole() -> None:
    """Left out because they depend on the composition of a batch by nature: moving codes, dropout, the adaptive weight."""
    pages = []
    for batch_size, accumulate in ((4, 1), (2, 2)):
        diary = GradientDiary()
        model = tiny_vqgan(
            quantizer=FSQ,
            importance=NO_DROPOUT,
            discriminator_start=0.0,
            objective=objective(adversarial=0.0),
            compute={"accumulate_batches": accumulate, "clip_gradients": None},
        )
        # the discriminator sees the reconstructions of the same generator in both: its steps come last
        _, steps = train(model, count=4, batch_size=batch_size, callbacks=(diary,))
        assert len(steps) == accumulate
        pages.append(diary.pages)
    assert [len(page) for page in pages] == [2, 2]
    generator, _ = zip(*pages, strict=True)
    assert distance(*generator) < 1e-3


def test_accumulated_discriminator_gradients_are_those_of_the_whole() -> None:
    pages = []
    for batch_size, accumulate in ((4, 1), (2, 2)):
        diary = GradientDiary()
        frozen = {"class_path": "tumorgen.nn.optimizers.GANAdam", "init_args": {"lr": 0.0}}
        model = tiny_vqgan(
            quantizer=FSQ, discriminator_start=0.0, optimizer=frozen, compute={"accumulate_batches": accumulate}
        )
        train(model, count=4, batch_size=batch_size, callbacks=(diary,))
        pages.append(diary.pages[1])
    assert distance(*pages) < 1e-3


def test_an_incomplete_group_at_the_end_of_an_epoch_steps_too() -> None:
    diary = GradientDiary()
    model = tiny_vqgan(discriminator_start=0.0, compute={"accumulate_batches": 2})
    trainer, steps = train(model, count=6, batch_size=2, epochs=2, callbacks=(diary,))
    assert len(steps) == 6
    assert len(diary.pages) == 2 * 2 * 2, "two sides, two epochs, two steps each"
    assert model.updates == 6
    for config in trainer.lr_scheduler_configs:
        assert config.scheduler.last_epoch == config.scheduler.steps == 4, "the schedule ends with the run, not before"
        assert config.scheduler.get_last_lr() == [pytest.approx(3e-7)]


@pytest.mark.parametrize("limit", [1e-4, None])
def test_gradients_are_clipped_by_value_for_each_side(limit: float | None) -> None:
    model = tiny_vqgan(discriminator_start=0.0, compute={"clip_gradients": limit})
    inner, largest = model.on_before_optimizer_step, []

    def measured(optimizer: Any) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        before = [p.grad.clone() for p in parameters]
        inner(optimizer)
        for gradient, parameter in zip(before, parameters, strict=True):
            expected = gradient if limit is None else gradient.clamp(-limit, limit)
            assert torch.equal(parameter.grad, expected)
        largest.append(max(float(gradient.abs().max()) for gradient in before))

    model.on_before_optimizer_step = measured
    train(model)
    assert len(largest) == 4
    assert min(largest) > 1e-4, "nothing was there to clip"


def test_both_learning_rates_fall_over_the_whole_run() -> None:
    trainer, _ = train(tiny_vqgan(), epochs=2)
    assert [config.name for config in trainer.lr_scheduler_configs] == [
        "learning_rate/generator",
        "learning_rate/discriminator",
    ]
    for config in trainer.lr_scheduler_configs:
        assert config.scheduler.base_lrs == [5e-5]
        assert config.scheduler.steps == 4
        assert config.scheduler.get_last_lr() == [pytest.approx(3e-7)]


def test_steps_end_a_run_as_planned() -> None:
    """`max_steps` counts the steps of both optimizers, and the discriminator joins late."""
    model = tiny_vqgan(discriminator_start=0.5)
    trainer, steps = train(model, epochs=100, max_steps=12)
    assert trainer.global_step == 12
    assert model.total_batches == len(steps) == 8, "4 batches of one step, then 4 of two"
    assert trainer.lr_scheduler_configs[0].scheduler.get_last_lr() == [pytest.approx(3e-7)]


# ---------------------------------------------------------------------- arithmetic


def test_bf16_agrees_with_fp32_and_keeps_the_codebook_in_fp32(curve: list[dict[str, Tensor]]) -> None:
    model = tiny_vqgan()
    _, steps = train(model, epochs=2, precision="bf16-mixed")
    assert model.model.quantizer.codebook.dtype == torch.float32
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    torch.testing.assert_close(model.model.quantizer.codebook.norm(dim=1), torch.ones(16))
    for name in ("total", "pixel", "image_gradient", "importance"):
        assert float(steps[0][f"train/{name}"]) == pytest.approx(float(curve[0][f"train/{name}"]), rel=0.05), name
    assert all(value.isfinite() for step in steps for value in step.values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="16-mixed needs a GPU")
@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed"])
def test_mixed_precision_on_a_gpu(precision: str) -> None:
    model = tiny_vqgan(discriminator_start=0.25)
    trainer = L.Trainer(
        max_epochs=4, accelerator="gpu", devices=1, precision=precision, logger=False, enable_checkpointing=False
    )
    trainer.fit(model, ToyDataModule())
    assert model.model.quantizer.codebook.dtype == torch.float32
    assert all(value.isfinite().all() for value in model.state_dict().values() if value.is_floating_point())


def first_gradients(compute: dict[str, Any]) -> list[list[Tensor]]:
    """Gradients of generator and discriminator in the first batch; k-means would turn rounding into other codes."""
    diary = GradientDiary()
    model = tiny_vqgan(quantizer=FSQ, discriminator_start=0.0, compute={"clip_gradients": None, **compute})
    train(model, limit_train_batches=1, callbacks=(diary,))
    return diary.pages


@pytest.mark.parametrize(
    # PyTorch's GroupNorm in channels_last on a CPU takes variances as differences of squares: 20 times the rounding
    ("compute", "rounding"),
    [({"channels_last": False}, 1e-2), ({"checkpoint_levels": 2}, 1e-5)],
    ids=["contiguous", "recomputed"],
)
def test_options_of_speed_and_memory_do_not_change_the_result(compute: dict[str, Any], rounding: float) -> None:
    for plain, changed in zip(first_gradients({}), first_gradients(compute), strict=True):
        assert distance(plain, changed) < rounding


@pytest.mark.parametrize("channels_last", [True, False])
def test_channels_last_reaches_weights_and_volumes(channels_last: bool) -> None:
    model = tiny_vqgan(compute={"channels_last": channels_last})
    weight = model.model.encoder.levels[1][0][0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last_3d) is channels_last
    volume = torch.zeros(2, 3, 4, 4, 4)
    assert model._layout(volume).is_contiguous(memory_format=torch.channels_last_3d) is channels_last


def test_checkpointed_levels_are_computed_twice() -> None:
    counts = []
    for levels in (0, 1):
        model, calls = tiny_vqgan(compute={"checkpoint_levels": levels}), []
        # before, since recomputation stops inside the level, with the last tensor that is needed
        model.model.encoder.levels[0].register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        train(model, limit_train_batches=1)
        counts.append(len(calls))
    assert counts == [1, 2]


def test_compile_compiles_the_three_large_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, *_, **__: compiled.append(self))
    train(tiny_vqgan(), limit_train_batches=1)
    assert compiled == []
    model = tiny_vqgan(compute={"compile": True})
    train(model, limit_train_batches=1)
    assert [id(part) for part in compiled] == [
        id(model.model.encoder),
        id(model.model.decoder),
        id(model.discriminator),
    ]


# ---------------------------------------------------------------------- parts that are exchanged


def test_fsq_has_no_commitment_and_trains() -> None:
    model = tiny_vqgan(quantizer=FSQ)
    before = model.model.quantizer.project_in.weight.detach().clone()
    _, steps = train(model)
    assert all(step["train/commitment"] == 0 for step in steps)
    assert not torch.equal(before, model.model.quantizer.project_in.weight)
    assert model.model.quantizer.num_codes == model.training_codes.num_codes == 16


MRI = {"class_path": "tumorgen.methods.vqgan.perceptual.MRIPerceptual"}


def test_the_perceptual_term_enters_and_stays_out_of_the_checkpoint(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUMORGEN_CACHE", str(tmp_path))
    torch.manual_seed(0)
    write_weights(MRI_FEATURES, MRIFeatures().state_dict(), {})
    losses = []
    for weight in (1.0, 3.0):
        model = tiny_vqgan(perceptual=MRI, objective=objective(perceptual=weight))
        _, steps = train(model, limit_train_batches=1)
        assert steps[0]["train/perceptual"] > 0
        assert not any("perceptual" in name for name in model.state_dict())
        losses.append({name: float(value) for name, value in steps[0].items()})
    assert losses[0]["train/perceptual"] == pytest.approx(losses[1]["train/perceptual"])
    expected = 0.8 * 2.0 * losses[0]["train/perceptual"]
    assert losses[1]["train/total"] - losses[0]["train/total"] == pytest.approx(expected, rel=1e-3)


def test_missing_perceptual_weights_stop_the_run_and_say_what_to_type(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TUMORGEN_CACHE", str(tmp_path / "empty"))
    words = ["--model.perceptual", MRI["class_path"], "--wandb.mode", "disabled", "--runs_dir", tmp_path / "runs"]
    assert tumorgen("fit", "--config", TINY_VQGAN, *words) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("tumorgen: error: ")
    assert "Type: tumorgen weights " in line
    assert "null" in line


# ---------------------------------------------------------------------- sizes


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("overlays", "encoder", "decoder"),
    [(["overlays/paper.yaml"], 25_156_384, 9_403_713), ([], 25_156_384 + 1_984, 9_403_713 + 960)],
)
def test_published_numbers_of_parameters(overlays: list[str], encoder: int, decoder: int) -> None:
    settings = read_yaml(ROOT / "experiments/vqgan.yaml")
    for overlay in overlays:
        settings = merged(settings, read_yaml(ROOT / "experiments" / overlay))
    with torch.device("meta"):
        model = build(settings["model"]["class_path"], settings["model"].get("init_args", {}), VQGAN)
    assert (count(model.model.encoder), count(model.model.decoder), count(model.discriminator)) == (
        encoder,
        decoder,
        11_049_665,
    )
    assert (model.roi_size, model.model.grid, model.model.quantizer.num_codes, model.model.quantizer.code_dim) == (
        128,
        8,
        512,
        128,
    )


def test_a_share_outside_of_the_run_is_refused() -> None:
    with pytest.raises(InputError, match=r"discriminator_start is -0\.1"):
        VQGAN(discriminator_start=-0.1)


# ---------------------------------------------------------------------- what others call


@pytest.fixture(scope="module")
def trained() -> VQGAN:
    model = tiny_vqgan()
    train(model)
    return model.eval()


def test_encode_then_decode_is_the_forward_pass(trained: VQGAN) -> None:
    x = torch.stack([Blobs(2, 16, 5)[i]["volume"] for i in range(2)])
    with torch.no_grad():
        encoding = trained.encode(x)
        assert encoding.codes.shape == (2, 4, 4, 4)
        assert encoding.scores.shape == (2, 1, 4, 4, 4)
        assert encoding.scores.min() > 0
        assert encoding.scores.max() < 1
        assert torch.equal(trained.decode(encoding.codes), trained(x))
        assert trained(x).abs().max() <= 1


def test_held_out_figures_are_those_of_the_validation_cases(trained: VQGAN) -> None:
    buffers = values_of(trained.model.quantizer)
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    (figures,) = trainer.validate(trained, ToyDataModule(batch_size=3), verbose=False)
    assert equal(buffers, values_of(trained.model.quantizer)), "validation moves no code"
    cases = Blobs(4, 16, 1000)
    x, labels = torch.stack([case["volume"] for case in cases]), torch.tensor([case["label"] for case in cases])
    reference = ReconstructionMetrics()
    with torch.no_grad():
        reference.update(x, trained(x))
        codes = trained.encode(x).codes
        accuracy = (trained.model.importance(trained.model.features(x)).logits.argmax(1) == labels).float().mean()
    for name, value in reference.compute().items():
        assert figures[f"val/{name}"] == pytest.approx(float(value), rel=1e-4), name
    assert figures["val/codebook_usage"] == pytest.approx(len(codes.unique()) / 16)
    for label, name in enumerate(("LGG", "HGG")):
        assert figures[f"val/codebook_usage_{name}"] == pytest.approx(len(codes[labels == label].unique()) / 16)
    assert figures["val/importance_accuracy"] == pytest.approx(float(accuracy))
    assert 0 <= figures["val/importance_auc"] <= 1
