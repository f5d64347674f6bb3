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
from data_modules.volumes.select import repeated


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
    tested = [{entry.case for entry in data.test.entries} for data in (zero, one)]
    assert len(tested[0] | tested[1]) == 8
    assert not tested[0] & tested[1]
    assert zero.origin != one.origin
    assert (zero.origin.fold, zero.origin.patients) == (0, zero.patient_key.hashes(zero.train.patients))
    assert zero.held_out == {"validation": zero.val.patients, "test": tuple(sorted(zero.test.patients))}
    assert (len(zero.train), len(zero.val), len(zero.test)) == (3, 1, 4)


def test_the_last_partial_batch_is_kept(make):
    assert [len(batch["case"]) for batch in make(batch_size=2).train_dataloader()] == [2, 1]


def test_only_training_volumes_are_augmented_and_only_by_the_loader(make):
    data = make()
    for volumes in (data.train, data.val, data.test):
        np.testing.assert_array_equal(volumes[0]["volume"][0], data.store.load(volumes.entries[0].roi))
    plain = originals(data)
    assert not any(torch.equal(volume, plain[case]) for case, volume in epoch(data).items())
    assert all(torch.equal(volume, plain[case]) for case, volume in epoch(make(augmentation=None)).items())


def originals(data):
    return {case: data.train[index]["volume"] for index, case in enumerate(data.train.cases)}


def epoch(data, number=0):
    """Training volumes of an epoch by case."""
    data.set_epoch(number)
    return {case: volume for b in data.train_dataloader() for case, volume in zip(b["case"], b["volume"], strict=True)}


def equal(one, other):
    return [torch.equal(one[case], other[case]) for case in one]


def test_augmentation_belongs_to_seed_epoch_and_case(make):
    """Whatever process reads a volume, in whatever batch and order."""
    seed_everything(1, verbose=False)
    first, second = epoch(make(batch_size=1)), epoch(make(batch_size=1), number=1)
    assert not any(equal(first, second))
    torch.randperm(7)  # another order, and other numbers from the global generator
    state = torch.get_rng_state()
    assert all(equal(first, epoch(make(batch_size=3, num_workers=2))))
    torch.set_rng_state(state)
    assert all(equal(second, epoch(make(batch_size=2), number=1)))
    seed_everything(2, verbose=False)
    assert not any(equal(first, epoch(make(batch_size=1))))


def test_workers_that_live_on_see_the_epoch_change(make):
    data = make(batch_size=1, num_workers=2)
    loader = data.train_dataloader()
    volumes = []
    for number in (0, 1, 0):
        data.set_epoch(number)
        volumes.append({case: volume for b in loader for case, volume in zip(b["case"], b["volume"], strict=True)})
    assert not any(equal(volumes[0], volumes[1]))
    assert all(equal(volumes[0], volumes[2]))


def test_copies_of_a_case_are_augmented_each_in_its_own_way(make):
    data = make(batch_size=1)
    data.train = repeated(data.train, 2)
    volumes = [batch["volume"] for batch in data.train_dataloader()]
    assert not any(torch.equal(volumes[i], volumes[j]) for i in range(6) for j in range(i))


def test_augmentation_leaves_the_generators_of_the_process_alone(make):
    data = make(batch_size=3)
    torch.manual_seed(0)
    next(iter(data.train_dataloader()))
    after = torch.rand(1)
    torch.manual_seed(0)
    next(iter(make(batch_size=3, augmentation=None).train_dataloader()))
    assert torch.equal(after, torch.rand(1))


def test_loader_processes_are_chosen_by_size(tiny_cohort, monkeypatch):
    monkeypatch.setattr("data_modules.base.available_cores", lambda: 16)
    assert (default_workers(32), default_workers(128)) == (0, 4)
    assert BraTSDataModule(tiny_cohort, roi_size=128).num_workers == 4
    assert BraTSDataModule(tiny_cohort, roi_size=128, num_workers=1).num_workers == 1


def test_datasets_can_be_sent_to_other_processes(make):
    data = make()
    copy = pickle.loads(pickle.dumps(data.train))
    assert copy[0]["case"] == data.train[0]["case"]


def test_every_process_reads_the_same_split(make, tiny_cohort, cache_dir):
    first = make(seed=5)
    other = BraTSDataModule(tiny_cohort, roi_size=32, folds=2, cache_dir=cache_dir, seed=5)
    other.setup("fit")
    assert other.origin == first.origin


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
