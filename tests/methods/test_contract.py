"""What every generator that is shipped can do; a new one brings only a small experiment, `tests/helpers/tiny_*.yaml`."""

import importlib
import inspect
import json
from math import isfinite
from pathlib import Path

import pytest
import torch
from front import HELPERS, ROOT, TINY_VQGAN, read_yaml
from house import House
from journey import (
    METRICS,
    Home,
    columns,
    curve,
    last,
    manifest,
    same_training,
    sampled_brightness,
    seen_brightness,
    with_raw_weights,
)

from data_modules.brats import BraTSDataModule
from data_modules.errors import InputError
from data_modules.files import sha256
from data_modules.origin import Origin, check
from data_modules.volumes.folder import VolumeFolder
from tumorgen.methods.generator import Generator, load_generator
from tumorgen.methods.method import Method

EVALUATION = {
    "class_path": "tumorgen.evaluation.callback.GeneratorEvaluation",
    "init_args": {"per_class": 4, "sheet_volumes": 1, "max_overhead": None, "metrics": str(METRICS)},
}
AVERAGING = {"class_path": "lightning.pytorch.callbacks.EMAWeightAveraging", "init_args": {"decay": 0.5}}


def shipped() -> set[type[Method]]:
    """Classes of all LightningModules in the modules of all methods."""
    names = [name.removesuffix(".py").replace("/", ".") for name in House(ROOT).lightning_modules]
    found = {item for name in names for item in vars(importlib.import_module(name)).values() if inspect.isclass(item)}
    return {item for item in found if issubclass(item, Method) and item.__module__ in names}


def class_of(experiment: Path) -> type[Method]:
    """The class that an experiment trains."""
    module, _, name = read_yaml(experiment)["model"]["class_path"].rpartition(".")
    return vars(importlib.import_module(module))[name]


TINY = sorted(HELPERS.glob("tiny_*.yaml"))
GENERATORS = [path for path in TINY if issubclass(class_of(path), Generator)]


def test_every_method_has_a_tiny_experiment() -> None:
    assert shipped() <= {class_of(path) for path in TINY}
    assert GENERATORS


class System:
    """A generator on its way through the commands; what is compared is trained once.

    Args:
        home: Where, and with which data.
        words: Options that name its experiment.
    """

    def __init__(self, home: Home, words: tuple[object, ...]) -> None:
        self.home, self.words = home, words
        self.run = self.fit(EVALUATION)
        self.generator = load_generator(last(self.run))
        self.classes = self.generator.class_names

    def typed(self, *callbacks: dict[str, object], run: str) -> tuple[object, ...]:
        """Options of a training with these callbacks."""
        overlay = self.home.folder / f"{run}.yaml"
        overlay.write_text(json.dumps({"trainer": {"callbacks": list(callbacks)}}))
        return (*self.words, "--config", overlay)

    def fit(self, *callbacks: dict[str, object], run: str = "run") -> Path:
        """Trains for two epochs of two batches."""
        return self.home.fit(*self.typed(*callbacks, run=run), run=run)

    def predict(self, run: Path, *words: object, into: str) -> Path:
        """Two volumes of each class."""
        return self.home.predict(last(run), *words, counts=json.dumps(dict.fromkeys(self.classes, 2)), into=into)


@pytest.fixture(scope="module", params=GENERATORS, ids=lambda path: path.stem.removeprefix("tiny_"))
def system(
    request: pytest.FixtureRequest, small_data: tuple[object, ...], tmp_path_factory: pytest.TempPathFactory
) -> System:
    experiment: Path = request.param
    home = Home(tmp_path_factory.mktemp(experiment.stem), small_data)
    data = ("--data", "data_modules.brats.BraTSDataModule")
    words: tuple[object, ...] = ("--config", experiment, *data)
    for part in class_of(experiment).self_contained:
        tokenizer = home.fit("--config", TINY_VQGAN, *data, run="tokenizer")
        words += (f"--model.{part}", last(tokenizer))
    return System(home, (*words, "--trainer.limit_train_batches", 2))


@pytest.fixture(scope="module")
def samples(system: System) -> Path:
    return system.predict(system.run, into="samples")


def hashes(folder: Path) -> list[str]:
    """What the volumes are, in the manifest's order."""
    return [entry["sha256"] for entry in manifest(folder)["volumes"]]


