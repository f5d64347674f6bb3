"""Training on generated volumes and on mixes, by the data modules and through the command line."""

import csv
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from front import only_run, read_yaml, tumorgen
from jsonargparse import ArgumentParser
from lightning import LightningDataModule
from stage2 import tokenizer
from tiny import tiny_vqgan, train
from toy import ToyDataModule
from volumes import write_volumes

from data_modules.brats import BraTSDataModule
from data_modules.errors import InputError
from data_modules.origin import Origin, PatientKey
from data_modules.synthetic import MixedDataModule, SyntheticDataModule
from tumorgen.classifier.module import GradeClassifier
from tumorgen.methods.loading import build, load_method
from tumorgen.methods.transformer.module import MaskedTransformer

SIZE, SPACING = 16, 2.0
SHAPE = {"roi_size": SIZE, "spacing": SPACING, "folds": 2, "augmentation": None, "batch_size": 4}


@pytest.fixture(scope="module")
def real(tiny_cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> BraTSDataModule:
    """The real data of fold 0."""
    data = BraTSDataModule(tiny_cohort, cache_dir=tmp_path_factory.mktemp("cache"), **SHAPE)
    data.prepare_data()
    data.setup()
    return data


@pytest.fixture(scope="module")
def samples(real: BraTSDataModule, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six volumes per class from a generator that was trained on fold 0."""
    return write_volumes(tmp_path_factory.mktemp("samples"), manifest={"origin": real.origin.to_json()})


def elsewhere(real: BraTSDataModule) -> dict[str, Any]:
    """Manifest of volumes whose generator was trained on somebody who is in no part."""
    return {"origin": Origin(real.patient_key.split, 0, real.patient_key.hashes(["elsewhere"])).to_json()}


def again(real: BraTSDataModule, **more: Any) -> BraTSDataModule:
    return BraTSDataModule(real.root, cache_dir=real.cache_dir, **SHAPE | more)


def ready(kind: type[SyntheticDataModule], real: BraTSDataModule, generated: Any, **more: Any) -> SyntheticDataModule:
    own = {key: more.pop(key) for key in ("fold", "augmentation") if key in more}
    data = kind(again(real, **own), generated, **more)
    data.prepare_data()
    data.setup("fit")
    return data


def cases(loader: Any) -> list[str]:
    return sorted(case for batch in loader for case in batch["case"])


def test_synthetic_only_trains_on_generated_and_is_judged_by_real(real: BraTSDataModule, samples: Path) -> None:
    data = ready(SyntheticDataModule, real, samples)
    assert cases(data.train_dataloader()) == sorted(
        f"generated1/{name}/{name}_{i:04d}" for name in ("HGG", "LGG") for i in range(1, 7)
    )
    assert data.train_real is None
    assert cases(data.val_dataloader()) == cases(real.val_dataloader())
    assert cases(data.test_dataloader()) == cases(real.test_dataloader())
    for batch in data.train_dataloader():
        assert batch["volume"].shape[1:] == (1, SIZE, SIZE, SIZE)
        assert [int("/HGG/" in case) for case in batch["case"]] == batch["label"].tolist()


def test_a_mix_holds_both(real: BraTSDataModule, samples: Path) -> None:
    data = ready(MixedDataModule, real, samples)
    assert len(data.train) == 12 + len(real.train)
    assert set(cases(real.train_dataloader())) < set(cases(data.train_dataloader()))
    assert data.train_real.cases == real.train.cases
    assert data.origin == real.origin
    assert ready(MixedDataModule, real, []).train.patients == tuple(e.patient for e in real.train.entries)


def test_shares_limits_oversampling_and_shuffled_labels(real: BraTSDataModule, samples: Path) -> None:
    data = ready(MixedDataModule, real, samples, real_share=0.1, generated_per_class=2)
    assert np.bincount(data.train.labels).tolist() == [3, 3]
    assert len(set(data.train_real.patients)) == 2
    counts = np.bincount([entry.label for entry in real.train.entries])
    assert counts[0] != counts[1]
    balanced = ready(MixedDataModule, real, [], oversample=True)
    assert np.bincount(balanced.train.labels).tolist() == [max(counts)] * 2
    shuffled = ready(SyntheticDataModule, real, samples, shuffle_labels=True).train
    plain = ready(SyntheticDataModule, real, samples).train
    assert shuffled.cases == plain.cases
    assert sorted(shuffled.labels) == sorted(plain.labels)
    assert shuffled.labels.tolist() != plain.labels.tolist()


def test_labels_are_the_real_datas_whatever_the_order_of_the_folders(real: BraTSDataModule, tmp_path: Path) -> None:
    write_volumes(tmp_path, per_class=1, manifest=elsewhere(real), classes=("HGG", "LGG"))
    data = ready(SyntheticDataModule, real, tmp_path)
    assert [item["case"].split("/")[-2] for item in map(data.train.__getitem__, range(2))] == ["LGG", "HGG"]
    assert data.train.labels.tolist() == [0, 1]


def test_generated_volumes_are_augmented_like_real_ones(real: BraTSDataModule, samples: Path) -> None:
    from data_modules.transforms import TumourAugmentation

    changed = ready(SyntheticDataModule, real, samples, augmentation=TumourAugmentation())
    plain = ready(SyntheticDataModule, real, samples).train
    originals = {plain[i]["case"]: plain[i]["volume"] for i in range(len(plain))}
    for batch in changed.train_dataloader():
        for case, volume in zip(batch["case"], batch["volume"], strict=True):
            assert not torch.equal(volume, originals[case])
    assert pickle.loads(pickle.dumps(changed.train))[0]["case"] == plain[0]["case"]


@pytest.mark.parametrize("part", ["validation", "test"])
def test_volumes_that_have_seen_held_out_patients_are_refused(part: str, real: BraTSDataModule, tmp_path: Path) -> None:
    seen = {"validation": real.val, "test": real.test}[part].patients[0]
    leaky = real.origin.joined(Origin(real.patient_key.split, 1, real.patient_key.hashes([seen])))
    write_volumes(tmp_path, manifest={"origin": leaky.to_json()})
    with pytest.raises(InputError, match=rf"1 of the . {part} patients \({seen}\) were in the training data"):
        ready(MixedDataModule, real, tmp_path, trust_unmanifested=True)


def test_the_other_fold_is_refused(real: BraTSDataModule, samples: Path) -> None:
    with pytest.raises(InputError, match="were in the training data"):
        ready(SyntheticDataModule, real, samples, fold=1)


def test_folder_names_may_hold_the_fold(real: BraTSDataModule, tmp_path: Path) -> None:
    for fold in (0, 1):
        origin = ready(MixedDataModule, real, [], fold=fold).origin
        write_volumes(tmp_path / f"fold{fold}", manifest={"origin": origin.to_json()}, seed=fold)
    for fold in (0, 1):
        data = ready(SyntheticDataModule, real, tmp_path / "fold{fold}", fold=fold)
        assert data.generated == [tmp_path / f"fold{fold}"]
        assert data.fold == fold


def test_volumes_without_a_manifest_have_to_be_trusted(real: BraTSDataModule, tmp_path: Path) -> None:
    write_volumes(tmp_path)
    with pytest.raises(InputError, match=r"there is no manifest\.json"):
        ready(SyntheticDataModule, real, tmp_path, intensities="[0, 1]")
    data = ready(SyntheticDataModule, real, tmp_path, intensities="[0, 1]", trust_unmanifested=True)
    assert data.origin == Origin(real.patient_key.split, 0, unknown=True)


def test_every_class_needs_a_volume(real: BraTSDataModule, tmp_path: Path) -> None:
    write_volumes(tmp_path, classes=("HGG",), manifest=elsewhere(real))
    with pytest.raises(InputError, match="no training volume of the class LGG"):
        ready(SyntheticDataModule, real, tmp_path)
    assert np.bincount(ready(MixedDataModule, real, tmp_path).train.labels).min() > 0


def test_other_classes_and_sizes_are_refused(real: BraTSDataModule, tmp_path: Path) -> None:
    origin = elsewhere(real)
    write_volumes(tmp_path / "classes", classes=("IDH", "HGG"), manifest=origin)
    with pytest.raises(InputError, match="IDH"):
        ready(SyntheticDataModule, real, tmp_path / "classes")
    write_volumes(tmp_path / "sizes", size=20, manifest=origin)
    with pytest.raises(InputError, match="expected 16x16x16 voxels"):
        ready(SyntheticDataModule, real, tmp_path / "sizes")
    converted = ready(SyntheticDataModule, real, tmp_path / "sizes", convert=True).train
    assert converted[0]["volume"].shape == (1, SIZE, SIZE, SIZE)


@pytest.mark.parametrize(
    ("kind", "wrong", "said"),
    [
        (SyntheticDataModule, {"generated_per_class": 0}, "generated_per_class is 0"),
        (MixedDataModule, {"real_share": 0.0}, "real_share is 0.0; expected above 0 to 1"),
    ],
)
def test_options_out_of_range(kind: type, wrong: dict, said: str, tiny_cohort: Path) -> None:
    with pytest.raises(InputError, match=said):
        kind(BraTSDataModule(tiny_cohort, **SHAPE), [], **wrong)


@pytest.mark.parametrize("kind", ["MixedDataModule", "SyntheticDataModule"])
def test_a_classifier_is_trained_on_it(kind: str, real: BraTSDataModule, samples: Path, tmp_path: Path) -> None:
    words = ["--model", "tumorgen.classifier.module.GradeClassifier", "--data", f"data_modules.synthetic.{kind}"]
    whole = ["--data.real", "data_modules.brats.BraTSDataModule", "--data.generated", samples, "--runs_dir", tmp_path]
    options = {"root": real.root, "cache_dir": real.cache_dir, "roi_size": SIZE, "spacing": SPACING, "folds": 2}
    size = [word for key, value in options.items() for word in (f"--data.real.{key}", value)]
    brief = ["--trainer.max_epochs", 1, "--trainer.accelerator", "cpu", "--wandb.mode", "disabled"]
    assert tumorgen("fit", *words, *whole, *size, *brief, "--trainer.log_every_n_steps", 1) == 0
    run = only_run("unnamed", tmp_path)
    with open(run / "csv" / "metrics.csv", newline="") as stream:
        assert any(row["val/auc"] for row in csv.DictReader(stream))
    assert str(samples) in str(read_yaml(run / "config.yaml")["data"])
    assert load_method(run / "checkpoints" / "last.ckpt", GradeClassifier).origin == real.origin


@pytest.mark.parametrize(
    ("typed", "folders"), [("a", ["a"]), ("[a, b]", ["a", "b"]), ("[]", []), ("x/fold{fold}", ["x/fold1"])]
)
def test_one_folder_or_several_can_be_typed(typed: str, folders: list[str], tiny_cohort: Path) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(LightningDataModule, "data")
    words = ["--data=data_modules.synthetic.MixedDataModule", "--data.real=data_modules.brats.BraTSDataModule"]
    words += [f"--data.real.root={tiny_cohort}", f"--data.generated={typed}"]
    config = parser.parse_args([*words, "--data.real.folds=2", "--data.real.fold=1"])
    for version in (config, parser.parse_string(parser.dump(config))):
        assert parser.instantiate_classes(version).data.generated == [Path(name) for name in folders]


def test_any_data_module_can_be_mixed_with_generated_volumes(tmp_path: Path) -> None:
    toy = ToyDataModule()
    toy.setup("fit")
    write_volumes(tmp_path, spacing=8.0, manifest={"origin": toy.origin.to_json()})
    data = MixedDataModule(ToyDataModule(), tmp_path)
    data.prepare_data()
    data.setup("fit")
    assert len(data.train) == 12 + 8
    assert data.origin == toy.origin
    assert data.test.cases == toy.test.cases


# ---------------------------------------------------------------------- origin


def of_tokenizer(data: SyntheticDataModule) -> Origin:
    """What a VQGAN says of its patients after a step."""
    vqgan = tiny_vqgan(spacing=SPACING)
    train(vqgan, data=data, limit_train_batches=1)
    return vqgan.origin


def of_transformer(data: SyntheticDataModule, behind: Origin, place: Path) -> Origin:
    """What a transformer says of its patients after a step on tokens of a tokenizer with those `behind` it."""
    checkpoint = torch.load(tokenizer(), weights_only=True)
    torch.save({**checkpoint, "tumorgen": {"origin": behind.to_json()}}, place / "vqgan.ckpt")
    network = {
        "class_path": "tumorgen.methods.transformer.network.TokenTransformer",
        "init_args": {"layers": 1, "heads": 2, "width": 16},
    }
    arguments = {"tokenizer": str(place / "vqgan.ckpt"), "network": network}
    model = build("tumorgen.methods.transformer.module.MaskedTransformer", arguments, MaskedTransformer)
    train(model, data=data, limit_train_batches=1)
    return model.origin


def test_generators_remember_whom_the_volumes_that_they_learn_from_have_seen(
    real: BraTSDataModule, samples: Path, tmp_path: Path
) -> None:
    data = SyntheticDataModule(again(real), samples)
    assert len(real.origin.patients) == len(set(real.train.patients)) > 0
    assert of_tokenizer(data) == real.origin
    assert of_transformer(data, real.origin, tmp_path) == real.origin
    # a tokenizer of another fold, and one of another cohort
    for other in (PatientKey(real.patient_key.split, b"x"), PatientKey("other", b"x")):
        behind = Origin(other.split, 1, other.hashes(["anna"]))
        assert of_transformer(data, behind, tmp_path) == real.origin.joined(behind)


def test_trust_is_not_handed_on(real: BraTSDataModule, tmp_path: Path) -> None:
    """Volumes that were accepted on the user's word leave an origin that is unknown to the next in the chain."""
    for name in ("nobody", "slipped_in", "exchanged"):
        manifest = {"origin": Origin().to_json()} if name == "nobody" else elsewhere(real)
        folder = write_volumes(tmp_path / name, manifest=manifest)
        if name == "slipped_in":
            (folder / "LGG" / "new.nii.gz").write_bytes((folder / "LGG" / "LGG_0001.nii.gz").read_bytes())
        if name == "exchanged":
            content = json.loads((folder / "manifest.json").read_text())
            content["volumes"][0]["sha256"] = "0" * 64
            (folder / "manifest.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match="cannot tell that no held-out patient"):
            ready(SyntheticDataModule, real, folder)
        assert ready(MixedDataModule, real, folder, trust_unmanifested=True).origin.unknown
