"""Figures of an evaluation against the metrics taken by hand, copies that are caught, and what is compared with what."""

import dataclasses
import json

import nibabel as nib
import numpy as np
import pytest
import torch
from volumes import blob, write_volumes

from data_modules.errors import InputError
from data_modules.volumes.file import to_nifti
from data_modules.volumes.folder import VolumeFolder
from tumorgen.classifier.networks import SmallCNN
from tumorgen.evaluation.compare import evaluate
from tumorgen.evaluation.distances import paper_records
from tumorgen.evaluation.extractors import ClassifierExtractor, extract
from tumorgen.evaluation.groups import Settings, compare
from tumorgen.metrics import frechet, kid, manifold, mmd
from tumorgen.metrics.ms_ssim import diversity
from tumorgen.metrics.resampling import share_interval
from tumorgen.metrics.shape import FIGURES, plausible_share, shape_of

SETTINGS = Settings(resamples=50, permutations=50, splits=8, passes=20, pairs=10, neighbours=2, mmd_batch=3, closest=3)
PARTS = ("train", "train", "val", "test")
FEATURES = (
    "mmd_rbf_features",
    "kid",
    "fid",
    "precision",
    "recall",
    "density",
    "coverage",
    "memorisation_share_features",
)
SHAPES = tuple(f"shape_{figure}_share" for figure in (*FIGURES, "all"))
EVERYWHERE = (*FEATURES, *SHAPES, "mmd_rbf_blocks", "mmd_paper", "memorisation_share_voxels")
PER_CLASS = ("ms_ssim_diversity", "ms_ssim_diversity_paper")


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    return VolumeFolder(write_volumes(tmp_path_factory.mktemp("real"), 24, manifest={"kind": "real"}, parts=PARTS))


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    return VolumeFolder(write_volumes(tmp_path_factory.mktemp("x") / "samples", 8, seed=500, manifest={"method": "X"}))


@pytest.fixture(scope="module")
def extractor():
    torch.manual_seed(0)
    return ClassifierExtractor(SmallCNN(widths=(4, 8)), "untrained")


@pytest.fixture(scope="module")
def result(real, generated, extractor):
    return evaluate(real, generated, [extractor], SETTINGS)


def find(result, metric, name):
    (record,) = [record for record in result.records if (record.metric, record.group["class"]) == (metric, name)]
    return record


def test_every_class_and_all_pooled_have_every_figure_with_floor_and_definition(result):
    found = {(record.metric, record.group["class"]) for record in result.records}
    expected = {(metric, name) for metric in EVERYWHERE for name in ("LGG", "HGG", "pooled")}
    assert found == expected | {(metric, name) for metric in PER_CLASS for name in ("LGG", "HGG")}
    assert len(found) == len(result.records)
    for record in result.records:
        assert record.group["generated"] == "samples"
        assert record.definition["better"] in ("lower", "higher", "real")
        meant = {"shape": "all", "memorisation": "those held out"}
        real_volumes = meant.get(record.metric.split("_")[0], "validation and test part of fold ? of ?")
        assert record.definition["real_volumes"] == real_volumes
        assert record.floor is not None
        assert record.interval is not None
        assert record.interval.low <= record.interval.high
        assert record.counts["generated"] > 1
        json.dumps(record.to_json(), allow_nan=False)
        if record.metric.endswith("_share") or record.metric.startswith("memorisation"):
            n = record.counts["generated"]
            assert record.interval == share_interval(round(record.value * n), n)
        if record.metric in FEATURES:
            assert record.definition["extractor"]["name"] == "classifier"
            assert len(record.definition["extractor"]["sha256"]) == 64
    assert [record.p_value is not None for record in result.records] == [
        record.metric in ("kid", "mmd_rbf_features", "mmd_rbf_blocks") for record in result.records
    ]


