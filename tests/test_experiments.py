"""Every shipped YAML goes through the real command line, shrunk by one overlay: it trains, or it samples."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import offline_record
import pytest
from front import HELPERS, ROOT, only_run, read_yaml, tumorgen
from tiny import merged
from volumes import write_volumes

from tumorgen.results.records import read_results

EXPERIMENTS = ROOT / "experiments"
SHRINK_VQGAN, SHRINK_TRANSFORMER = HELPERS / "shrink_vqgan.yaml", HELPERS / "shrink_transformer.yaml"
SHRINK_CLASSIFIER = HELPERS / "shrink_classifier.yaml"


@dataclass(frozen=True)
class Shipped:
    """One way to train a shipped experiment.

    Attributes:
        configs: YAMLs under experiments/, in the order of the command line; the last one is what the case is about.
        shrink: Overlay that makes it small.
        words: Options that the machine of the tests needs.
        logged: Figure that the run has to leave.
    """

    configs: tuple[str, ...]
    shrink: Path
    words: tuple[str, ...] = ()
    logged: str = "train/total"


def stage1(*overlays: str, words: tuple[str, ...] = ()) -> Shipped:
    return Shipped(("vqgan.yaml", *overlays), SHRINK_VQGAN, words)


def stage2(*overlays: str) -> Shipped:
    return Shipped(("transformer.yaml", *overlays), SHRINK_TRANSFORMER, logged="val/cross_entropy_corrupted")


def downstream(*overlays: str) -> Shipped:
    return Shipped(("classifier.yaml", *overlays), SHRINK_CLASSIFIER, logged="val/auc")


TRAINED = [
    stage1(),
    stage1("demo/vqgan.yaml"),
    stage1("demo/vqgan.yaml", "showcase/vqgan.yaml"),
    stage1("overlays/fsq.yaml"),
    stage1("overlays/fp32.yaml"),
    stage1("overlays/memory.yaml"),
    stage1("overlays/outline.yaml"),
    stage1("overlays/paper.yaml", words=("--trainer.precision", "bf16-mixed")),  # 16-mixed needs a GPU
    stage2(),
    stage2("demo/transformer.yaml"),
    stage2("demo/transformer.yaml", "showcase/transformer.yaml"),
    stage2("overlays/bidirectional.yaml"),
    stage2("overlays/masking_top_k_0.yaml"),
    stage2("overlays/masking_top_k_25.yaml"),
    stage2("overlays/masking_top_k_50.yaml"),
    stage2("overlays/paper_transformer.yaml"),
    downstream(),
    downstream("demo/classifier.yaml"),
]
# run by tests/commands/test_benchmark.py
BENCHMARKED = [("benchmark.yaml", "demo/benchmark.yaml")]
EVALUATED = [("evaluate.yaml",)]
SWEEP = "sweep.yaml"
SAMPLED = [("sample.yaml",), ("sample.yaml", "overlays/bf16_sampling.yaml")]
each = pytest.mark.parametrize("shipped", TRAINED, ids=lambda shipped: "+".join(shipped.configs))


def config_words(paths: list[Path]) -> list[object]:
    return [word for path in paths for word in ("--config", path)]


def leaves(section: dict[str, Any], where: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values."""
    for key, value in section.items():
        name = f"{where}.{key}" if where else key
        if isinstance(value, dict):
            yield from leaves(value, name)
        else:
            yield name, value


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Regions of interest are cut once for all experiments."""
    return tmp_path_factory.mktemp("cache")


def train(shipped: Shipped, cohort: Path, cache: Path, runs: Path, *words: object) -> Path:
    """Trains a shrunk experiment; returns the run's folder."""
    place = ["--data.root", cohort, "--data.cache_dir", cache, "--runs_dir", runs, "--wandb.mode", "disabled"]
    paths = [*(EXPERIMENTS / name for name in shipped.configs), shipped.shrink]
    assert tumorgen("fit", *config_words(paths), *place, *shipped.words, *words) == 0
    (experiment,) = runs.iterdir()
    return only_run(experiment.name, runs)


