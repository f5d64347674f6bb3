"""What a generator is held against while it trains is real, and as it is on disk, whatever training makes of it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import handmade_time
import pytest
import torch
from handmade_time import Clock, Learner, Slow
from toy import ToyDataModule
from volumes import write_volumes

from data_modules.brats import BraTSDataModule
from data_modules.errors import InputError
from data_modules.synthetic import MixedDataModule, SyntheticDataModule
from tumorgen.evaluation.callback import GeneratorEvaluation
from tumorgen.evaluation.during_training import real_volumes
from tumorgen.metrics.metric import Resampling

SHAPE: dict[str, Any] = {"roi_size": 16, "spacing": 2.0, "folds": 2, "batch_size": 4}


@pytest.fixture(scope="module")
def real(tiny_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> BraTSDataModule:
    data = BraTSDataModule(tiny_cohort, cache_dir=tmp_path_factory.mktemp("cache"), augmentation=None, **SHAPE)
    data.prepare_data()
    data.setup()
    return data


@pytest.fixture(scope="module")
def samples(real: BraTSDataModule, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_volumes(tmp_path_factory.mktemp("samples"), per_class=6, manifest={"origin": real.origin.to_json()})


def module(kind: type[SyntheticDataModule], real: BraTSDataModule, samples: Path, **more: Any) -> SyntheticDataModule:
    """The data of which nothing is left after augmentation."""
    whole = BraTSDataModule(real.root, cache_dir=real.cache_dir, augmentation=torch.zeros_like, **SHAPE)
    return kind(whole, samples, **more)


def test_real_cases_of_a_mix_are_the_real_ones_as_on_disk(real: BraTSDataModule, samples: Path) -> None:
    data = module(MixedDataModule, real, samples, oversample=True, shuffle_labels=True)
    data.prepare_data()
    data.setup("fit")
    training, generated = data.train_real, data.train_generated
    assert real.train is not None
    assert data.val is not None
    assert training is not None
    assert generated is not None
    expected = {item["case"]: item for item in map(real.train.__getitem__, range(len(real.train)))}
    assert sorted(item["case"] for item in map(training.__getitem__, range(len(training)))) == sorted(expected)
    for index in range(len(training)):
        item = training[index]
        assert torch.equal(item["volume"], expected[item["case"]]["volume"])
        assert item["label"] == expected[item["case"]]["label"]
    assert len(generated) == len({generated[index]["case"] for index in range(len(generated))}) == 12
    assert all(generated[index]["volume"].max() > 0 for index in range(12))
    assert next(iter(data.train_dataloader()))["volume"].abs().max() == 0, "training goes on with its augmentation"
    found = real_volumes(data, Resampling())
    assert len(found.training) == len(expected) + 12
    assert found.generated_training == 12
    assert len(found.everything) == len(expected) + len(data.val)
    assert found.held_out is found.compared
    assert len(found.compared) == len(data.val)
    assert found.facts == {"real_volumes": "validation part of fold 0 of 2"}
    assert min(float(volume.max()) for volume in found.training) > 0
    labels = [training[index]["label"] for index in range(len(training))]
    assert found.training.labels[: len(expected)].tolist() == labels


def test_training_on_generated_volumes_alone_is_refused_before_it_begins(
    real: BraTSDataModule, samples: Path, tmp_path: Path
) -> None:
    clock = Clock()
    model, data = Learner(clock, 0.0), module(SyntheticDataModule, real, samples)
    callback = GeneratorEvaluation(per_class=4, metrics=[Slow(clock, 1.0)], clock=clock)
    with pytest.raises(InputError, match="GeneratorEvaluation needs real training cases"):
        handmade_time.trainer(tmp_path, [callback], max_epochs=1).fit(model, data)
    assert clock.now == 0
    sheets_only = GeneratorEvaluation(per_class=4, metrics=[], clock=clock)
    trainer: Any = SimpleNamespace(datamodule=data, fast_dev_run=False)
    sheets_only.on_fit_start(trainer, model)


def test_data_without_a_validation_part_have_no_held_out_volumes() -> None:
    data = ToyDataModule()
    data.setup("fit")
    data.val = None
    found = real_volumes(data, Resampling())
    assert found.held_out is None
    assert len(found.compared) == len(found.training) == len(found.everything) == 8
    assert found.facts["real_volumes"] == "training part (nothing was held out) of fold 0 of 1"