def test_feature_figures_equal_the_metrics_taken_by_hand(result, real, generated, extractor):
    held_out = [i for i in range(len(real)) if real.parts[real.names[i]] != "train"]
    assert len(held_out) == 24
    for label, name in enumerate(("LGG", "HGG")):
        x = extract(extractor, generated, generated.indices(label))
        y = extract(extractor, real, [i for i in held_out if real.labels[i] == label])
        assert find(result, "kid", name).value == pytest.approx(kid.kid(x, y), abs=1e-9)
        assert find(result, "fid", name).value == pytest.approx(frechet.fid(x, y, shrink=True), rel=1e-5)
        assert find(result, "fid", name).definition["regularisation"].startswith("Ledoit-Wolf")
        by_hand = manifold.manifold(manifold.distances(x, y), 2)
        assert find(result, "coverage", name).value == pytest.approx(by_hand.coverage)
        assert find(result, "density", name).value == pytest.approx(by_hand.density)
        bandwidth = mmd.median_bandwidth(extract(extractor, real, held_out))  # of all classes: one per set of real data
        record = find(result, "mmd_rbf_features", name)
        assert record.definition["bandwidth"] == pytest.approx(bandwidth)
        kernel = [mmd.rbf_kernel(a, b, bandwidth) for a, b in ((x, x), (y, y), (x, y))]
        assert record.value == pytest.approx(float(mmd.mmd2_unbiased(*kernel)), abs=1e-9)
        assert record.counts == {"real": 12, "generated": 8}
        assert record.floor.size == 6


def test_voxel_figures_equal_the_metrics_taken_by_hand(result, real, generated):
    x, y = generated.stack(generated.indices(1)), real.stack(real.indices(1, ["val", "test"]))
    gram = mmd.linear_gram(list(x), list(y))
    record = find(result, "mmd_paper", "HGG")
    by_hand = mmd.mmd_paper(gram, 3, 20, seed=0)
    assert (record.value, record.details["sd"]) == pytest.approx((by_hand.mean, by_hand.sd), rel=1e-5)
    assert record.definition["batch_size"] == 3
    for form, metric in (("standard", "ms_ssim_diversity"), ("paper", "ms_ssim_diversity_paper")):
        record = find(result, metric, "HGG")
        assert record.value == pytest.approx(diversity(x, 10, 0, form).mean, rel=1e-5)
        assert record.counts["pairs"] == 10
        assert record.floor.low <= record.floor.value <= record.floor.high
        assert record.floor.value == pytest.approx(diversity(y, 10, 0, form).mean, abs=0.1)
    shapes = [[shape_of(volume[0].numpy(), 2.0) for volume in part] for part in (x, real.stack(real.indices(1)))]
    expected = plausible_share(*shapes, FIGURES)
    assert {name: find(result, f"shape_{name}_share", "HGG").value for name in expected} == pytest.approx(expected)


def test_interval_and_floor_of_the_published_mmd_keep_its_batches(real, generated):
    """12 real volumes in batches of 5: the last batch has 2, also for parts and halves of the volumes."""
    comparison = compare(real, generated, dataclasses.replace(SETTINGS, mmd_batch=5), "x")
    record = next(record for record in paper_records(comparison) if record.group["class"] == "LGG")
    x, y = (folder.stack(folder.indices(0, parts)) for folder, parts in ((generated, None), (real, ["val", "test"])))
    gram = mmd.linear_gram(list(x), list(y))
    for found, by_hand in (
        (record.interval, mmd.mmd_paper_interval(gram, 5, seed=0)),
        (record.floor, mmd.mmd_paper_floor(gram, 5, seed=0, splits=8)),
    ):
        assert (found.low, found.high) == pytest.approx((by_hand.low, by_hand.high), rel=1e-4)
    assert record.floor.value == pytest.approx(mmd.mmd_paper_floor(gram, 5, seed=0, splits=8).value, rel=1e-4)
    assert "no interval" not in str(record.definition)


