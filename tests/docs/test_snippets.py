"""The Python of the documentation runs, and the files that it shows train and sample in the place of the shipped parts."""

import re
from pathlib import Path

import matplotlib
import matplotlib.figure
import numpy as np
import pytest
import torch
from documents import blocks, files
from front import TINY_VQGAN, tumorgen
from generated_folder import write_generated
from held import blobs, real_of, volumes_of
from stage2 import QUIET, fit, transformer
from toy import blob

import tumorgen as tumorgen_package
from tumorgen.evaluation.listed import listed_metrics
from tumorgen.methods.loading import load_method
from tumorgen.methods.vqgan.module import VQGAN
from tumorgen.nn.draws import Draws

SMALL_CNN = "tumorgen.classifier.networks.SmallCNN"

PROGRAMS = [block for block in blocks("python") if not block.title]


@pytest.mark.parametrize("block", PROGRAMS, ids=lambda block: block.page)
def test_python_runs_and_shows_tumours(block, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown: list[matplotlib.figure.Figure] = []
    monkeypatch.setattr(pyplot, "show", lambda: shown.append(pyplot.gcf()))
    assert len([line for line in block.text.splitlines() if line.strip()]) <= 10
    exec(compile(block.text, block.page, "exec"), {})
    images = [image.get_array() for axis in shown[0].axes for image in axis.images]
    assert [axis.get_title() for axis in shown[0].axes] == ["LGG", "HGG"]
    assert [image.shape for image in images] == [(16, 16)] * 2
    assert not (images[0] == images[1]).all()
    pyplot.close("all")


def test_files_have_names_of_their_own() -> None:
    titles = [block.title for block in files()]
    assert len(set(titles)) == len(titles) > 4
    assert all(re.fullmatch(r"[a-z_]+\.(py|yaml)", title) for title in titles)


def test_the_quantiser_trains(here: Path, tmp_path: Path) -> None:
    sizes = ["--model.quantizer.bits", "4", "--model.quantizer.code_dim", "8"]
    words = ["--config", TINY_VQGAN, "--config", "sign.yaml", *sizes, "--runs_dir", tmp_path, "--run_id", "run", *QUIET]
    assert tumorgen("fit", *words) == 0
    assert (tmp_path / "vqgan-sign" / "run" / "checkpoints" / "last.ckpt").is_file()


def test_the_quantiser_keeps_the_contract(here: Path) -> None:
    from sign_quantizer import SignQuantizer

    quantizer = SignQuantizer(bits=4, code_dim=8)
    z = torch.randn(2, 8, 3, 3, 3, requires_grad=True)
    latent, codes, commitment = quantizer(z)
    assert torch.equal(latent, quantizer.decode(codes))
    assert len(codes.unique()) > 8
    (latent.sum() + commitment).backward()
    assert z.grad is not None
    assert z.grad.abs().min() > 0


def test_the_masking_trains(here: Path, tmp_path: Path) -> None:
    run = fit(tmp_path, "--model.masking", "block_masking.BlockMasking", "--model.masking.share", "0.5")
    assert (run / "checkpoints" / "last.ckpt").is_file()


def test_the_masking_masks_a_box(here: Path) -> None:
    from block_masking import BlockMasking

    masked, replaced = BlockMasking(share=0.5).choose(torch.zeros(3, 64), (4, 4, 4), Draws([0, 1, 2]))
    assert masked.sum(1).tolist() == [8] * 3
    assert not replaced.any()
    assert len({tuple(row.tolist()) for row in masked}) > 1


def test_the_sampler_samples(here: Path, tmp_path: Path) -> None:
    words = ["--config", "experiments/sample.yaml", "--ckpt_path", transformer(), "--data.counts", "{LGG: 2, HGG: 1}"]
    words += ["--model.sampler", "cooling.Cooling", "--model.sampler.last", "0.7", "--output.folder", tmp_path / "out"]
    assert tumorgen("predict", *words, "--trainer.accelerator", "cpu", "--runs_dir", tmp_path, *QUIET) == 0
    assert "Cooling" in (tmp_path / "out" / "manifest.json").read_text()
    assert len(list((tmp_path / "out").glob("*/*.nii.gz"))) == 3


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six patients of each class, with two scans each."""
    place = tmp_path_factory.mktemp("arrays")
    for label, name in enumerate(("HGG", "LGG")):
        (place / name).mkdir()
        for number in range(12):
            np.save(place / name / f"{name}{number // 2}_{number % 2}.npy", blob(label, 16, number)[0].numpy())
    return place


def test_the_data_module_goes_through_every_command(here: Path, arrays: Path, tmp_path: Path) -> None:
    data = {"root": arrays, "roi_size": 16, "spacing": 8.0, "folds": 3, "batch_size": 4}

    def typed(prefix: str, **more: object) -> list[object]:
        options = [word for key, value in {**data, **more}.items() for word in (f"{prefix}.{key}", value)]
        return [prefix, "array_data.ArrayDataModule", *options]

    assert tumorgen("prepare", *typed("--data"), "--export", tmp_path / "real") == 0
    assert len(list((tmp_path / "real").glob("*/*.nii.gz"))) == 24
    runs = ["--runs_dir", tmp_path, "--trainer.max_epochs", 1, "--trainer.accelerator", "cpu", *QUIET]
    for fold in range(3):
        words = ["--config", TINY_VQGAN, *typed("--data", fold=fold), *runs, "--run_id", f"fold{fold}"]
        assert tumorgen("fit", *words, "--trainer.limit_train_batches", 1) == 0
        origin = load_method(tmp_path / "tiny" / f"fold{fold}" / "checkpoints" / "last.ckpt", VQGAN).origin
        assert (origin.fold, len(origin.patients)) == (fold, 7), "of twelve, four are tested on and one validates"
        write_generated(tmp_path / f"made{fold}", origin, spacing=8.0)
    network = ["--model", "tumorgen.classifier.module.GradeClassifier", "--model.network", SMALL_CNN]
    mixed = ["--data", "data_modules.synthetic.MixedDataModule", *typed("--data.real", fold=1)]
    words = [*network, *mixed, "--data.generated", tmp_path / "made{fold}", *runs, "--experiment", "mixed"]
    assert tumorgen("fit", *words) == 0
    brief = [
        "--budget.steps",
        2,
        "--budget.pretraining_steps",
        2,
        "--budget.validation_checks",
        1,
        "--hardware.accelerator",
        "cpu",
    ]
    words = [
        *network,
        *typed("--data"),
        "--generated",
        f'{{made: "{tmp_path}/made{{fold}}"}}',
        "--seeds",
        "[0]",
        *brief,
    ]
    words += ["--arms", "[real_only, mixed]", "--output", tmp_path / "benchmark", "--resamples", 20]
    assert tumorgen("benchmark", *words) == 0
    assert "mixed" in (tmp_path / "benchmark" / "table.md").read_text()


def test_the_metric_measures(here: Path) -> None:
    """As `evaluate` does it: listed in a YAML; a softer rim is found."""
    metric, _ = listed_metrics(Path("metrics.yaml"))
    made = blobs(500, 6)
    inside = torch.cat(made) > -0.9
    soft = torch.where(inside & (inside.float().roll(1, 2) == 0), -0.8, torch.cat(made)).split(6)
    measure = metric.prepare(real_of(blobs(0, 8), blobs(1000, 8)))
    hard, faded = (measure(volumes_of(some)) for some in (made, soft))
    assert [record.group["class"] for record in hard] == ["LGG", "HGG", "pooled"]
    for one, other in zip(hard, faded, strict=True):
        assert one.floor is not None
        assert one.floor.low < one.value < one.floor.high
        assert other.value < one.floor.low
        assert one.interval is not None
        assert one.interval.low < one.value < one.interval.high


def test_the_method_trains_and_samples(here: Path, tmp_path: Path) -> None:
    runs = ["--runs_dir", tmp_path, "--trainer.accelerator", "cpu", *QUIET]
    assert tumorgen("fit", "--config", "mean_tumour.yaml", "--data", "toy.ToyDataModule", "--run_id", "run", *runs) == 0
    checkpoint = tmp_path / "mean-tumour" / "run" / "checkpoints" / "best.ckpt"
    words = [
        "--config",
        "experiments/sample.yaml",
        "--ckpt_path",
        checkpoint,
        "--data.counts",
        "{LGG: 3, HGG: 3}",
        *runs,
    ]
    assert tumorgen("predict", *words, "--trust", "mean_tumour", "--output.folder", tmp_path / "out") == 0
    volumes = list((tmp_path / "out").glob("*/*.nii.gz"))
    assert len(volumes) == 6
    generator = tumorgen_package.load_generator(checkpoint, trust="mean_tumour", shift=0)
    still = generator.sample_classes(["LGG", "HGG"], seeds=[0, 1])
    real = [torch.stack([blob(label, 16, 2 * i + label) for i in range(4)]).mean(0) for label in (0, 1)]
    assert (still - torch.stack(real)).abs().mean() < 0.1
