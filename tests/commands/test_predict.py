"""From a checkpoint to new tumours, as the command line and as ten lines of Python."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from front import ROOT, tumorgen
from stage2 import AUTOREGRESSIVE, PARALLEL, bidirectional, fit, tokenizer, transformer

import tumorgen as package
from data_modules.files import sha256
from tumorgen.methods.generator import load_generator
from tumorgen.methods.loading import read_checkpoint
from tumorgen.methods.transformer.module import MaskedTransformer

EXPERIMENT = ROOT / "experiments" / "sample.yaml"
OVERLAYS = ROOT / "experiments" / "overlays"
QUIET = ("--wandb.mode", "disabled")


def predict(folder: Path, checkpoint: Path, *words: object, counts: str = "{LGG: 2, HGG: 3}") -> int:
    """The command of the experiment file, into `folder/samples`."""
    common = ["--config", EXPERIMENT, "--ckpt_path", checkpoint, "--data.counts", counts, "--output.folder"]
    return tumorgen("predict", *common, folder / "samples", "--runs_dir", folder / "runs", *QUIET, *words)


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "samples" / "manifest.json").read_text())


def digests(folder: Path) -> dict[str, str]:
    paths = (folder / "samples").rglob("*.nii.gz")
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tumorgen: error")]
    assert len(lines) == 1
    return lines[0]


# ---------------------------------------------------------------------- the command


def test_the_command_of_the_issue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--config", EXPERIMENT, "--ckpt_path", transformer(), "--data.counts", "{LGG: 2, HGG: 3}"]
    assert tumorgen("predict", *words) == 0
    assert set(digests(tmp_path)) == {
        *(f"samples/LGG/LGG_000{i}.nii.gz" for i in (1, 2)),
        *(f"samples/HGG/HGG_000{i}.nii.gz" for i in (1, 2, 3)),
    }
    written = manifest(tmp_path)
    checkpoint = read_checkpoint(transformer())
    assert written["generators"][0]["checkpoint_sha256"] == sha256(transformer())
    assert written["origin"] == checkpoint["tumorgen"]["origin"] == read_checkpoint(tokenizer())["tumorgen"]["origin"]
    options = {"temperature": 1.0, "top_k": None, "top_p": None}
    assert written["generators"][0]["sampler"] == {
        "class": "CachedAutoregressive", **options, "bfloat16": False, "precision": "32-true"
    }  # fmt: skip
    # what a volume is made of can be had again from the manifest alone
    generator = package.load_generator(transformer())
    for entry in written["volumes"]:
        image = nib.load(tmp_path / "samples" / entry["file"])
        volume = generator.sample_classes([entry["class"]], [entry["seed"]])[0, 0].numpy()
        expected = np.where(volume > -0.9, (volume + 1) / 2, 0).transpose(2, 1, 0)
        assert np.array_equal(image.get_fdata(dtype=np.float32), expected)
        assert image.header.get_zooms() == (8.0, 8.0, 8.0)
        assert nib.aff2axcodes(image.affine) == ("L", "P", "S")


def test_a_killed_command_continues_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert predict(tmp_path / "whole", transformer()) == 0
    sample, calls = MaskedTransformer.sample, []

    def killed(self: MaskedTransformer, labels: torch.Tensor, seeds: list[int]) -> torch.Tensor:
        if len(calls) == 1:
            raise KeyboardInterrupt
        calls.append(seeds)
        return sample(self, labels, seeds)

    monkeypatch.setattr(MaskedTransformer, "sample", killed)
    with pytest.raises(SystemExit):
        predict(tmp_path / "cut", transformer())
    assert 0 < len(digests(tmp_path / "cut")) < 5
    seen: list[list[int]] = []
    monkeypatch.setattr(MaskedTransformer, "sample", lambda self, y, s: seen.append(s) or sample(self, y, s))
    assert predict(tmp_path / "cut", transformer()) == 0
    assert not {seed for seeds in seen for seed in seeds} & {seed for seeds in calls for seed in seeds}
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole")
    assert manifest(tmp_path / "cut") == manifest(tmp_path / "whole")


def test_the_configuration_in_the_run_s_folder_samples_the_same(tmp_path: Path) -> None:
    assert predict(tmp_path / "a", transformer(), "--model.sampler.top_k", 3) == 0
    (config,) = (tmp_path / "a" / "runs" / "samples").glob("*/config.yaml")
    words = ["--config", config, "--output.folder", tmp_path / "b" / "samples", "--runs_dir", tmp_path / "b" / "runs"]
    assert tumorgen("predict", *words, *QUIET) == 0
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert manifest(tmp_path / "a") == manifest(tmp_path / "b")


def test_other_volumes_are_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(tmp_path, transformer()) == 0
    before = digests(tmp_path)
    capsys.readouterr()
    for words in (["--model.sampler.top_k", 3], ["--data.seed", 9], ["--trainer.precision", "bf16-mixed"]):
        assert predict(tmp_path, transformer(), *words) == 2
        assert "--output.overwrite" in refused(capsys)
        assert digests(tmp_path) == before
    assert predict(tmp_path, transformer(), "--data.seed", 9, "--output.overwrite") == 0
    assert {entry["seed"] for entry in manifest(tmp_path)["volumes"]} == {9, 11, 10, 12, 14}
    assert not set(digests(tmp_path).values()) & set(before.values())


# ---------------------------------------------------------------------- who decides


@pytest.fixture(scope="module")
def particular(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that remembers a sampler with options of its own."""
    words = ["--model.sampler.temperature", 0.7, "--model.sampler.top_k", 4, "--trainer.fast_dev_run", "false"]
    return fit(tmp_path_factory.mktemp("particular"), *words) / "checkpoints" / "last.ckpt"


