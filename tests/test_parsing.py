"""What every command that reads YAML promises: a new class starts afresh, `${...}` is resolved."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from front import ROOT, TINY_TRANSFORMER, TINY_VQGAN, only_run, read_yaml, tumorgen
from jsonargparse import Namespace
from stage2 import PARALLEL, transformer

from data_modules.errors import InputError
from tumorgen.cli import TumorgenCLI

STAGE1 = ("--config", TINY_VQGAN)
COOL = "{model: {init_args: {sampler: {init_args: {temperature: 0.5}}, masking: {init_args: {corrupted_only: false}}}}}"
SCHEDULED = "tumorgen.methods.transformer.masking.ScheduledMasking"
STAGE2 = ("--config", TINY_TRANSFORMER, "--model.tokenizer", "tokenizer.ckpt")


class UnderstoodError(Exception):
    """Carries what was parsed out of the command line."""


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`parsed("fit", ...)`: the configuration that the words give."""

    def stop(cli: TumorgenCLI) -> None:
        raise UnderstoodError(cli.config)

    def parse(*words: object) -> Namespace:
        with monkeypatch.context() as patch:
            patch.setattr(TumorgenCLI, "_parse_ckpt_path", stop)
            with pytest.raises(UnderstoodError) as caught:
                TumorgenCLI([str(word) for word in words])
        return caught.value.args[0]

    return parse


def overlay(folder: Path, **model: Any) -> tuple[str, Path]:
    """Options that add a YAML with these constructor arguments of the model."""
    path = folder / "overlay.yaml"
    path.write_text(yaml.safe_dump({"model": {"init_args": model}}))
    return "--config", path


# ---------------------------------------------------------------------- a new class starts afresh


CHANGES = [
    # in the YAML num_codes 16, code_dim 8; by default beta 1.0
    (STAGE1, "quantizer", "newcomers.SignQuantizer", {"code_dim": 6, "beta": 0.25}),
    (STAGE1, "quantizer", "tumorgen.methods.vqgan.quantizers.fsq.FSQQuantizer", {"code_dim": 128, "levels": [8, 8, 8]}),
    # the default optimizer's learning rate is 5e-5 there, that of the YAML 1e-3 here
    (STAGE1, "optimizer", "torch.optim.AdamW", {"lr": 1e-3, "weight_decay": 0.01}),
    (STAGE2, "optimizer", "tumorgen.nn.optimizers.GANAdam", {"lr": 5e-5, "beta1": 0.5, "beta2": 0.9}),
    ((*STAGE2, "--config", COOL), "sampler", PARALLEL, {"temperature": 1.0, "steps": 12}),
    ((*STAGE2, "--config", COOL), "masking", SCHEDULED, {"corrupted_only": True}),
]


@pytest.mark.parametrize(("base", "option", "chosen", "expected"), CHANGES, ids=lambda value: str(value)[-24:])
@pytest.mark.parametrize("way", ["typed", "as JSON", "by overlay", "by a short overlay"])
def test_a_new_class_starts_from_its_own_defaults(
    base: tuple[object, ...],
    option: str,
    chosen: str,
    expected: dict[str, Any],
    way: str,
    parsed: Any,
    tmp_path: Path,
) -> None:
    words = {
        "typed": (f"--model.{option}", chosen),
        "as JSON": (f"--model.{option}", f'{{"class_path": "{chosen}"}}'),
        "by overlay": overlay(tmp_path, **{option: {"class_path": chosen}}),
        "by a short overlay": overlay(tmp_path, **{option: chosen}),
    }[way]
    section = parsed("fit", *base, *words).model.init_args[option]
    assert section.class_path.endswith(chosen)
    assert {name: section.init_args[name] for name in expected} == expected


def test_what_is_written_for_the_new_class_counts(parsed: Any, tmp_path: Path) -> None:
    sign = {"class_path": "newcomers.SignQuantizer", "init_args": {"beta": 0.5}}
    words = [*STAGE1, *overlay(tmp_path, quantizer=sign), "--model.quantizer.code_dim", 5]
    section = parsed("fit", *words).model.init_args.quantizer
    assert (section.init_args.beta, section.init_args.code_dim) == (0.5, 5)
    # the same class again changes one option and keeps the others
    words += ["--model.quantizer", '{"class_path": "newcomers.SignQuantizer", "init_args": {"code_dim": 7}}']
    with pytest.raises(InputError, match=r"--model\.quantizer\.code_dim: stands before --model\.quantizer, which"):
        parsed("fit", *words)
    del words[-4:-2]
    section = parsed("fit", *words).model.init_args.quantizer
    assert (section.init_args.beta, section.init_args.code_dim) == (0.5, 7)


def test_a_new_data_module_starts_afresh(parsed: Any) -> None:
    words = [*STAGE1, "--data.batch_size", 5, "--data.roi_size", 32]
    assert parsed("fit", *words).data.init_args.batch_size == 5
    words = ["--config", ROOT / "experiments/classifier.yaml", "--data", "toy.ToyDataModule"]
    assert parsed("fit", *words).data.init_args.batch_size == 4, "8 was written for another class"


