"""A checkpoint chooses nothing that its user did not vouch for, in whatever form; what the user wrote trains and samples."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from front import ROOT, TINY_TRANSFORMER, TINY_VQGAN, tumorgen
from stage2 import AUTOREGRESSIVE, PARALLEL, QUIET, fit, tokenizer, transformer

import tumorgen as package
from data_modules.errors import InputError
from tumorgen.methods.loading import load_method, read_checkpoint
from tumorgen.methods.transformer.module import MaskedTransformer
from tumorgen.methods.trust import trusting
from tumorgen.methods.vqgan.module import VQGAN
from tumorgen.methods.vqgan.tokenizer import read_tokenizer

INTRUDER = """
open(__file__ + ".ran", "w").close()

from os import system
from tumorgen.methods.transformer.decoding import CachedAutoregressive
from tumorgen.methods.vqgan.quantizers.fsq import FSQQuantizer

class Sampler(CachedAutoregressive): ...
class Quantizer(FSQQuantizer): ...
"""


@pytest.fixture
def intruder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module on the path that nobody vouches for; at the end it has not been run."""
    (tmp_path / "intruder.py").write_text(INTRUDER)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    assert not (tmp_path / "intruder.py.ran").exists()


def test_the_intruder_would_leave_a_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "intruder.py").write_text(INTRUDER)
    monkeypatch.syspath_prepend(tmp_path)
    with trusting("intruder"):
        package.load_generator(changed(transformer(), tmp_path, with_sampler("intruder.Sampler")))
    assert (tmp_path / "intruder.py.ran").exists()
    del sys.modules["intruder"]


