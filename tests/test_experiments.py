"""Every shipped YAML goes through the real command line and trains, shrunk by one overlay."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from front import HELPERS, ROOT, only_run, read_yaml, tumorgen
from tiny import merged

EXPERIMENTS = ROOT / "experiments"
SHRINK_VQGAN = HELPERS / "shrink_vqgan.yaml"


@dataclass(frozen=True)
class Shipped:
    """One way to start a shipped experiment.

    Attributes:
        configs: YAMLs under experiments/, in the order of the command line; the last one is what the case is about.
        shrink: Overlay that makes it small.
        words: Options that the machine of the tests needs.
        logged: Figure that the run has to leave.
    """

    configs: tuple[str, ...]
    shrink: Path = SHRINK_VQGAN
    words: tuple[str, ...] = field(default=())
    logged: str = "train/total"


TABLE = [
    Shipped(("vqgan.yaml",)),
    Shipped(("vqgan.yaml", "demo/vqgan.yaml")),
    Shipped(("vqgan.yaml", "overlays/fsq.yaml")),
    Shipped(("vqgan.yaml", "overlays/fp32.yaml")),
    Shipped(("vqgan.yaml", "overlays/memory.yaml")),
    # 16-mixed needs a GPU
    Shipped(("vqgan.yaml", "overlays/paper.yaml"), words=("--trainer.precision", "bf16-mixed")),
]
each = pytest.mark.parametrize("shipped", TABLE, ids=lambda shipped: "+".join(shipped.configs))


def words_of(shipped: Shipped, *, shrunk: bool) -> list[object]:
    configs = [EXPERIMENTS / name for name in shipped.configs] + ([shipped.shrink] if shrunk else [])
    return ["fit", *[word for path in configs for word in ("--config", path)]]


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


def test_every_shipped_yaml_is_tested() -> None:
    names = {path.relative_to(EXPERIMENTS).as_posix() for path in EXPERIMENTS.rglob("*.yaml")}
    assert {name for shipped in TABLE for name in shipped.configs} == names


@each
def test_it_trains(shipped: Shipped, tiny_cohort: Path, cache: Path, tmp_path: Path) -> None:
    place = ["--data.root", tiny_cohort, "--data.cache_dir", cache, "--runs_dir", tmp_path, "--wandb.mode", "disabled"]
    assert tumorgen(*words_of(shipped, shrunk=True), *place, *shipped.words) == 0
    (experiment,) = tmp_path.iterdir()
    run = only_run(experiment.name, tmp_path)
    with open(run / "csv" / "metrics.csv", newline="") as stream:
        assert any(row[shipped.logged] for row in csv.DictReader(stream))
    assert (run / "checkpoints" / "last.ckpt").is_file()
    written = read_yaml(run / "config.yaml")
    found = dict(leaves(written))
    shrink, about = read_yaml(shipped.shrink), read_yaml(EXPERIMENTS / shipped.configs[-1])
    overridden = set(dict(leaves(shrink))) | {word.removeprefix("--") for word in shipped.words[::2]}
    checked = 0
    for key, value in leaves(about):
        if key in overridden or any(key.startswith(f"{other}.") for other in overridden) or key == "trainer.callbacks":
            continue
        assert found[key] == value, key
        checked += 1
    assert checked, "the overlay of the test hides what this case is about"


@each
def test_it_parses_at_full_size(
    shipped: Shipped, tiny_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as leaving:
        tumorgen(*words_of(shipped, shrunk=False), "--data.root", tiny_cohort, "--print_config")
    assert leaving.value.code in (0, None)
    printed = tmp_path / "printed.yaml"
    printed.write_text(capsys.readouterr().out)
    whole = {}
    for name in shipped.configs:
        whole = merged(whole, read_yaml(EXPERIMENTS / name))
    found = dict(leaves(read_yaml(printed)))
    for key, value in leaves(whole):
        if key != "trainer.callbacks":
            assert found[key] == value, key
    assert {path.name for path in tmp_path.iterdir()} == {"printed.yaml"}
