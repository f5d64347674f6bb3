"""`tumorgen benchmark` on eight tiny cases: what it leaves behind, how it goes on, and what it refuses before any training."""

import json
import shutil
import subprocess
import sys
import time
from argparse import ArgumentError
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from generated_folder import write_generated

from data_modules.brats import BraTSDataModule
from data_modules.errors import InputError
from tumorgen.benchmark.training import ArmTrainer
from tumorgen.commands.benchmark import run
from tumorgen.results.records import read_results

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
CONFIG = {
    "model": {
        "class_path": "tumorgen.classifier.module.GradeClassifier",
        "init_args": {
            "network": {"class_path": "tumorgen.classifier.networks.SmallCNN", "init_args": {"widths": [4, 8]}},
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-3}},
        },
    },
    "data": {
        "class_path": "data_modules.brats.BraTSDataModule",
        "init_args": {"roi_size": 16, "spacing": 2.0, "folds": 2, "batch_size": 2},
    },
    "shares": [0.5, 1.0],
    "seeds": [0],
    "budget": {"steps": 2, "pretraining_steps": 2, "validation_checks": 1},
    "hardware": {"accelerator": "cpu"},
    "resamples": 50,
}
ARMS = ["real_only", "real_only_50", "real_augmented", "real_oversampled"]
ARMS += ["synthetic_only", "finetuned_50", "finetuned_100", "mixed", "shuffled_control"]