def changed(path: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of a checkpoint with other hyperparameters."""
    checkpoint = torch.load(path, weights_only=True)
    change(checkpoint)
    torch.save(checkpoint, folder / "changed.ckpt")
    return folder / "changed.ckpt"


def with_sampler(value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda checkpoint: checkpoint["hyper_parameters"].update(sampler=value)


def with_class(value: str) -> Callable[[dict[str, Any]], None]:
    return lambda checkpoint: checkpoint["hyper_parameters"].update(_class_path=value)


def with_carried(checkpoint: dict[str, Any]) -> None:
    checkpoint["tokenizer"]["hyper_parameters"]["quantizer"] = "intruder.Quantizer"


SECTION = {"class_path": "intruder.Sampler", "init_args": {"top_k": 3}}
FORMS = {
    "a section": with_sampler(SECTION),
    "a plain string": with_sampler("intruder.Sampler"),
    "JSON in a string": with_sampler(json.dumps(SECTION)),
    "nested": with_sampler({"class_path": PARALLEL, "init_args": {"order": {"class_path": "intruder.Sampler"}}}),
    "nested string": with_sampler({"class_path": PARALLEL, "init_args": {"order": "intruder.Sampler"}}),
    "nested JSON": with_sampler(json.dumps({"class_path": PARALLEL, "init_args": {"order": json.dumps(SECTION)}})),
    "keyword section": with_sampler({"class_path": PARALLEL, "dict_kwargs": {"order": SECTION}}),
    "a dotted key": lambda checkpoint: checkpoint["hyper_parameters"].update(
        {"sampler.class_path": "intruder.Sampler"}
    ),
    "a dotted key in a section": with_sampler(
        {"class_path": PARALLEL, "init_args": {"order.class_path": "intruder.Sampler"}}
    ),
    "a function": with_sampler("intruder.system"),
    "the model": with_class("intruder.Sampler"),
    "the carried tokenizer": with_carried,
    "a reference": with_sampler("${oc.env:NOTHING,intruder}.Sampler"),
    "through a module of tumorgen": with_sampler("tumorgen.__main__.os.system"),
    "deeper through it": with_sampler({"class_path": "tumorgen.methods.loading.torch.hub.os.system"}),
    "a class that tumorgen imports": with_sampler("tumorgen.methods.loading.Path"),
    "a class of torch": with_sampler({"class_path": "torch.nn.Conv3d"}),
    "a function of tumorgen": with_class("tumorgen.methods.generator.load_generator"),
    "a class of another type": with_sampler("tumorgen.nn.optimizers.GANAdam"),
}


@pytest.mark.usefixtures("intruder")
@pytest.mark.parametrize("change", FORMS.values(), ids=FORMS)
def test_python_refuses_every_form(change: Callable[[dict[str, Any]], None], tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"changed\.ckpt: (names|its hyperparameters are not what|no method can be built)"
    ):
        package.load_generator(changed(transformer(), tmp_path, change))


@pytest.mark.usefixtures("intruder")
@pytest.mark.parametrize(
    "form", ["a plain string", "nested JSON", "the carried tokenizer", "a reference", "a dotted key"]
)
@pytest.mark.parametrize("way", ["predict", "validate", "tokenizer", "resume"])
def test_no_command_imports_it(way: str, form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = changed(transformer(), tmp_path, FORMS[form])
    quiet = [*QUIET, "--runs_dir", tmp_path]
    words = {
        "predict": ["predict", "--config", ROOT / "experiments/sample.yaml", "--data.counts", "{LGG: 1}", *quiet],
        "validate": ["validate", "--data", "toy.ToyDataModule", *quiet],
        "tokenizer": ["fit", "--config", TINY_TRANSFORMER, "--model.tokenizer", path, *quiet],
        "resume": ["fit", "--config", TINY_TRANSFORMER, "--model.tokenizer", tokenizer(), *quiet],
    }[way]
    if way in ("predict", "validate", "resume"):
        words += ["--ckpt_path", path]
    status = tumorgen(*words)
    if form == "the carried tokenizer" or way in ("predict", "validate"):
        assert status == 2
        assert "changed.ckpt: " in capsys.readouterr().err
    # where the checkpoint's own sampler is not asked for, it does no harm


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict", "reconstruct", "evaluate"])
def test_every_command_with_a_checkpoint_can_be_told_whom_to_trust(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        tumorgen(command, "--help")
    assert "--trust" in capsys.readouterr().out


@pytest.mark.usefixtures("intruder")
@pytest.mark.parametrize("quantizer", ["intruder.Quantizer", "tumorgen.__main__.os.system"])
def test_reconstruct_and_a_tokenizer_refuse_it(
    quantizer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = changed(tokenizer(), tmp_path, lambda checkpoint: checkpoint["hyper_parameters"].update(quantizer=quantizer))
    for name in ("scan", "mask"):
        nib.save(nib.Nifti1Image(np.ones((8, 8, 8), np.uint8), np.eye(4)), tmp_path / f"{name}.nii.gz")
    images = ["--input", tmp_path / "scan.nii.gz", "--mask", tmp_path / "mask.nii.gz", "--output", tmp_path / "out"]
    for words in (
        ["reconstruct", "--ckpt_path", path, *images],
        ["fit", "--config", TINY_TRANSFORMER, "--model.tokenizer", path, "--runs_dir", tmp_path],
    ):
        assert tumorgen(*words) == 2
        assert (
            f"changed.ckpt: names {'intruder.Quantizer' if quantizer[0] == 'i' else 'posix.system'}, which is no class"
            in capsys.readouterr().err
        )


@pytest.mark.parametrize("loading", [read_checkpoint, read_tokenizer, package.load_generator])
def test_a_hostile_pickle_is_not_recommended(loading: Callable[[Path], Any], tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    torch.save({"hyper_parameters": {"_class_path": "x"}, "state_dict": Hostile()}, tmp_path / "hostile.ckpt")
    with pytest.raises(InputError, match=r"would run code when it is loaded \(it calls \w+\.system\)") as refused:
        loading(tmp_path / "hostile.ckpt")
    assert "weights_only" not in str(refused.value)
    assert not (tmp_path / "ran").exists()
    torch.save({"hyper_parameters": {"_class_path": 3}, "state_dict": {}}, tmp_path / "odd.ckpt")
    with pytest.raises(InputError, match=r"odd\.ckpt: holds no hyperparameters of a tumorgen model"):
        loading(tmp_path / "odd.ckpt")
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    with pytest.raises(InputError, match=r"text\.ckpt: not readable \(.*\); expected a checkpoint written by"):
        loading(tmp_path / "text.ckpt")


# ---------------------------------------------------------------------- a user's own classes


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints of both stages with a quantiser and a sampler that are not tumorgen's."""
    place = tmp_path_factory.mktemp("own")
    words = ["--config", TINY_VQGAN, "--model.quantizer", "newcomers.SignQuantizer", "--runs_dir", place, *QUIET]
    assert tumorgen("fit", *words, "--run_id", "run") == 0
    stage1 = place / "tiny" / "run"
    words += ["--trainer.max_epochs", 3, "--resume", "run"]
    assert tumorgen("fit", *words) == 0, "a class that the command names needs nobody's word"
    sampler = ["--model.sampler", "newcomers.WarmSampler", "--trust", "newcomers"]
    stage2 = fit(place, "--model.tokenizer", stage1 / "checkpoints/last.ckpt", *sampler)
    return {"stage1": stage1, "stage2": stage2}


def test_own_classes_are_resumed_and_sampled_from_when_named(
    own: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = own["stage2"] / "checkpoints/last.ckpt"
    resumed = ["fit", "--config", own["stage2"] / "config.yaml", "--resume", "run", "--trainer.max_epochs", 3]
    assert tumorgen(*resumed, "--runs_dir", own["stage2"].parents[1]) == 0, "config.yaml says whom to trust"
    predict = ["predict", "--config", ROOT / "experiments/sample.yaml", "--ckpt_path", checkpoint, *QUIET]
    predict += ["--data.counts", "{LGG: 1}", "--runs_dir", tmp_path, "--output.folder", tmp_path / "samples"]
    capsys.readouterr()
    assert tumorgen(*predict) == 2
    assert "last.ckpt: names newcomers.WarmSampler, which is no class of tumorgen" in capsys.readouterr().err
    assert tumorgen(*predict, "--model.sampler", "newcomers.WarmSampler") == 2, "the tokenizer's class is not named"
    assert "--trust newcomers" in capsys.readouterr().err
    assert tumorgen(*predict, "--trust", "newcomers,other") == 0
    manifest = json.loads((tmp_path / "samples/manifest.json").read_text())
    sampler = manifest["generators"][0]["sampler"]
    assert (sampler["class"], sampler["temperature"]) == ("WarmSampler", 1.5)


def test_own_classes_in_python(own: dict[str, Path]) -> None:
    path = own["stage2"] / "checkpoints/last.ckpt"
    with pytest.raises(InputError, match=r'--trust newcomers; in Python, load_generator\(\.\.\., trust="newcomers"\)'):
        package.load_generator(path)
    for trust in ("newcomers", ["newcomers"]):
        generator = package.load_generator(path, trust=trust)
        assert isinstance(generator, MaskedTransformer)
        assert generator.sample_classes(["HGG"], [0]).shape == (1, 1, 16, 16, 16)
    with trusting("newcomer"), pytest.raises(InputError, match=r"names newcomers\.SignQuantizer"):
        load_method(own["stage1"] / "checkpoints/last.ckpt", VQGAN)
    with trusting((), ["newcomers.SignQuantizer"]):
        assert load_method(own["stage1"] / "checkpoints/last.ckpt", VQGAN).model.quantizer.num_codes == 16


def test_classes_of_this_command_s_yaml_are_trusted(own: dict[str, Path], tmp_path: Path) -> None:
    words = ["--ckpt_path", own["stage1"] / "checkpoints/last.ckpt", "--runs_dir", tmp_path, *QUIET]
    assert tumorgen("validate", "--data", "toy.ToyDataModule", *words) == 2
    assert tumorgen("validate", "--config", own["stage1"] / "config.yaml", *words, "--run_id", "again") == 0


def test_a_sampler_is_replaced_in_python_by_one_of_the_user_s_own() -> None:
    """What is typed is the user's own word."""
    generator = package.load_generator(transformer(), sampler="newcomers.WarmSampler")
    assert generator.describe_sampler()["temperature"] == 1.5
    assert package.load_generator(transformer(), sampler=AUTOREGRESSIVE).describe_sampler()["temperature"] == 1.0
