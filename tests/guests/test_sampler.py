"""A sampler of one file is chosen where a generator is trained, or where it samples."""

from pathlib import Path

import pytest
from front import TINY_TRANSFORMER
from journey import METRICS, Home, last, manifest
from stage2 import tokenizer, transformer

SAMPLER = ("--model.sampler", "guestlib.sampler.AllAtOnce")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("sampler"))


def test_any_checkpoint_samples_with_it(home: Home) -> None:
    volumes = {}
    for name, words in {"few": (), "many": ("--data.batch_size", 1)}.items():
        folder = home.predict(transformer(), *SAMPLER, *words, into=name)
        assert manifest(folder)["generators"][0]["sampler"]["class"] == "AllAtOnce"
        assert manifest(folder)["generators"][0]["sampler"]["temperature"] == 0.9
        volumes[name] = [entry["sha256"] for entry in manifest(folder)["volumes"]]
    assert volumes["few"] == volumes["many"]
    assert len(set(volumes["few"])) == 4


def test_a_checkpoint_remembers_it(home: Home) -> None:
    words = (
        "--config",
        TINY_TRANSFORMER,
        "--model.tokenizer",
        tokenizer(),
        *SAMPLER,
        "--model.sampler.temperature",
        0.5,
    )
    folder = home.predict(last(home.fit(*words)), into="remembered")
    assert manifest(folder)["generators"][0]["sampler"]["class"] == "AllAtOnce"
    assert manifest(folder)["generators"][0]["sampler"]["temperature"] == 0.5


def test_evaluation_during_training_samples_with_it(home: Home) -> None:
    evaluation = "tumorgen.evaluation.callback.GeneratorEvaluation"
    words = ("--config", TINY_TRANSFORMER, "--model.tokenizer", tokenizer(), *SAMPLER)
    words += (
        f"--trainer.callbacks+={evaluation}",
        "--trainer.callbacks.max_overhead=null",
        f"--trainer.callbacks.metrics={METRICS}",
        "--trainer.callbacks.per_class=4",
    )
    run: Path = home.fit(*words, run="evaluated")
    assert len(list((run / "evaluations").glob("*.json"))) == 2
