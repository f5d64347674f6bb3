"""What README tells people to type works: commands, options, files and Python, in a folder as README's reader has it."""

import re
import shlex
import tomllib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from pydoc import locate

import matplotlib
import matplotlib.figure
import nibabel as nib
import numpy as np
import pytest
from front import ROOT, tumorgen
from stage2 import tokenizer, transformer

from tumorgen.__main__ import COMMANDS, TRAINING
from tumorgen.cli import TumorgenCLI
from tumorgen.commands import import_checkpoint, phantom, weights
from tumorgen.methods.transformer.decoding import Sampler
from tumorgen.methods.transformer.masking import MaskingStrategy
from tumorgen.methods.vqgan.quantizers import Quantizer

README = (ROOT / "README.md").read_text()
RUN_ID = "20260101-120000"  # stands for the <id> of README
# inline mentions of an option without its value
VALUES = {"--config": "experiments/vqgan.yaml", "--data.seed": "0", "--real": "real"}
STANDS_FOR = {"package.Class": "stage2_probes.LikelyCodes"}
SHELL = {"make", "git", "cd", "python3", "source", "pip", "wandb"}


def blocks(language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [text for name, text in fenced if name == language]


def commands() -> list[list[str]]:
    """Every command of every bash block, as words, without comments."""
    lines = "\n".join(blocks("bash")).replace("\\\n", " ").splitlines()
    parts = [part for line in lines for part in re.split(r"\s&&\s", line)]
    words = [shlex.split(part.replace("<id>", RUN_ID), comments=True) for part in parts]
    return [command for command in words if command]


def spans() -> list[str]:
    """Inline code outside of blocks."""
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


TYPED = [command[1:] for command in commands() if command[0] == "tumorgen"]
MENTIONED = [shlex.split(span)[1:] for span in spans() if span.startswith("tumorgen ")]
OPTIONS = [[STANDS_FOR.get(word, word) for word in shlex.split(span)] for span in spans() if span.startswith("--")]


class UnderstoodError(Exception):
    """Raised where a command would begin to work."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What README assumes to be there: experiments, trained checkpoints under the names that runs give them."""
    place = tmp_path_factory.mktemp("reader")
    assert tumorgen("init", "--output", place / "experiments") == 0
    for stage, checkpoint in (("vqgan", tokenizer()), ("transformer", transformer())):
        (place / "runs" / stage / RUN_ID).mkdir(parents=True)
        (place / "runs" / stage / RUN_ID / "checkpoints").symlink_to(checkpoint.parent)
        assert (checkpoint.parent / "best.ckpt").is_file()
    (place / "CKPT").symlink_to(transformer())
    return place


@pytest.fixture
def here(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    cohort_writer: Callable[[Path, int, int], Path],
    scan_maker: Callable[..., tuple[np.ndarray, np.ndarray]],
) -> Path:
    """`folder` as working directory, with a cohort in it, and a case whose tumour is some voxels of 8 mm long."""
    if not (folder / "BraTS2019").is_dir():
        cohort_writer(folder / "BraTS2019", 6, 6)
        for name, voxels in zip(("FLAIR", "SEG"), scan_maker(shape=(96, 104, 80), radii=(30, 26, 24)), strict=True):
            nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1.0, 1.0, 1.0])), folder / f"{name}.nii.gz")
        for name in ("real", "samples"):
            (folder / name).mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands read what was typed and stop before the work."""

    def stop(*_: object, **__: object) -> None:
        raise UnderstoodError

    monkeypatch.setattr(TumorgenCLI, "before_instantiate_classes", stop)
    monkeypatch.setattr(weights, "_present", stop)
    monkeypatch.setattr(import_checkpoint, "import_checkpoint", stop)
    monkeypatch.setattr(phantom, "write_cohort", stop)
    monkeypatch.setattr("tumorgen.commands.reconstruct.reconstruct", stop)
    monkeypatch.setattr("tumorgen.commands.evaluate._folders", stop)
    monkeypatch.setattr("tumorgen.commands.report.write_report", stop)
    monkeypatch.setattr("tumorgen.results.dashboard.workspace.save", stop)
    monkeypatch.setattr("data_modules.brats.BraTSDataModule.prepare_data", stop)


def understood(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = tumorgen(*words)
    except UnderstoodError:
        return
    except SystemExit as leaving:  # --model.help and the like
        status = leaving.code or 0
    assert status == 0, f"{shlex.join(words)}: {capsys.readouterr().err}"


@pytest.mark.parametrize("words", TYPED, ids=" ".join)
def test_typed_commands_are_understood(
    words: list[str], here: Path, idle: None, capsys: pytest.CaptureFixture[str]
) -> None:
    understood(words, capsys)


@pytest.mark.parametrize("words", MENTIONED, ids=" ".join)
def test_mentioned_commands_are_understood(
    words: list[str], here: Path, idle: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    assert words[0] == "--help" or words[0] in {**TRAINING, **COMMANDS}
    if words == ["init"]:
        monkeypatch.chdir(tmp_path)
    elif len(words) == 1 or words[-1] in VALUES:  # a name, or the beginning of a command
        return
    understood(words, capsys)


def test_mentioned_options_are_understood(here: Path, idle: None, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of training together in one command; those of sampling one by one, since samplers exclude each other."""
    fit = ["fit", "--config", "experiments/vqgan.yaml", "--data.root", "BraTS2019"]
    predict = ["predict", "--config", "experiments/sample.yaml", "--ckpt_path", "CKPT", "--data.counts", "{LGG: 1}"]
    evaluate = ["evaluate", "--real", "real", "--generated", "samples", "--output", "out"]
    benchmark = [word for word in typed("benchmark") if word != "--folds" and word != "[0]"]
    seen = set()
    for option in OPTIONS:
        words = [*option, VALUES[option[-1]]] if option[-1] in VALUES else option
        if words[0] == "--vgg16":
            understood(["weights", "lpips", *words], capsys)
            seen.add("weights")
        elif re.match(r"--(output|model\.sampler|data\.(seed|counts))", words[0]):
            understood([*predict, *words], capsys)
            seen.add("predict")
        elif re.match("--(generated_intensities|convert|features|real)", words[0]):
            understood([*evaluate, *words], capsys)
            seen.add("evaluate")
        elif re.match("--(trust_unmanifested|only)", words[0]):
            understood([*benchmark, *words], capsys)
            seen.add("benchmark")
        elif words[:2] == ["--data", "data_modules.synthetic.MixedDataModule"]:
            classifier = ["fit", "--config", "experiments/classifier.yaml", "--data.root", "BraTS2019"]
            understood([*classifier, *words], capsys)
            seen.add("classifier")
        elif re.match(r"--wandb\.artifacts", words[0]):
            understood([*predict, *words], capsys)
        elif words[0] == "--resume":
            assert words[1:] in ([], ["ID"])
            understood([*fit, "--resume", *[RUN_ID for _ in words[1:]]], capsys)
            seen.add("resume")
        else:
            fit += words
            seen.add("fit")
    understood(fit, capsys)
    assert seen == {"weights", "predict", "resume", "fit", "evaluate", "benchmark", "classifier"}