def yaml(folder: Path, sampler: dict[str, Any], **others: Any) -> Path:
    path = folder / "sampler.yaml"
    path.write_text(json.dumps({"model": {"init_args": {"sampler": sampler, **others}}}))
    return path


def test_the_checkpoint_s_sampler_is_the_default(tmp_path: Path, particular: Path) -> None:
    assert predict(tmp_path, particular) == 0
    sampler = manifest(tmp_path)["generators"][0]["sampler"]
    assert (sampler["temperature"], sampler["top_k"], sampler["top_p"]) == (0.7, 4, None)


def test_the_command_line_wins_over_yaml_and_yaml_over_the_checkpoint(tmp_path: Path, particular: Path) -> None:
    config = yaml(tmp_path, {"class_path": AUTOREGRESSIVE, "init_args": {"top_k": 5, "top_p": 0.9}})
    words = ["--config", config, "--model.sampler.top_p", 0.8]
    assert predict(tmp_path, particular, *words) == 0
    sampler = manifest(tmp_path)["generators"][0]["sampler"]
    assert (sampler["temperature"], sampler["top_k"], sampler["top_p"]) == (0.7, 5, 0.8)


def test_options_of_one_sampler_are_not_those_of_another(tmp_path: Path, particular: Path) -> None:
    assert predict(tmp_path, particular, "--model.sampler", "stage2_probes.LikelyCodes") == 0
    assert manifest(tmp_path)["generators"][0]["sampler"]["class"] == "LikelyCodes"
    assert manifest(tmp_path)["generators"][0]["sampler"]["temperature"] == 0.5, (
        "its own default, not the checkpoint's 0.7"
    )


def test_parallel_decoding_is_chosen_on_the_command_line(tmp_path: Path) -> None:
    words = ["--model.sampler", PARALLEL, "--model.sampler.steps", 5, "--model.sampler.guidance_scale", 1.5]
    words += ["--model.sampler.order", "tumorgen.methods.transformer.parallel_decoding.HaltonOrder"]
    assert predict(tmp_path, bidirectional(), *words) == 0
    sampler = manifest(tmp_path)["generators"][0]["sampler"]
    assert (sampler["class"], sampler["steps"], sampler["guidance_scale"]) == ("ParallelDecoding", 5, 1.5)
    assert sampler["order"] == {"class": "HaltonOrder"}


def test_the_architecture_is_the_checkpoint_s(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(tmp_path, transformer(), "--model.network.layers", 7) == 2
    assert "--model.network.layers: the checkpoint's MaskedTransformer is built as it was trained" in refused(capsys)
    # the files of `fit` can be given, for example to `validate`; what was trained stays
    config = tmp_path / "fit.yaml"
    network = {"class_path": "tumorgen.methods.transformer.network.TokenTransformer", "init_args": {"layers": 7}}
    config.write_text(
        json.dumps({"model": {"init_args": {"network": network, "sampler": {"init_args": {"top_k": 2}}}}})
    )
    assert predict(tmp_path, transformer(), "--config", config) == 0
    assert manifest(tmp_path)["generators"][0]["sampler"]["top_k"] == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model.sampler.steps", 3], "option 'steps' is not accepted"),
        (["--model.sampler.top_k", 0], "top_k of the sampler is 0"),
        (["--model.sampler", PARALLEL], "this transformer is causal"),
        (["--data.counts", "{GBM: 1}"], "does not know the class GBM; it was trained on LGG, HGG"),
        (["--output.dtype", "float64"], "float64"),
        (["--model", "tumorgen.methods.vqgan.module.VQGAN"], "expected a tumorgen.methods.vqgan.module.VQGAN"),
        (["--ckpt_path", "nix.ckpt"], "nix.ckpt: no such file"),
    ],
)
def test_what_cannot_be_sampled_gets_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[object], said: str
) -> None:
    capsys.readouterr()
    assert predict(tmp_path, transformer(), *words) == 2
    assert said in refused(capsys)
    assert not (tmp_path / "samples").exists()