def test_evaluation_while_it_trains(system: System) -> None:
    names = [f"{metric}_{name}" for metric in ("mmd_rbf_blocks", "ms_ssim_diversity") for name in system.classes]
    if len(system.classes) > 1:  # a class alone cannot be told from another
        names.append("benchmark_auc")
    for name in names:
        assert len(curve(system.run, f"evaluation/{name}")) == 2, name


def test_predict_repeats_itself(system: System, samples: Path) -> None:
    assert hashes(samples) == hashes(system.predict(system.run, into="again"))
    assert len(set(hashes(samples))) == 2 * len(system.classes)


def test_a_volume_alone_is_the_volume_in_a_batch(system: System) -> None:
    names, seeds = [*system.classes, *system.classes], range(7, 7 + 2 * len(system.classes))
    together = system.generator.sample_classes(names, list(seeds))
    alone = torch.cat(
        [system.generator.sample_classes([name], [seed]) for name, seed in zip(names, seeds, strict=True)]
    )
    assert (together - alone).abs().max() <= (0 if system.generator.batch_invariant else 1e-3)
    assert together.shape == (len(names), system.generator.in_channels, *(system.generator.roi_size,) * 3)
    assert together.dtype == torch.float32
    assert together.abs().max() <= 1


def test_the_manifest_tells_what_is_there(system: System, samples: Path) -> None:
    content = manifest(samples)
    assert content["generators"][0]["checkpoint_sha256"] == sha256(last(system.run))
    assert (tuple(content["class_names"]), content["roi_size"]) == (system.classes, system.generator.roi_size)
    for entry in content["volumes"]:
        assert entry["sha256"] == sha256(samples / entry["file"])
    entry = content["volumes"][0]
    volume = system.generator.sample_classes([entry["class"]], [entry["seed"]])
    folder = VolumeFolder(samples)
    found = folder[folder.names.index(entry["file"].removesuffix(".nii.gz"))]["volume"]
    assert (found - volume.where(volume > -0.9, -1.0)[0]).abs().max() < 1e-3


def test_no_patient_of_the_test_fold_is_behind_it(samples: Path, small_data: tuple[object, ...]) -> None:
    options = dict(zip((word.removeprefix("--data.") for word in small_data[::2]), small_data[1::2], strict=True))
    origin = Origin.from_json(manifest(samples)["origin"])
    for fold in (0, 1):
        data = BraTSDataModule(**options, fold=fold)
        data.setup()
        tested, trained = {"test": data.test.patients}, data.train.patients
        if fold:  # those that it was trained on
            with pytest.raises(InputError, match="were in the training data"):
                check(samples, origin, data.patient_key, tested)
        else:
            verdict = check(samples, origin, data.patient_key, tested, trained)
            assert verdict.certain
            assert verdict.recognised == len(set(trained))


def test_killed_and_resumed_is_never_killed(system: System) -> None:
    words = system.typed(EVALUATION, run="cut")
    system.home.cut(*words)
    assert same_training(system.home.fit(*words, run="cut", resume=True), system.run)


@pytest.mark.parametrize("averaged_first", [True, False])
def test_averaged_weights_are_sampled(system: System, averaged_first: bool) -> None:
    """Evaluation and checkpoint agree, whichever callback stands first; the weights as trained sample something else."""
    looking = EVALUATION | {"init_args": EVALUATION["init_args"] | {"metrics": ["guestlib.metric.Brightness"]}}
    callbacks = [AVERAGING, looking] if averaged_first else [looking, AVERAGING]
    run = system.fit(*callbacks, run=f"averaged{averaged_first}")
    seen = seen_brightness(run)
    assert seen.keys() == set(system.classes)
    assert seen == pytest.approx(sampled_brightness(last(run), 4), abs=1e-6)
    assert seen != pytest.approx(sampled_brightness(with_raw_weights(last(run)), 4), abs=1e-6)


def test_half_precision(system: System) -> None:
    """Two steps; where it samples so, the batch size is part of what makes a volume, and stands in the manifest."""
    half = ("--trainer.precision", "bf16-mixed")
    run = system.home.fit(*system.words, *half, "--trainer.max_epochs", 1, run="half")
    logged = (name for name in columns(run) if name.startswith("train/"))
    assert all(isfinite(value) for name in logged for value in curve(run, name))
    content = manifest(system.predict(run, *half, "--data.batch_size", 3, into="half"))
    assert content["generators"][0]["sampler"]["precision"] == "bf16-mixed"
    assert content["generators"][0]["sampler"]["batch_size"] == 3
