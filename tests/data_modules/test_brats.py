"""The data module: what models and loaders get from it."""

import pickle

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from lightning import LightningDataModule, seed_everything

from data_modules.base import ROIDataModule, default_workers
from data_modules.brats import BraTSDataModule
from data_modules.errors import InputError
from data_modules.transforms import TumourAugmentation


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def make(tiny_cohort, cache_dir):
    """A data module on the tiny cohort, prepared and set up."""

    def build(**options):
        data = BraTSDataModule(tiny_cohort, **{"roi_size": 32, "folds": 2, "cache_dir": cache_dir} | options)
        data.prepare_data()
        data.setup("fit")
        return data

    return build


def test_facts_about_the_data_are_cheap(tiny_cohort, tmp_path):
    data = BraTSDataModule(tiny_cohort, cache_dir=tmp_path, roi_size=64, spacing=2.0)
    assert isinstance(data, ROIDataModule)
    facts = (data.num_classes, data.class_names, data.channels, data.roi_size, data.spacing)
    assert facts == (2, ("LGG", "HGG"), 1, 64, 2.0)
    assert list(tmp_path.iterdir()) == []


def test_batches_keep_the_contract(make):
    data = make(batch_size=2, val_share=0.25)
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        for batch in loader:
            assert set(batch) == {"volume", "label", "case"}
            size = len(batch["case"])
            assert batch["volume"].shape == (size, 1, 32, 32, 32)
            assert batch["volume"].dtype == torch.float32
            assert batch["label"].dtype == torch.int64
            assert batch["volume"].amin(dim=(1, 2, 3, 4)).tolist() == [-1.0] * size
            assert batch["volume"].max() <= 1
            for case, label in zip(batch["case"], batch["label"].tolist(), strict=True):
                assert data.class_names[label] in case
                assert data.case_record(case).label == label


def test_parts_are_the_folds(make):
    zero, one = make(fold=0), make(fold=1)
    tested = [{entry.case for entry in data.test_dataset.entries} for data in (zero, one)]
    assert len(tested[0] | tested[1]) == 8
    assert not tested[0] & tested[1]
    assert zero.training_patients == sorted({entry.patient for entry in zero.train_dataset.entries})
    assert zero.training_patients != one.training_patients
    assert (len(zero.train_dataset), len(zero.val_dataset), len(zero.test_dataset)) == (3, 1, 4)


def test_the_last_partial_batch_is_kept(make):
    assert [len(batch["case"]) for batch in make(batch_size=2).train_dataloader()] == [2, 1]


def test_only_training_volumes_are_augmented(make):
    data = make()
    torch.manual_seed(0)
    for dataset in (data.val_dataset, data.test_dataset):
        np.testing.assert_array_equal(dataset[0]["volume"], dataset[0]["volume"])
        np.testing.assert_array_equal(dataset[0]["volume"][0], data.store.load(dataset.entries[0].roi))
    assert not torch.equal(data.train_dataset[0]["volume"], data.train_dataset[0]["volume"])
    plain = make(augmentation=None)
    np.testing.assert_array_equal(plain.train_dataset[0]["volume"], plain.train_dataset[0]["volume"])


def epoch(data):
    return [(batch["case"], batch["volume"].clone()) for batch in data.train_dataloader()]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_training_repeats_itself_with_the_seed(make, num_workers):
    data = make(batch_size=1, num_workers=num_workers)
    runs = []
    for seed in (1, 1, 2):
        seed_everything(seed, workers=True, verbose=False)
        runs.append(epoch(data) + epoch(data))
    for (case, volume), (again, repeated) in zip(runs[0], runs[1], strict=True):
        assert case == again
        assert torch.equal(volume, repeated)
    assert not all(torch.equal(a[1], b[1]) for a, b in zip(runs[0], runs[2], strict=True))


def test_workers_draw_different_augmentations(make):
    data = make(batch_size=1, num_workers=2)
    data.train_dataset.entries = data.train_dataset.entries[:1] * 4
    torch.manual_seed(0)
    volumes = [batch["volume"] for batch in data.train_dataloader()]
    assert not any(torch.equal(volumes[i], volumes[j]) for i in range(4) for j in range(i))


def test_loader_processes_are_chosen_by_size(tiny_cohort, monkeypatch):
    monkeypatch.setattr("data_modules.base.available_cores", lambda: 16)
    assert (default_workers(32), default_workers(128)) == (0, 4)
    assert BraTSDataModule(tiny_cohort, roi_size=128).num_workers == 4
    assert BraTSDataModule(tiny_cohort, roi_size=128, num_workers=1).num_workers == 1


def test_datasets_can_be_sent_to_other_processes(make):
    data = make()
    copy = pickle.loads(pickle.dumps(data.train_dataset))
    assert copy[0]["case"] == data.train_dataset[0]["case"]


def test_every_process_reads_the_same_split(make, tiny_cohort, cache_dir):
    first = make(seed=5)
    other = BraTSDataModule(tiny_cohort, roi_size=32, folds=2, cache_dir=cache_dir, seed=5)
    other.setup("fit")
    assert other.training_patients == first.training_patients


def test_setup_without_preparation_says_what_to_type(tiny_cohort, tmp_path):
    data = BraTSDataModule(tiny_cohort, roi_size=32, cache_dir=tmp_path)
    with pytest.raises(InputError, match="run `tumorgen prepare` first"):
        data.setup("fit")
    with pytest.raises(RuntimeError, match="call prepare_data"):
        data.train_dataloader()


def test_case_record(make):
    record = make().case_record("BraTS19_Tiny_LGG2_1")
    assert (record.class_name, record.patient) == ("LGG", "BraTS19_Tiny_LGG2")
    assert record.roi.geometry.scan_shape == (48, 52, 40)
    with pytest.raises(InputError, match="no case 'nobody' among the 8 prepared ones"):
        make().case_record("nobody")


def test_an_impossible_split_is_refused_before_the_work(tiny_cohort, tmp_path):
    data = BraTSDataModule(tiny_cohort, roi_size=32, folds=5, cache_dir=tmp_path)
    with pytest.raises(InputError, match="5 folds need at least 5 patients of every class"):
        data.prepare_data()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fold": 5}, r"--data\.fold is 5; with --data\.folds 5 it must lie between 0 and 4"),
        ({"roi_size": 0}, r"--data\.roi_size is 0"),
        ({"spacing": -1.0}, r"--data\.spacing is -1\.0"),
        ({"batch_size": 0}, r"--data\.batch_size is 0"),
        ({"num_workers": -1}, r"--data\.num_workers is -1"),
    ],
)
def test_options_out_of_range(tiny_cohort, options, message):
    with pytest.raises(InputError, match=message):
        BraTSDataModule(tiny_cohort, **options)


def test_the_augmentation_is_part_of_the_configuration(tiny_cohort):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(LightningDataModule, "data")
    arguments = ["--data=data_modules.brats.BraTSDataModule", f"--data.root={tiny_cohort}"]
    config = parser.parse_args(arguments)
    assert config.data.init_args.augmentation.class_path == "data_modules.transforms.TumourAugmentation"
    assert type(parser.instantiate_classes(config).data.augmentation) is TumourAugmentation
    again = parser.parse_string(parser.dump(config))
    assert again.data.init_args.augmentation == config.data.init_args.augmentation
    off = parser.parse_args([*arguments, "--data.augmentation=null"])
    assert parser.instantiate_classes(off).data.augmentation is None
    mild = parser.parse_args([*arguments, "--data.augmentation.degrees=1"])
    assert isinstance(parser.instantiate_classes(mild).data.augmentation, TumourAugmentation)