def test_a_checkpoint_is_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tumorgen("predict", "--config", EXPERIMENT, "--data.counts", "{LGG: 1}", "--model.sampler.top_k", 3) == 2
    assert "--ckpt_path: `tumorgen predict` needs the checkpoint" in refused(capsys)


def test_validate_takes_the_files_of_fit(tmp_path: Path) -> None:
    words = ["--config", ROOT / "tests/helpers/tiny_transformer.yaml", "--ckpt_path", transformer()]
    assert tumorgen("validate", *words, "--runs_dir", tmp_path, *QUIET) == 0
    (figures,) = tmp_path.rglob("metrics.csv")
    header, values = (line.split(",") for line in figures.read_text().splitlines())
    assert float(dict(zip(header, values, strict=True))["val/cross_entropy_corrupted_LGG"]) > 1


# ---------------------------------------------------------------------- what is sampled


def test_a_checkpoint_samples_alone(tmp_path: Path) -> None:
    copy = Path(shutil.copy(tokenizer(), tmp_path / "vqgan.ckpt"))
    run = fit(tmp_path, "--model.tokenizer", copy)
    copy.unlink()
    assert predict(tmp_path, run / "checkpoints" / "best.ckpt") == 0
    assert len(digests(tmp_path)) == 5


def test_no_two_volumes_of_a_class_are_equal(tmp_path: Path) -> None:
    assert predict(tmp_path, transformer(), "--data.batch_size", 32, counts="{LGG: 32, HGG: 32}") == 0
    assert len(set(digests(tmp_path).values())) == 64


def test_integer_volumes(tmp_path: Path) -> None:
    assert predict(tmp_path, transformer(), "--output.dtype", "int16", counts="{HGG: 1}") == 0
    image = nib.load(tmp_path / "samples/HGG/HGG_0001.nii.gz")
    assert image.get_data_dtype() == np.int16
    volume = load_generator(transformer()).sample_classes(["HGG"], [1])[0, 0].numpy()
    expected = np.rint(1000 * np.where(volume > -0.9, (volume + 1) / 2, 0)).transpose(2, 1, 0)
    assert np.array_equal(np.asarray(image.dataobj), expected)


def test_bfloat16_weights_by_overlay(tmp_path: Path) -> None:
    assert predict(tmp_path, transformer(), "--config", OVERLAYS / "bf16_sampling.yaml") == 0
    assert manifest(tmp_path)["generators"][0]["sampler"]["bfloat16"] is True
    rounded = load_generator(transformer(), bfloat16_sampling=True)
    assert rounded.network.head.weight.dtype == torch.bfloat16
    assert rounded.sample_classes(["LGG"], [0]).dtype == torch.float32
    # the checkpoint is not touched by any of it
    assert read_checkpoint(transformer())["state_dict"]["network.head.weight"].dtype == torch.float32


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("counts", ["{LGG: 2, HGG: 3}", "{HGG: 1}"])
def test_two_processes_share_the_work(tmp_path: Path, counts: str) -> None:
    """In the second case one of them has nothing to sample."""
    assert predict(tmp_path / "one", transformer(), counts=counts) == 0
    words = ["--config", EXPERIMENT, "--ckpt_path", transformer(), "--data.counts", counts, *QUIET]
    words += ["--trainer.accelerator", "cpu", "--trainer.strategy", "ddp", "--trainer.devices", 2]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("TUMORGEN_RUN_ID", None)
    (tmp_path / "two").mkdir()
    command = [sys.executable, "-m", "tumorgen", "predict", *map(str, words)]
    options = {"cwd": tmp_path / "two", "env": environment, "capture_output": True, "text": True}
    done = subprocess.run(command, timeout=240, check=False, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    assert digests(tmp_path / "two") == digests(tmp_path / "one")
    assert manifest(tmp_path / "two") == manifest(tmp_path / "one")
    assert not list((tmp_path / "two" / "samples").glob("manifest.rank*"))


@pytest.mark.slow
def test_memory_stays_flat_over_a_thousand_volumes(tmp_path: Path) -> None:
    """In a process of its own: peak memory after 1000 volumes, against that after 40."""
    script = (
        "import resource, sys; from tumorgen.__main__ import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for count in (20, 500):
        words = ["--config", EXPERIMENT, "--ckpt_path", transformer(), "--runs_dir", tmp_path / f"runs{count}", *QUIET]
        words += ["--data.counts", f"{{LGG: {count}, HGG: {count}}}", "--output.folder", tmp_path / str(count)]
        command = [sys.executable, "-c", script, "predict", *map(str, words)]
        out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=280).stdout
        peaks.append(int(out.split("peak")[1]) / 1024)
        assert len(list((tmp_path / str(count)).rglob("*.nii.gz"))) == 2 * count
    # one volume is 16 KiB: 960 kept ones would be 15 MiB
    assert peaks[1] - peaks[0] < 10, peaks
