"""What README and the pages tell people to type is understood, and what they show of it is carried out."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from documents import commands, spans
from front import tumorgen

from tumorgen.__main__ import COMMANDS, TRAINING

Understood = Callable[[list[str]], None]

SHELL = {"make", "git", "cd", "python3", "source", "pip", "wandb", "export"}
TYPED = list({shlex.join(words): words[1:] for words in commands() if words[0] == "tumorgen"}.values())
MENTIONED = [shlex.split(span)[1:] for span in spans() if span.startswith("tumorgen ")]
OPTIONS = [shlex.split(span) for span in spans() if span.startswith("--")]

# inline mentions of an option without its value, and names that stand for something
VALUES = {"--config": "experiments/vqgan.yaml", "--data.seed": "0", "--real": "real", "--data.cache_dir": "cache"}
VALUES |= {"--run_id": "other", "--experiment": "other", "--runs_dir": "other", "--data.num_workers": "2"}
VALUES |= {
    "--trust": "sign_quantizer",
    "--system.name": "other",
    "--data.help": "data_modules.brats.BraTSDataModule",
    "--trainer.precision": "32-true",
}
STANDS_FOR = {"ID": "first", "FILE.csv": "table.csv", "NAME": "IDH"}
# where an option belongs, if not to training
PREDICT, EVALUATE, BENCHMARK = "predict", "evaluate", "benchmark"
BELONGS = {
    r"--(output|model\.sampler|data\.(seed|counts)|wandb\.artifacts)": PREDICT,
    r"--(generated_intensities|convert|features|real|reference)": EVALUATE,
    r"--(trust_unmanifested|only|generated )": BENCHMARK,
    r"--vgg16": "weights",
    r"--data data_modules\.synthetic\.MixedDataModule": "classifier",
    r"--(model\.masking|config experiments/demo/transformer)": "stage 2",
    r"--resume": "resume",
    r"--data\.help": "help",
}


def typed(*beginning: str) -> list[str]:
    """The first command that begins so."""
    return next(words for words in TYPED if words[: len(beginning)] == list(beginning))


STAGE_2 = ["fit", "--config", "experiments/transformer.yaml", "--data.root", "BraTS2019", "--model.tokenizer", "CKPT"]
FIT = ["fit", "--config", "experiments/vqgan.yaml", "--data.root", "BraTS2019"]
COMPLETE = {
    PREDICT: ["predict", "--config", "experiments/sample.yaml", "--ckpt_path", "CKPT", "--data.counts", "{LGG: 1}"],
    EVALUATE: ["evaluate", "--real", "real", "--generated", "samples", "--output", "out"],
    BENCHMARK: typed("benchmark"),
    "weights": ["weights", "lpips"],
    "classifier": ["fit", "--config", "experiments/classifier.yaml"],
    "stage 2": STAGE_2,
    "resume": FIT,
    "help": ["fit"],
}


@pytest.mark.parametrize("words", TYPED, ids=" ".join)
def test_typed_commands_are_understood(words: list[str], here: Path, idle: None, understood: Understood) -> None:
    understood(words)


@pytest.mark.parametrize("words", MENTIONED, ids=" ".join)
def test_mentioned_commands_are_understood(
    words: list[str], here: Path, idle: None, understood: Understood, tmp_path: Path, monkeypatch
) -> None:
    assert words[0] == "--help" or words[0] in {**TRAINING, **COMMANDS}
    if words == ["init"]:
        monkeypatch.chdir(tmp_path)
    elif len(words) == 1 or words[-1] in VALUES:  # a name, or the beginning of a command
        return
    understood(words)


def test_mentioned_options_are_understood(here: Path, idle: None, understood: Understood) -> None:
    """Those of training together in one command; the others one by one, since samplers exclude each other."""
    fit, seen = list(FIT), set()
    for option in OPTIONS:
        words = [STANDS_FOR.get(word, word) for word in option]
        words = [*words, VALUES[words[-1]]] if words[-1] in VALUES else words
        where = next((name for pattern, name in BELONGS.items() if re.match(pattern, " ".join(words))), "fit")
        seen.add(where)
        if where == "fit":
            fit += words
        else:
            understood([*COMPLETE[where], *words])
    understood(fit)
    assert seen == {"fit", *BELONGS.values()}


def test_a_wrong_option_would_be_noticed(here: Path, idle: None, understood: Understood) -> None:
    """The checks above can fail: every kind of command, with something that does not exist."""
    for command in ("prepare", "weights", "fit", "predict", "reconstruct", "evaluate", "benchmark", "report"):
        with pytest.raises(AssertionError, match="tumorgen: error"):
            understood([*typed(command), "--nonsense", "3"])
    with pytest.raises(AssertionError, match="top_q"):
        understood([*typed("predict"), "--model.sampler.top_q", "3"])


def test_there_is_something_to_test() -> None:
    kinds = {"prepare", "weights", "fit", "predict", "reconstruct", "evaluate", "benchmark", "report"}
    assert {words[0] for words in TYPED} >= kinds
    assert len(OPTIONS) > 20
    assert {words[0] for words in commands()} - SHELL == {"tumorgen"}


def test_the_run_of_readme_is_five_commands() -> None:
    (five,) = [run for run in runs_of("README.md") if len(run) > 1]
    assert five == ["prepare", "fit", "fit", "predict", "evaluate"]


def runs_of(page: str) -> list[list[str]]:
    """Commands of tumorgen that follow each other in a page."""
    found: list[list[str]] = [[]]
    for words in commands(page):
        if words[0] == "tumorgen":
            found[-1].append(words[1])
        else:
            found.append([])
    return found


# ---------------------------------------------------------------------- carried out


def test_prepare_as_typed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The five commands' first, on regions that fit the small scans."""
    small = ["--data.roi_size", "32"]
    assert tumorgen(*typed("prepare"), *small) == 0
    assert (here / "real" / "manifest.json").is_file()
    assert capsys.readouterr().out.splitlines()[-1] == "real"


def test_a_table_of_one_s_own_as_typed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tumorgen(*typed("prepare", "--data.root", "cohort/")) == 0
    found = capsys.readouterr().out
    assert "mutant" in found
    assert "wildtype" in found


def test_reconstruct_as_typed(here: Path) -> None:
    assert tumorgen(*typed("reconstruct")) == 0
    assert {path.suffix for path in (here / "out").iterdir()} == {".gz", ".json", ".png"}


def test_predict_as_typed_leaves_the_files_that_are_named(here: Path) -> None:
    fewer = ["--data.counts", "{LGG: 1, HGG: 1}", "--wandb.mode", "disabled", "--trainer.accelerator", "cpu"]
    assert tumorgen(*typed("predict"), *fewer) == 0
    named = {span for span in spans() if span.startswith("samples/")}
    assert named == {"samples/LGG/LGG_0001.nii.gz", "samples/manifest.json"}
    assert all((here / name).is_file() for name in named)