@pytest.fixture(scope="module")
def setting(tiny_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A configuration, generated volumes for both folds, and a finished benchmark."""
    folder = tmp_path_factory.mktemp("benchmark")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    place = ["--data.root", str(tiny_cohort), "--data.cache_dir", str(folder / "cache")]
    origins = {}
    for fold in (0, 1):
        data = BraTSDataModule(
            tiny_cohort, cache_dir=folder / "cache", roi_size=16, spacing=2.0, folds=2, fold=fold, augmentation=None
        )
        data.prepare_data()
        data.setup()
        origins[fold] = data.origin
        write_generated(folder / f"mine{fold}", data.origin)
    generated = ["--generated", f"{{mine: '{folder}/mine{{fold}}'}}"]
    words = ["--config", str(folder / "config.yaml"), *place]
    assert run([*words, *generated, "--output", str(folder / "done")]) == 0
    return SimpleNamespace(folder=folder, words=words, generated=generated, done=folder / "done", origins=origins)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what is trained from here on."""
    names: list[str] = []
    train = ArmTrainer.train

    def watched(self, training, fold):
        names.append(training.name)
        return train(self, training, fold)

    monkeypatch.setattr(ArmTrainer, "train", watched)
    return names


def test_leaves_records_tables_and_a_plot(setting) -> None:
    results = read_results(setting.done / "benchmark.json")
    assert results.kind == "benchmark"
    found = {(record.group["arm"], record.group["generated"]) for record in results.records if record.metric == "auc"}
    assert found == {(arm, "mine" if index >= 4 else "") for index, arm in enumerate(ARMS)}
    assert {record.metric for record in results.records} == {
        *("auc", "f1", "accuracy", "precision", "recall", "auc_difference", "auc_difference_same_share")
    }
    assert {record.group["network"] for record in results.records} == {"SmallCNN"}
    assert all(record.counts["test_patients"] == 8 for record in results.records)
    assert len({record.id for record in results.records}) == len(results.records)
    assert all(record.p_value is not None for record in results.records if record.metric == "auc_difference")
    assert results.extra["folds"] == [0, 1]
    assert (results.extra["split"], results.extra["phantom"]) == (setting.origins[0].split, False)
    assert list(results.extra["arms"]) == ARMS
    assert (setting.done / results.extra["pictures"]["share"]).read_bytes().startswith(b"\x89PNG")
    assert results.extra["generated"]["mine"]["1"]["reason"] == ""
    assert results.extra["generated"]["mine"]["1"]["recognised"] == len(setting.origins[1].patients)
    assert not any("LEAKAGE" in note for note in results.extra["notes"])
    ids = {record.id for record in results.records}
    for suffix in ("md", "tex", "txt"):
        text = (setting.done / f"table.{suffix}").read_text()
        assert "3D-alpha-WGAN" in text
        assert "not comparable" in text
    named = (setting.done / "table.md").read_text().rsplit("<!-- records by row:", 1)[1].rstrip(" ->\n")
    assert set(named.replace(";", " ").split()) <= ids


def test_every_training_leaves_its_test_cases(setting) -> None:
    paths = sorted((setting.done / "runs").glob("*.json"))
    assert len(paths) == 2 * len(ARMS)
    tested = {}
    for path in paths:
        content = json.loads(path.read_text())
        tested.setdefault(content["fold"], set()).add(tuple(case["case"] for case in content["cases"]))
        assert {len(case["probabilities"]) for case in content["cases"]} == {2}
        assert content["environment"]["torch"]
    assert [len(cases) for cases in tested.values()] == [1, 1]  # all arms of a fold are tested on the same cases
    assert len(set().union(*(set(cases) for fold in tested.values() for cases in fold))) == 8


def test_nothing_is_trained_twice(setting, trained: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    before = read_results(setting.done / "benchmark.json")
    assert run([*setting.words, *setting.generated, "--output", str(setting.done)]) == 0
    assert trained == []
    assert read_results(setting.done / "benchmark.json").records == before.records
    assert "real only" in capsys.readouterr().out


def test_goes_on_where_it_was_stopped(
    setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: list[str]
) -> None:
    train = ArmTrainer.train

    def killed(self, training, fold):
        if len(trained) == 5:
            raise KeyboardInterrupt
        return train(self, training, fold)

    words = [*setting.words, *setting.generated, "--output", str(tmp_path)]
    with monkeypatch.context() as patch:
        patch.setattr(ArmTrainer, "train", killed)
        with pytest.raises(KeyboardInterrupt):
            run(words)
    assert len(list((tmp_path / "runs").iterdir())) == 5
    assert not (tmp_path / "benchmark.json").exists()
    assert run(words) == 0
    assert len(trained) == len(set(trained)) == 2 * len(ARMS)
    assert read_results(tmp_path / "benchmark.json").records == read_results(setting.done / "benchmark.json").records


@pytest.mark.slow
def test_goes_on_after_sigkill(setting, tmp_path: Path, trained: list[str]) -> None:
    words = [*setting.words, *setting.generated, "--output", str(tmp_path)]
    program = "import sys; from tumorgen.commands.benchmark import run; run(sys.argv[1:])"
    for wanted in (2, 6):
        process = subprocess.Popen([sys.executable, "-c", program, *words])
        while len(list((tmp_path / "runs").glob("[!.]*.json"))) < wanted:
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
        process.wait()
    done = {path.stem for path in (tmp_path / "runs").glob("[!.]*.json")}
    assert 6 <= len(done) < 2 * len(ARMS)
    assert run(words) == 0
    assert not done & set(trained)
    assert len(done) + len(trained) == 2 * len(ARMS)
    assert read_results(tmp_path / "benchmark.json").records == read_results(setting.done / "benchmark.json").records


def test_parts_are_trained_by_processes_of_their_own(
    setting, tmp_path: Path, trained: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*setting.words, *setting.generated, "--output", str(tmp_path), "--arms", "[real_only, mixed]"]
    assert run([*words, "--only", "fold=1"]) == 0
    assert trained == ["real_only-fold1-seed0", "mixed-mine-fold1-seed0"]
    assert "2 of 4 trainings are done; next: real_only-fold0-seed0" in capsys.readouterr().out
    assert not (tmp_path / "benchmark.json").exists()
    assert run([*words, "--only", "fold=0"]) == 0
    assert len(trained) == 4
    assert read_results(tmp_path / "benchmark.json").extra["folds"] == [0, 1]


def test_other_settings_are_not_mixed_in(setting, tmp_path: Path, trained: list[str]) -> None:
    shutil.copytree(setting.done, tmp_path / "out")
    words = [*setting.words, *setting.generated, "--output", str(tmp_path / "out")]
    with pytest.raises(
        InputError, match=r"runs/real_only-fold0-seed0\.json: was trained with other settings \(steps: 2, now 4\)"
    ):
        run([*words, "--budget.steps", "4"])
    with pytest.raises(InputError, match=r"lr: 0\.001, now 0\.1"):
        run([*words, "--model.optimizer.lr", "0.1"])
    with pytest.raises(InputError, match=r"pretraining_steps: 2, now 3"):
        run([*words, "--budget.pretraining_steps", "3", "--only", "arm=shuffled_control"])
    assert trained == []
    assert run([*words, "--budget.pretraining_steps", "3", "--overwrite", "true"]) == 0
    assert len(trained) == 2 * 3  # those that have a pre-training, and no others


def test_other_volumes_are_other_settings(setting, tmp_path: Path, trained: list[str]) -> None:
    shutil.copytree(setting.done, tmp_path / "out")
    for fold in (0, 1):
        write_generated(tmp_path / f"mine{fold}", setting.origins[fold], number=3)
    words = [*setting.words, "--generated", f"{{mine: '{tmp_path}/mine{{fold}}'}}", "--output", str(tmp_path / "out")]
    with pytest.raises(InputError, match=r"synthetic_only-mine-fold0-seed0\.json.*generated: "):
        run(words)
    assert trained == []


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("StuckToOneFold", r"a StuckToOneFold has 2 folds and no option `fold`; expected one, or --folds \[0\]"),
        ("WithoutTest", "fold 0 has no cases in its part 'test'"),
    ],
)
def test_data_that_cannot_be_benchmarked_say_what_they_lack(kind: str, said: str, setting, tmp_path: Path) -> None:
    words = ["--data", f"toy_parts.{kind}", "--arms", "[real_only]", "--output", str(tmp_path)]
    with pytest.raises(InputError, match=said):
        run(words)
    if kind == "StuckToOneFold":
        brief = [
            "--budget.steps",
            "2",
            "--budget.validation_checks",
            "1",
            "--seeds",
            "[0]",
            "--hardware.accelerator",
            "cpu",
        ]
        assert run([*words, "--folds", "[0]", *brief, "--resamples", "20"]) == 0