def test_volumes_of_the_same_kind_pass_and_others_do_not(result, real, tmp_path, extractor):
    assert all(find(result, "mmd_rbf_blocks", name).p_value > 0.02 for name in ("LGG", "HGG", "pooled"))
    swapped = write_volumes(tmp_path / "swapped", 8, seed=500, manifest={}, classes=("HGG", "LGG"))
    other = evaluate(real, VolumeFolder(swapped, class_names=real.class_names), [extractor], SETTINGS)
    assert all(find(other, "mmd_rbf_blocks", name).p_value < 0.05 for name in ("LGG", "HGG"))
    assert find(other, "mmd_rbf_blocks", "pooled").p_value > 0.02  # pooled, the swap cannot be seen


@pytest.mark.parametrize(
    "change", [lambda v: v, lambda v: v[:, ::-1, ::-1], lambda v: v + NOISE], ids=["copy", "flip", "noise"]
)
def test_copies_of_training_volumes_are_caught_and_shown(real, generated, tmp_path, extractor, change):
    folder = write_volumes(tmp_path / "x", 6, seed=500, manifest={})
    copied = {"LGG": 4, "HGG": 24 + 9}  # both in the training part
    for name, index in copied.items():
        nib.save(to_nifti(change(real.volume(index)), 2.0), folder / name / f"{name}_0001.nii.gz")
    result = evaluate(real, VolumeFolder(folder), [extractor], SETTINGS)
    for name in ("LGG", "HGG"):
        record = find(result, "memorisation_share_voxels", name)
        assert record.details["near_copies"] >= 1
        assert record.value >= 1 / 6
        assert record.definition["reference"] == "held-out"
        assert record.counts == {"real": 12, "generated": 6, "training": 24}
    closest = [pair for pair in result.pairs if pair.space == "voxels"][:2]
    assert {(pair.generated, pair.training) for pair in closest} == {(0, 4), (6, 33)}
    assert [pair.space for pair in result.pairs] == ["voxels"] * 3 + ["classifier"] * 3


NOISE = 0.02 * np.random.default_rng(0).normal(size=(16, 16, 16)).astype(np.float32)


def test_honest_volumes_are_not_accused(result):
    shares = [find(result, "memorisation_share_voxels", name).value for name in ("LGG", "HGG")]
    assert max(shares) < 0.5
    assert find(result, "memorisation_share_voxels", "pooled").definition["expected_for_honest_volumes"] == 0.05


def test_without_parts_all_real_volumes_count_and_copies_are_held_against_leave_one_out(tmp_path, extractor):
    folder = write_volumes(tmp_path / "real", 10, manifest={})
    names = {"LGG/LGG_0001": blob(0), "HGG/HGG_0003": blob(1002, grade=1)}
    samples = write_volumes(tmp_path / "x", 5, seed=500, manifest={})
    for name, volume in names.items():
        nib.save(to_nifti(volume, 2.0), samples / f"{name}.nii.gz")
    result = evaluate(VolumeFolder(folder), VolumeFolder(samples), [extractor], SETTINGS)
    record = find(result, "memorisation_share_voxels", "pooled")
    assert record.definition["reference"] == "leave-one-out"
    assert record.definition["real_volumes"] == "those trained on"
    assert find(result, "kid", "LGG").definition["real_volumes"] == "all"
    assert record.details["near_copies"] >= 2
    assert record.details["smallest_distance"] == pytest.approx(0, abs=1e-6)
    assert find(result, "kid", "LGG").counts == {"real": 10, "generated": 5}