@pytest.fixture(scope="module")
def tokenizer(tiny_cohort: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of a shrunk stage 1."""
    return train(stage1(), tiny_cohort, cache, tmp_path_factory.mktemp("stage1")) / "checkpoints" / "last.ckpt"


@pytest.fixture(scope="module")
def generator(tokenizer: Path, tiny_cohort: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of a shrunk stage 2."""
    runs = tmp_path_factory.mktemp("stage2")
    run = train(stage2(), tiny_cohort, cache, runs, "--model.tokenizer", tokenizer)
    return run / "checkpoints" / "last.ckpt"


def test_it_evaluates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list is what is used without being named, and takes a line more."""
    write_volumes(tmp_path / "real", 12, manifest={}, parts=("train", "val", "test"))
    write_volumes(tmp_path / "made", 4, seed=500, manifest={})
    quick = ("--features", "classifier", "--resamples", 20, "--permutations", 20, "--splits", 4)
    (tmp_path / "mine.yaml").write_text("metrics+:\n  - class_path: guestlib.metric.Brightness\n")
    found = {}
    configs = {
        "shipped": [],
        "named": ["--config", EXPERIMENTS / "evaluate.yaml"],
        "mine": ["--config", tmp_path / "mine.yaml"],
    }
    for name, words in configs.items():
        folders = ("--real", tmp_path / "real", "--generated", tmp_path / "made", "--output", tmp_path / name)
        assert tumorgen("evaluate", *words, *folders, *quick) == 0
        found[name] = [record.id for record in read_results(tmp_path / name / "evaluation.json").records]
    assert found["shipped"] == found["named"] == found["mine"][:-3]


def test_every_shipped_yaml_is_tested() -> None:
    names = {path.relative_to(EXPERIMENTS).as_posix() for path in EXPERIMENTS.rglob("*.yaml")}
    tested = [*(shipped.configs for shipped in TRAINED), *BENCHMARKED, *SAMPLED, *EVALUATED, (SWEEP,)]
    assert {name for configs in tested for name in configs} == names


@each
def test_it_trains(
    shipped: Shipped, tiny_cohort: Path, cache: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    words: list[object] = []
    if shipped.shrink == SHRINK_TRANSFORMER:
        words = ["--model.tokenizer", request.getfixturevalue("tokenizer")]
    run = train(shipped, tiny_cohort, cache, tmp_path, *words)
    with open(run / "csv" / "metrics.csv", newline="") as stream:
        assert any(row[shipped.logged] for row in csv.DictReader(stream))
    assert (run / "checkpoints" / "last.ckpt").is_file()
    found = dict(leaves(read_yaml(run / "config.yaml")))
    overridden = set(dict(leaves(read_yaml(shipped.shrink)))) | {word.removeprefix("--") for word in shipped.words[::2]}
    about = {
        key: value
        for key, value in leaves(read_yaml(EXPERIMENTS / shipped.configs[-1]))
        if key != "trainer.callbacks" and not any(key == other or key.startswith(f"{other}.") for other in overridden)
    }
    assert about, "the overlay of the test hides what this case is about"
    assert {key: found[key] for key in about} == about


@each
def test_it_parses_at_full_size(
    shipped: Shipped,
    tiny_cohort: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--data.root", tiny_cohort, "--print_config"]
    if shipped.shrink == SHRINK_TRANSFORMER:
        words += ["--model.tokenizer", "some.ckpt"]
    with pytest.raises(SystemExit) as leaving:
        tumorgen("fit", *config_words([EXPERIMENTS / name for name in shipped.configs]), *words)
    assert leaving.value.code in (0, None)
    (tmp_path / "printed.yaml").write_text(capsys.readouterr().out)
    whole: dict[str, Any] = {}
    for name in shipped.configs:
        whole = merged(whole, read_yaml(EXPERIMENTS / name))
    found = dict(leaves(read_yaml(tmp_path / "printed.yaml")))
    about = {key: value for key, value in leaves(whole) if key != "trainer.callbacks"}
    assert {key: found[key] for key in about} == about
    assert [path.name for path in tmp_path.iterdir()] == ["printed.yaml"]


@pytest.mark.parametrize("configs", SAMPLED, ids="+".join)
def test_it_samples(configs: tuple[str, ...], generator: Path, tmp_path: Path) -> None:
    words = ["--ckpt_path", generator, "--data.counts", "{LGG: 1, HGG: 2}", "--output.folder", tmp_path / "samples"]
    place = ["--runs_dir", tmp_path / "runs", "--wandb.mode", "disabled", "--trainer.accelerator", "cpu"]
    assert tumorgen("predict", *config_words([EXPERIMENTS / name for name in configs]), *words, *place) == 0
    assert len(list(tmp_path.glob("samples/LGG/*.nii.gz"))) == 1
    assert len(list(tmp_path.glob("samples/HGG/*.nii.gz"))) == 2


def test_the_sweep_runs_offline(
    tiny_cohort: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its command lines as the agent of Weights & Biases writes them, without the agent."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_RUN_GROUP", "sweep")
    sweep = read_yaml(EXPERIMENTS / SWEEP)
    values = [parameter.get("values", [parameter.get("value")]) for parameter in sweep["parameters"].values()]
    points = [dict(zip(sweep["parameters"], point, strict=True)) for point in product(*values)]
    assert len(points) == 2
    for point in points:
        written = {
            "${args}": [f"--{name}={value}" for name, value in point.items()],
            "${envvar:BRATS}": [tiny_cohort],
            "experiments/vqgan.yaml": [EXPERIMENTS / "vqgan.yaml"],
        }
        program, *words = (part for word in sweep["command"] for part in written.get(word, [word]))
        assert program == "tumorgen"
        small = ["--config", SHRINK_VQGAN, "--data.cache_dir", cache, "--runs_dir", tmp_path]
        assert tumorgen(*words, *small) == 0
    runs = list((tmp_path / "vqgan").iterdir())
    configs = [read_yaml(run / "config.yaml") for run in runs]
    found = [config["model"]["init_args"]["quantizer"]["init_args"]["num_codes"] for config in configs]
    assert sorted(found) == [point["model.quantizer.num_codes"] for point in points]
    for run in runs:
        assert list(run.glob("wandb/offline-run-*"))
    assert offline_record.about(offline_record.read(runs[0]))["run_group"] == "sweep"