@pytest.mark.parametrize("trust", ["false", "true"])
def test_a_generator_of_another_fold_is_refused(setting, tmp_path: Path, trained: list[str], trust: str) -> None:
    generated = ["--generated", f"{{mine: ['{setting.folder}/mine1', '{setting.folder}/mine1']}}"]
    words = [*setting.words, *generated, "--output", str(tmp_path), "--trust_unmanifested", trust]
    with pytest.raises(
        InputError, match=r"mine1: \d of the . (test|validation) patients \(.*\) were in the training data"
    ):
        run(words)
    assert trained == []
    assert not list(tmp_path.iterdir())


def test_volumes_without_manifest_need_trust_and_are_marked(setting, tmp_path: Path, trained: list[str]) -> None:
    for fold in (0, 1):
        shutil.copytree(setting.folder / f"mine{fold}", tmp_path / f"bare{fold}")
        (tmp_path / f"bare{fold}" / "manifest.json").unlink()
    words = [*setting.words, "--generated", f"{{bare: '{tmp_path}/bare{{fold}}'}}", "--output", str(tmp_path / "out")]
    words += ["--arms", "[real_only, mixed]", "--generated_intensities", "[0, 1]"]
    with pytest.raises(InputError, match=r"there is no manifest\.json.*option trust_unmanifested"):
        run(words)
    assert trained == []
    assert run([*words, "--trust_unmanifested", "true"]) == 0
    for suffix in ("md", "tex", "txt"):
        assert "LEAKAGE NOT EXCLUDED for bare" in (tmp_path / "out" / f"table.{suffix}").read_text()
    generated = read_results(tmp_path / "out" / "benchmark.json").extra["generated"]
    assert generated["bare"]["0"]["reason"] == "there is no manifest.json"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data.fold", "1"], "--data.fold: a benchmark takes all folds"),
        (["--folds", "[0, 2]"], "--folds: found 2; with --data.folds 2 the last one is 1"),
        (["--generated", "{}"], "the arm synthetic_only needs generated volumes"),
        (["--generated", "{mine: nowhere}"], "nowhere"),
        (["--data.val_share", "0"], "fold 0 has no cases in its part 'val'"),
        (["--data.augmentation", "null"], "the arm real_augmented needs one"),
        (["--arms", "[mixed]"], "real_only is missing"),
        (["--budget.validation_checks", "3"], "--budget"),
        (["--only", "arm=none"], "no training of this benchmark"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_trained(
    setting, tmp_path: Path, trained: list[str], words: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run([*setting.words, *setting.generated, "--output", str(tmp_path / "out"), *words])
    assert trained == []


@pytest.mark.parametrize(
    "words", [["--budget.step", "3"], ["--generate", "{}"], ["--model.netwrk", "x"], ["--seeds", "one"]]
)
def test_unknown_options_are_refused(setting, tmp_path: Path, words: list[str]) -> None:
    with pytest.raises(ArgumentError):
        run([*setting.words, "--output", str(tmp_path), *words])


@pytest.mark.parametrize("configs", [("benchmark.yaml",), ("benchmark.yaml", "demo/benchmark.yaml")], ids="+".join)
def test_shipped_experiments_run(setting, tmp_path: Path, configs: tuple[str, ...]) -> None:
    words = [word for name in configs for word in ("--config", str(EXPERIMENTS / name))]
    small = ["--data.roi_size", "16", "--data.spacing", "2.0", "--data.folds", "2", "--data.batch_size", "2"]
    small += [
        "--budget.steps",
        "1",
        "--budget.pretraining_steps",
        "1",
        "--budget.validation_checks",
        "1",
        "--resamples",
        "20",
    ]
    small += [
        "--arms",
        "[real_only, finetuned_100]",
        "--folds",
        "[0]",
        "--seeds",
        "[3]",
        "--hardware.accelerator",
        "cpu",
    ]
    assert run([*words, *setting.words[2:], *setting.generated, *small, "--output", str(tmp_path)]) == 0
    content = json.loads((tmp_path / "runs" / "finetuned_100-mine-fold0-seed3.json").read_text())
    assert content["network"] == ("SmallCNN" if len(configs) == 2 else "ResNet3D")
    assert content["settings"]["precision"] == ("32-true" if len(configs) == 2 else "bf16-mixed")