def test_scans_of_the_same_patient_are_no_others(tmp_path, extractor):
    """Every real volume is there twice, as two scans of one patient: leave-one-out distances must not be zero."""
    folder = write_volumes(tmp_path / "real", 6, manifest={})
    manifest = json.loads((folder / "manifest.json").read_text())
    for entry in list(manifest["volumes"]):
        entry["patient"] = entry["file"]
        twin = entry["file"].replace(".nii.gz", "_b.nii.gz")
        (folder / twin).write_bytes((folder / entry["file"]).read_bytes())
        manifest["volumes"].append({**entry, "file": twin})
    (folder / "manifest.json").write_text(json.dumps(manifest))
    result = evaluate(VolumeFolder(folder), VolumeFolder(folder), [extractor], SETTINGS)
    record = find(result, "memorisation_share_voxels", "pooled")
    assert record.details["limit"] > 0.05
    assert record.value == 1


def test_a_folder_of_training_volumes(tmp_path, real, generated, extractor):
    held_out = VolumeFolder(write_volumes(tmp_path / "held out", 8, seed=300, manifest={}))
    training = VolumeFolder(write_volumes(tmp_path / "training", 8, seed=0, manifest={}))
    result = evaluate(held_out, generated, [extractor], SETTINGS, label="ours", training=training)
    record = find(result, "memorisation_share_voxels", "LGG")
    assert record.counts == {"real": 8, "generated": 8, "training": 16}
    assert record.definition["reference"] == "held-out"
    assert record.group["generated"] == "ours"
    with pytest.raises(InputError, match="says already which volumes are for training"):
        evaluate(real, generated, [extractor], SETTINGS, training=training)


def test_the_reference_can_be_all_real_volumes(real, generated):
    comparison = compare(real, generated, dataclasses.replace(SETTINGS, reference="all"), "x")
    assert [len(group.real) for group in comparison.groups] == [24, 24, 48]
    assert comparison.reference == "all of fold ? of ?"


def test_pooled_volumes_have_the_real_proportions_of_classes(tmp_path):
    real = write_volumes(tmp_path / "real", 12, manifest={})
    for path in sorted((real / "LGG").iterdir())[4:]:
        path.unlink()
    generated = VolumeFolder(write_volumes(tmp_path / "x", 9, seed=500, manifest={}))
    pooled = compare(VolumeFolder(real), generated, SETTINGS, "x").groups[-1]
    assert pooled.name == "pooled"
    counts = np.bincount(generated.labels[pooled.generated.numpy()]).tolist()
    assert counts == [3, 9]  # as 4 to 12
    assert len(pooled.real) == 16


def test_a_class_that_was_not_generated_is_left_out(tmp_path, real):
    folder = VolumeFolder(write_volumes(tmp_path, 4, manifest={}, classes=("LGG",)), class_names=real.class_names)
    assert [group.name for group in compare(real, folder, SETTINGS, "x").groups] == ["LGG"]


def test_the_same_seed_gives_the_same_records(result, real, generated, extractor):
    again = evaluate(real, generated, [extractor], SETTINGS)
    assert [record.id for record in again.records] == [record.id for record in result.records]
    assert again.pairs == result.pairs
    other = evaluate(real, generated, [extractor], dataclasses.replace(SETTINGS, seed=1))
    assert {record.id for record in other.records}.isdisjoint(record.id for record in result.records)


def test_folders_that_do_not_fit_are_refused(real, tmp_path):
    single = VolumeFolder(write_volumes(tmp_path / "one", 1, manifest={}))
    with pytest.raises(InputError, match=r"class LGG: 1 generated volumes .* 12 real ones held out in"):
        compare(real, single, SETTINGS, "x")
    larger = VolumeFolder(write_volumes(tmp_path / "large", 4, size=20, manifest={}))
    with pytest.raises(InputError, match="20 voxels a side; expected LGG, HGG, 16 voxels"):
        compare(real, larger, SETTINGS, "x")


@pytest.mark.parametrize(("name", "value"), [("splits", 0), ("pairs", -1), ("memory", 0.0), ("reference", "some")])
def test_settings_that_make_no_sense(name, value):
    with pytest.raises(InputError, match=f"--{name}: found {value}, expected"):
        Settings(**{name: value})