def test_a_wrong_option_would_be_noticed(here: Path, idle: None, capsys: pytest.CaptureFixture[str]) -> None:
    """The checks above can fail: every kind of command, with something that does not exist."""
    found = {words[0]: words for words in TYPED}
    for command in ("prepare", "weights", "fit", "predict", "reconstruct", "evaluate", "benchmark", "report"):
        with pytest.raises(AssertionError, match="tumorgen: error"):
            understood([*found[command], "--nonsense", "3"], capsys)
    with pytest.raises(AssertionError, match="top_q"):
        understood([*found["predict"], "--model.sampler.top_q", "3"], capsys)


# ---------------------------------------------------------------------- carried out


def typed(*beginning: str) -> list[str]:
    """The first command of README that begins so."""
    return next(words for words in TYPED if words[: len(beginning)] == list(beginning))


def test_prepare_as_typed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tumorgen(*typed("prepare")) == 0
    assert (Path(capsys.readouterr().out.splitlines()[-1]) / "manifest.json").is_file()


def test_reconstruct_as_typed(here: Path) -> None:
    assert tumorgen(*typed("reconstruct")) == 0
    assert {path.suffix for path in (here / "out").iterdir()} == {".gz", ".json", ".png"}


def test_predict_as_typed_leaves_the_files_that_readme_names(here: Path) -> None:
    words = next(words for words in TYPED if words[0] == "predict" and "--output.folder" in words)
    fewer = ["--data.counts", "{LGG: 1, HGG: 1}", "--wandb.mode", "disabled", "--trainer.accelerator", "cpu"]
    assert tumorgen(*words, *fewer) == 0
    named = {span for span in spans() if span.startswith("samples/")}
    assert named == {"samples/LGG/LGG_0001.nii.gz", "samples/manifest.json"}
    assert all((here / name).is_file() for name in named)