def test_a_new_sampler_takes_nothing_from_the_checkpoint_s(parsed: Any) -> None:
    words = [
        "--ckpt_path",
        transformer(),
        "--data",
        "data_modules.request.SamplingRequest",
        "--data.counts",
        "{LGG: 1}",
    ]
    remembered = parsed("predict", *words).model.init_args.sampler
    assert remembered.class_path.endswith("CachedAutoregressive")
    warm = parsed("predict", *words, "--model.sampler", "newcomers.WarmSampler").model.init_args.sampler
    assert warm.init_args.temperature == 1.5, "that of the checkpoint's sampler is 1.0"


# ---------------------------------------------------------------------- interpolation


REFERENCES = """
experiment: exp-${trainer.max_steps}-${oc.env:TUMORGEN_TEST_WORD}-${seed_everything}
trainer:
  max_steps: ${oc.env:TUMORGEN_TEST_STEPS}
  log_every_n_steps: ${trainer.max_steps}
data:
  init_args:
    count: ${data.init_args.batch_size}
"""


@pytest.fixture
def references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A YAML full of references."""
    monkeypatch.setenv("TUMORGEN_TEST_WORD", "word")
    monkeypatch.setenv("TUMORGEN_TEST_STEPS", "2")
    path = tmp_path / "references.yaml"
    path.write_text(REFERENCES)
    return path


def test_references_are_resolved_in_fit(references: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = ["--wandb.mode", "disabled", "--runs_dir"]
    assert tumorgen("fit", *STAGE1, "--config", references, *quiet, tmp_path / "runs") == 0
    run = only_run("exp-2-word-0", tmp_path / "runs")
    config = read_yaml(run / "config.yaml")
    assert "${" not in (run / "config.yaml").read_text()
    assert (config["trainer"]["max_steps"], config["trainer"]["log_every_n_steps"]) == (2, 2)
    assert config["data"]["init_args"]["count"] == 4
    # the written configuration is complete: it runs without the environment
    monkeypatch.delenv("TUMORGEN_TEST_STEPS")
    assert tumorgen("fit", "--config", run / "config.yaml", *quiet, tmp_path / "again") == 0
    again = read_yaml(only_run("exp-2-word-0", tmp_path / "again") / "config.yaml")
    assert {**again, "runs_dir": None} == {**config, "runs_dir": None}
    assert tumorgen("prepare", "--config", run / "config.yaml") == 0, "every command takes it"


def test_typed_options_are_referred_to_and_refer(parsed: Any, references: Path) -> None:
    words = [*STAGE1, "--config", references, "--trainer.max_steps", 6]
    assert parsed("fit", *words).experiment == "exp-6-word-0"
    words += ["--model.quantizer.num_codes", "${trainer.max_steps}", "--experiment", "e${model.init_args.roi_size}"]
    config = parsed("fit", *words)
    assert (config.model.init_args.quantizer.init_args.num_codes, config.experiment) == (6, "e128")


def test_references_are_resolved_in_predict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUMORGEN_TEST_CKPT", str(transformer()))
    monkeypatch.setenv("TUMORGEN_TEST_COUNT", "2")
    experiment = {
        "experiment": "${output.folder}-${data.init_args.seed}",
        "ckpt_path": "${oc.env:TUMORGEN_TEST_CKPT}",
        "data": {
            "class_path": "data_modules.request.SamplingRequest",
            "init_args": {"counts": {"LGG": "${oc.env:TUMORGEN_TEST_COUNT}"}},
        },
        "output": {"folder": "drawn"},
        "wandb": {"mode": "disabled"},
    }
    (tmp_path / "sample.yaml").write_text(yaml.safe_dump(experiment))
    monkeypatch.chdir(tmp_path)
    assert tumorgen("predict", "--config", "sample.yaml") == 0
    assert len(list(Path("drawn/LGG").glob("*.nii.gz"))) == 2
    assert "${" not in (only_run("drawn-0") / "config.yaml").read_text()


def test_references_are_resolved_in_prepare(tiny_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUMORGEN_TEST_SIDE", "16")
    data = {
        "class_path": "data_modules.brats.BraTSDataModule",
        "init_args": {"roi_size": "${oc.env:TUMORGEN_TEST_SIDE}", "folds": 2, "cache_dir": "${runs_dir}/cache"},
    }
    experiment = {"data": data, "runs_dir": str(tmp_path), "experiment": "x-${trainer.max_steps}"}
    (tmp_path / "e.yaml").write_text(yaml.safe_dump({**experiment, "trainer": {"max_steps": 2}}))
    assert tumorgen("prepare", "--config", tmp_path / "e.yaml", "--data.root", tiny_cohort) == 0
    assert len(list(tmp_path.glob("cache/flair-16-*/rois/*.npy"))) == 8


@pytest.mark.parametrize(
    ("reference", "said"),
    [("${trainer.max_step}", "'trainer.max_step' not found"), ("${oc.env:TUMORGEN_NOT_SET}", "TUMORGEN_NOT_SET")],
)
def test_references_to_nothing_get_one_line(
    reference: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tumorgen("fit", *STAGE1, "--experiment", reference, "--runs_dir", tmp_path) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tumorgen: error")]
    assert "experiment" in line
    assert said in line
    assert tumorgen("predict", "--ckpt_path", reference, "--runs_dir", tmp_path) == 2
    line = capsys.readouterr().err
    assert line.startswith("tumorgen: error: ckpt_path: ")
    assert said in line
