"""The phantom data module: classes before anything is written, then a cohort like any other."""

import pytest
import torch
from jsonargparse import ArgumentParser

from data_modules.brats import BraTSDataModule
from data_modules.errors import InputError
from data_modules.phantom import PhantomDataModule


def test_classes_are_known_before_anything_is_written(tmp_path):
    root = tmp_path / "phantoms"
    assert PhantomDataModule(root).class_names == ("LGG", "HGG")
    assert PhantomDataModule(root).num_classes == 2
    assert PhantomDataModule(root, hgg=3, lgg=0).class_names == ("HGG",)
    assert PhantomDataModule(root, class_names=["HGG", "LGG"]).class_names == ("HGG", "LGG")
    assert not root.exists()
    with pytest.raises(InputError, match="hgg is -1"):
        PhantomDataModule(root, hgg=-1)


def test_first_use_writes_the_cohort_and_prepares_it(tmp_path):
    data = PhantomDataModule(
        tmp_path / "phantoms", hgg=2, lgg=2, roi_size=32, spacing=4.0, folds=2, val_share=0.0, batch_size=2
    )
    before = data.class_names
    assert data.phantom
    data.prepare_data()
    data.setup()
    assert data.origin.phantom
    assert BraTSDataModule(tmp_path / "phantoms").phantom, "the folder says it, too"
    assert data.class_names == data.cohort.class_names == before
    assert len(data.train) + len(data.val) + len(data.test) == 4
    batch = next(iter(data.test_dataloader()))
    assert batch["volume"].shape == (2, 1, 32, 32, 32)
    assert batch["volume"].amin() == -1
    assert sorted(batch["label"].tolist()) == [0, 1]
    assert torch.isfinite(batch["volume"]).all()
    assert all(name.startswith("BraTS19_Phantom_") for name in batch["case"])
    other = PhantomDataModule(tmp_path / "phantoms", hgg=2, lgg=2, phantom_seed=1)
    with pytest.raises(InputError, match="another phantom cohort"):
        other.prepare_data()


def test_options_of_brats_are_options_of_phantoms(tmp_path):
    """The command line sees through `**options`: every option of BraTSDataModule, typed, and nothing else."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(PhantomDataModule, "data")
    words = [f"--data={PhantomDataModule.__module__}.PhantomDataModule", f"--data.root={tmp_path}", "--data.hgg=4"]
    config = parser.parse_args([*words, "--data.roi_size=32", "--data.folds=2", "--data.phantom_seed=7"])
    data = parser.instantiate_classes(config).data
    assert isinstance(data, PhantomDataModule)
    assert (data.phantoms.hgg, data.phantoms.seed, data.roi_size, data.folds) == (4, 7, 32, 2)
    with pytest.raises(Exception, match="roi_sizes"):
        parser.parse_args([*words, "--data.roi_sizes=32"])