@pytest.mark.parametrize("block", blocks("python"))
def test_python_runs_and_shows_tumours(block: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown: list[matplotlib.figure.Figure] = []
    monkeypatch.setattr(pyplot, "show", lambda: shown.append(pyplot.gcf()))
    code = block.replace("<id>", RUN_ID)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    exec(compile(code, "README.md", "exec"), {})
    images = [image.get_array() for axis in shown[0].axes for image in axis.images]
    assert [axis.get_title() for axis in shown[0].axes] == ["LGG", "HGG"]
    assert [image.shape for image in images] == [(16, 16)] * 2
    assert not (images[0] == images[1]).all()
    pyplot.close("all")


# ---------------------------------------------------------------------- names


def test_there_is_something_to_test() -> None:
    assert {words[0] for words in TYPED} >= {
        *("prepare", "weights", "fit", "predict", "reconstruct", "evaluate", "benchmark", "report")
    }
    assert len(blocks("python")) == 1
    assert len(OPTIONS) > 8


def test_nothing_else_is_typed() -> None:
    assert {command[0] for command in commands()} - SHELL == {"tumorgen"}


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {command[1] for command in commands() if command[0] == "make"}
    named |= {span.split()[1] for span in spans() if span.startswith("make ")}
    assert {"demo", "test", "test-real", "bench", "check"} <= named <= targets


def test_extras_and_files_of_the_installation_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"tumorgen\[(\w+)\]", README)) <= set(extras)
    constraints = [word for command in commands() for flag, word in pairwise(command) if flag == "-c"]
    assert constraints
    assert all((ROOT / name).is_file() for name in constraints)


def test_links_and_pictures_exist() -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", README)
    headings = {
        re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in re.findall(r"^#+ (.*)", README, re.M)
    }
    missing = [
        target
        for target in targets
        if not target.startswith("http")
        and not (target.removeprefix("#") in headings if target.startswith("#") else (ROOT / target).is_file())
    ]
    assert missing == []


def test_files_that_readme_names_exist() -> None:
    named = [span for span in spans() if re.fullmatch(r"[\w./-]+\.(yaml|py|md|txt|cff|toml)", span)]
    written_by_runs = {"config.yaml"}
    places = (ROOT, ROOT / "experiments")
    missing = [
        name for name in named if name not in written_by_runs and not any((at / name).is_file() for at in places)
    ]
    # README walks from the command line to the training step with names as in the package
    assert [name for name in missing if not (ROOT / "tumorgen" / name).is_file()] == []


def test_every_overlay_is_named() -> None:
    named = set()
    for line in README.splitlines():
        for name in re.findall(r"overlays/(\w+)\.yaml", line):
            named |= {name} | {name.rpartition("_")[0] + ending for ending in re.findall(r"`(_\w+)`", line)}
    assert named == {path.stem for path in (ROOT / "experiments" / "overlays").glob("*.yaml")}


def test_classes_that_readme_names_exist() -> None:
    text = re.sub(r"tumorgen\[\w+\]", "", README)
    named = set(re.findall(r"\btumorgen(?:\.\w+)+", text))
    assert named
    assert [name for name in named if locate(name) is None] == []


def test_the_layout_is_the_layout() -> None:
    (layout,) = (block for block in blocks("") if "cli.py" in block)
    named = re.findall(r"(?:^|\s\s)(\w+(?:\.py|/))(?=\s\s)", layout)
    assert {"cli.py", "roi/", "experiments/"} <= set(named)
    assert [
        name for name in named if not any((ROOT / at / name).exists() for at in ("", "tumorgen", "data_modules"))
    ] == []


@pytest.mark.parametrize(("part", "number"), [(Quantizer, "two"), (MaskingStrategy, "one"), (Sampler, "two")])
def test_a_part_of_one_s_own_has_as_many_methods_as_readme_says(part: type, number: str) -> None:
    (said,) = re.findall(rf"subclass of `{part.__name__}`[^(]*\((\w+) methods?\b", README)
    assert said == number
    assert len(part.__abstractmethods__) == {"one": 1, "two": 2}[number]


def test_no_placeholder_is_left() -> None:
    assert re.findall(r"^[A-Z0-9]+(?:_[A-Z0-9]+)+$", README, re.MULTILINE) == []
