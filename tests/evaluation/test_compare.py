"""An evaluation of folders against the metrics taken by hand, copies that are caught, and what is compared with what."""

import dataclasses
import json
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from volumes import blob, write_volumes

from data_modules.errors import InputError
from data_modules.files import sha256
from data_modules.origin import Origin
from data_modules.volumes.file import load_volume, to_nifti
from data_modules.volumes.folder import VolumeFolder
from tumorgen.classifier.networks import SmallCNN
from tumorgen.evaluation.compare import Evaluation, Folders, Options, evaluate_folders
from tumorgen.evaluation.downstream import DownstreamAUC
from tumorgen.evaluation.extractors import TorchScriptExtractor
from tumorgen.evaluation.folder import evaluate_to
from tumorgen.metrics import frechet, kid, manifold, mmd, mmd_paper
from tumorgen.metrics.frechet import FID
from tumorgen.metrics.gram import linear_gram
from tumorgen.metrics.kid import KID
from tumorgen.metrics.manifold import PRDC
from tumorgen.metrics.memorisation import Memorisation
from tumorgen.metrics.metric import Resampling
from tumorgen.metrics.mmd import BlockMMD, FeatureMMD
from tumorgen.metrics.mmd_paper import PaperMMD
from tumorgen.metrics.ms_ssim import MSSSIMDiversity, diversity
from tumorgen.metrics.resampling import share_interval
from tumorgen.metrics.shape import PROPERTIES, ShapePlausibility
from tumorgen.metrics.two_sample import mmd2_unbiased
from tumorgen.results.layouts import closest_pairs

QUICK = Resampling(resamples=50, permutations=50, splits=8)
METRICS = (
    PaperMMD(3, passes=20),
    FeatureMMD(),
    BlockMMD(),
    KID(),
    FID(),
    PRDC(2),
    MSSSIMDiversity("paper", 10),
    MSSSIMDiversity(pairs=10),
    ShapePlausibility(),
    Memorisation(closest=3),
    DownstreamAUC(1, 2),
)
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
SHAPES = tuple(f"shape_{figure}_share" for figure in (*PROPERTIES, "all"))
EVERYWHERE = (*FEATURES, *SHAPES, "mmd_rbf_blocks", "mmd_paper", "memorisation_share_voxels")
PER_CLASS = ("ms_ssim_diversity", "ms_ssim_diversity_paper")


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    return VolumeFolder(write_volumes(tmp_path_factory.mktemp("real"), 24, manifest={"kind": "real"}, parts=PARTS))


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    return VolumeFolder(write_volumes(tmp_path_factory.mktemp("x") / "samples", 8, seed=500, manifest={"method": "X"}))


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """A TorchScript network without training."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("features") / "net.pt"
    torch.jit.save(torch.jit.trace(Features(SmallCNN(widths=(4, 8)).eval()), torch.rand(2, 1, 16, 16, 16)), path)
    return str(path)


class Features(torch.nn.Module):
    """The features of a network as its output."""

    def __init__(self, network: SmallCNN) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network.features(x)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory, features):
    scratch = tmp_path_factory.mktemp("scratch")

    def evaluate(real, generated, training=None, metrics=METRICS, how=QUICK, **options) -> Evaluation:
        chosen = Options(**{"features": features, **options})
        return evaluate_folders(Folders(real, generated, training), metrics, scratch, chosen, how)

    return evaluate


@pytest.fixture(scope="module")
def result(real, generated, evaluated):
    return evaluated(real, generated)


def find(result, metric, name):
    (record,) = [record for record in result.records if (record.metric, record.group["class"]) == (metric, name)]
    return record


def test_every_class_and_all_pooled_have_every_figure_with_floor_and_definition(result):
    found = {(record.metric, record.group["class"]) for record in result.records}
    expected = {(metric, name) for metric in EVERYWHERE for name in ("LGG", "HGG", "pooled")}
    expected |= {(metric, name) for metric in PER_CLASS for name in ("LGG", "HGG")}
    assert found == expected | {("benchmark_auc", "pooled")}
    assert len(found) == len(result.records)
    for record in result.records:
        assert record.group["generated"] == "samples"
        assert record.definition["better"] in ("lower", "higher", "real")
        meant = {"shape": "all", "memorisation": "those held out"}
        real_volumes = meant.get(record.metric.split("_")[0], "validation and test part of fold ? of ?")
        assert record.definition["real_volumes"] == real_volumes
        assert record.floor is not None
        if record.metric != "benchmark_auc":
            assert record.interval.low <= record.interval.high
        assert record.counts["generated"] > 1
        json.dumps(record.to_json(), allow_nan=False)
        if record.metric.endswith("_share") or record.metric.startswith("memorisation"):
            n = record.counts["generated"]
            assert record.interval == share_interval(round(record.value * n), n)
        if record.metric in FEATURES:
            assert record.definition["extractor"]["name"] == "net.pt"
            assert len(record.definition["extractor"]["sha256"]) == 64
    assert [record.p_value is not None for record in result.records] == [
        record.metric in ("kid", "mmd_rbf_features", "mmd_rbf_blocks") for record in result.records
    ]


def test_feature_metrics_equal_those_taken_by_hand(result, real, generated, features):
    extractor = TorchScriptExtractor(Path(features))
    held_out = [i for i in range(len(real)) if real.parts[real.names[i]] != "train"]
    assert len(held_out) == 24
    bandwidth = mmd.median_bandwidth(extractor(real.stack(held_out)))  # of all classes: one per set of real data
    for label, name in enumerate(("LGG", "HGG")):
        x = extractor(generated.stack(generated.indices(label)))
        y = extractor(real.stack([i for i in held_out if real.labels[i] == label]))
        assert find(result, "kid", name).value == pytest.approx(kid.kid(x, y), abs=1e-9)
        assert find(result, "fid", name).value == pytest.approx(frechet.fid(x, y, shrink=True), rel=1e-5)
        assert find(result, "fid", name).definition["regularisation"].startswith("Ledoit-Wolf")
        by_hand = manifold.manifold(manifold.distances(x, y), 2)
        assert find(result, "coverage", name).value == pytest.approx(by_hand.coverage)
        assert find(result, "density", name).value == pytest.approx(by_hand.density)
        record = find(result, "mmd_rbf_features", name)
        assert record.definition["bandwidth"] == pytest.approx(bandwidth)
        kernel = [mmd.rbf_kernel(a, b, bandwidth) for a, b in ((x, x), (y, y), (x, y))]
        assert record.value == pytest.approx(float(mmd2_unbiased(*kernel)), abs=1e-9)
        assert record.counts == {"real": 12, "generated": 8}
        assert record.floor.size == 6


def test_voxel_metrics_equal_those_taken_by_hand(result, real, generated):
    x, y = generated.stack(generated.indices(1)), real.stack(real.indices(1, ["val", "test"]))
    gram = linear_gram(list(x), list(y))
    record = find(result, "mmd_paper", "HGG")
    by_hand = mmd_paper.mmd_paper(gram, 3, 20, seed=0)
    assert (record.value, record.details["sd"]) == pytest.approx((by_hand.mean, by_hand.sd), rel=1e-5)
    assert record.definition["batch_size"] == 3
    for form, metric in (("standard", "ms_ssim_diversity"), ("paper", "ms_ssim_diversity_paper")):
        record = find(result, metric, "HGG")
        assert record.value == pytest.approx(diversity(x, 10, 0, form).mean, rel=1e-5)
        assert record.counts["pairs"] == 10
        assert record.floor.low <= record.floor.value <= record.floor.high
        assert record.floor.value == pytest.approx(diversity(y, 10, 0, form).mean, abs=0.1)


def test_interval_and_floor_of_the_published_mmd_keep_its_batches(real, generated, evaluated):
    """12 real volumes in batches of 5: the last batch has 2, also for parts and halves of the volumes."""
    record = find(evaluated(real, generated, metrics=[PaperMMD(5, passes=5)]), "mmd_paper", "LGG")
    x, y = (folder.stack(folder.indices(0, parts)) for folder, parts in ((generated, None), (real, ["val", "test"])))
    gram = linear_gram(list(x), list(y))
    for found, by_hand in (
        (record.interval, mmd_paper.mmd_paper_interval(gram, 5, seed=0)),
        (record.floor, mmd_paper.mmd_paper_floor(gram, 5, seed=0, splits=8)),
    ):
        assert (found.low, found.high) == pytest.approx((by_hand.low, by_hand.high), rel=1e-4)
    assert record.floor.value == pytest.approx(mmd_paper.mmd_paper_floor(gram, 5, seed=0, splits=8).value, rel=1e-4)


def test_every_file_is_decoded_once_and_hashed_once(real, generated, evaluated, tmp_path, monkeypatch):
    """Also where nothing is kept in memory, and the classifier and three kinds of features read volumes, too."""
    decoded, hashed = Counter(), Counter()

    def counting(function, counter):
        def counted(path, *arguments, **options):
            counter[path] += 1
            return function(path, *arguments, **options)

        return counted

    monkeypatch.setattr("data_modules.volumes.folder.load_volume", counting(load_volume, decoded))
    for user in ("data_modules.volumes.folder", "tumorgen.evaluation.folder"):
        monkeypatch.setattr(f"{user}.sha256", counting(sha256, hashed))
    listed = write_volumes(tmp_path / "x", 4, seed=500, manifest={"origin": Origin("x", 0, ("0" * 64,)).to_json()})
    manifest = json.loads((listed / "manifest.json").read_text())
    for entry in manifest["volumes"]:
        entry["sha256"] = sha256(listed / entry["file"])
    (listed / "manifest.json").write_text(json.dumps(manifest))
    folders = Folders(VolumeFolder(real.folder), VolumeFolder(listed))
    evaluate_to(tmp_path / "out", folders, METRICS, Options("classifier"), QUICK)
    assert set(decoded.values()) == {1}
    assert len(decoded) == 48 + 8
    assert set(hashed.values()) == {1}
    assert {path for path in hashed if path.name != "manifest.json"} == set(folders.generated.paths)


def test_volumes_of_the_same_kind_pass_and_others_do_not(result, real, tmp_path, evaluated):
    assert all(find(result, "mmd_rbf_blocks", name).p_value > 0.02 for name in ("LGG", "HGG", "pooled"))
    swapped = write_volumes(tmp_path / "swapped", 8, seed=500, manifest={}, classes=("HGG", "LGG"))
    other = evaluated(real, VolumeFolder(swapped, class_names=real.class_names), metrics=[BlockMMD()])
    assert all(find(other, "mmd_rbf_blocks", name).p_value < 0.05 for name in ("LGG", "HGG"))
    assert find(other, "mmd_rbf_blocks", "pooled").p_value > 0.02  # pooled, the swap cannot be seen


@pytest.mark.parametrize(
    "change", [lambda v: v, lambda v: v[:, ::-1, ::-1], lambda v: v + NOISE], ids=["copy", "flip", "noise"]
)
def test_copies_of_training_volumes_are_caught_and_shown(real, generated, tmp_path, evaluated, change):
    folder = write_volumes(tmp_path / "x", 6, seed=500, manifest={})
    copied = {"LGG": 4, "HGG": 24 + 9}  # both in the training part
    for name, index in copied.items():
        nib.save(to_nifti(change(real.volume(index)), 2.0), folder / name / f"{name}_0001.nii.gz")
    result = evaluated(real, VolumeFolder(folder), metrics=[Memorisation(closest=3)])
    for name in ("LGG", "HGG"):
        record = find(result, "memorisation_share_voxels", name)
        assert record.details["near_copies"] >= 1
        assert record.value >= 1 / 6
        assert record.definition["reference"] == "held-out"
        assert record.counts == {"real": 12, "generated": 6, "training": 24}
    pairs = closest_pairs(result.records)
    closest = [pair for pair in pairs if pair["space"] == "voxels"][:2]
    names = {(generated.names[0], real.names[4]), ("HGG/HGG_0001", real.names[33])}
    assert {(pair["generated"], pair["training"]) for pair in closest} == names
    assert [pair["space"] for pair in pairs] == ["voxels"] * 3 + ["net.pt"] * 3


NOISE = 0.02 * np.random.default_rng(0).normal(size=(16, 16, 16)).astype(np.float32)


def test_new_volumes_are_not_accused(result):
    shares = [find(result, "memorisation_share_voxels", name).value for name in ("LGG", "HGG")]
    assert max(shares) < 0.5
    assert find(result, "memorisation_share_voxels", "pooled").definition["expected_for_new_volumes"] == 0.05


def test_without_parts_all_real_volumes_count_and_copies_are_held_against_leave_one_out(tmp_path, evaluated):
    folder = write_volumes(tmp_path / "real", 10, manifest={})
    names = {"LGG/LGG_0001": blob(0), "HGG/HGG_0003": blob(1002, grade=1)}
    samples = write_volumes(tmp_path / "x", 5, seed=500, manifest={})
    for name, volume in names.items():
        nib.save(to_nifti(volume, 2.0), samples / f"{name}.nii.gz")
    result = evaluated(VolumeFolder(folder), VolumeFolder(samples))
    record = find(result, "memorisation_share_voxels", "pooled")
    assert record.definition["reference"] == "leave-one-out"
    assert record.definition["real_volumes"] == "those trained on"
    assert find(result, "kid", "LGG").definition["real_volumes"] == "all"
    assert record.details["near_copies"] >= 2
    assert record.details["smallest_distance"] == pytest.approx(0, abs=1e-6)
    assert find(result, "kid", "LGG").counts == {"real": 10, "generated": 5}


def test_scans_of_the_same_patient_are_no_others(tmp_path, evaluated):
    """Every real volume is there twice, as two scans of one patient: leave-one-out distances must not be zero."""
    folder = write_volumes(tmp_path / "real", 6, manifest={})
    manifest = json.loads((folder / "manifest.json").read_text())
    for entry in list(manifest["volumes"]):
        entry["patient"] = entry["file"]
        twin = entry["file"].replace(".nii.gz", "_b.nii.gz")
        (folder / twin).write_bytes((folder / entry["file"]).read_bytes())
        manifest["volumes"].append({**entry, "file": twin})
    (folder / "manifest.json").write_text(json.dumps(manifest))
    result = evaluated(VolumeFolder(folder), VolumeFolder(folder), metrics=[Memorisation()])
    record = find(result, "memorisation_share_voxels", "pooled")
    assert record.details["limit"] > 0.05
    assert record.value == 1


def test_a_folder_of_training_volumes(tmp_path, real, generated, evaluated):
    held_out = VolumeFolder(write_volumes(tmp_path / "held out", 8, seed=300, manifest={}))
    training = VolumeFolder(write_volumes(tmp_path / "training", 8, seed=0, manifest={}))
    result = evaluated(held_out, generated, training, metrics=[Memorisation()], label="ours")
    record = find(result, "memorisation_share_voxels", "LGG")
    assert record.counts == {"real": 8, "generated": 8, "training": 16}
    assert record.definition["reference"] == "held-out"
    assert record.group["generated"] == "ours"
    with pytest.raises(InputError, match="says already which volumes are for training"):
        evaluated(real, generated, training)


def test_the_reference_can_be_all_real_volumes(real, generated, evaluated):
    record = find(evaluated(real, generated, metrics=[BlockMMD()], reference="all"), "mmd_rbf_blocks", "pooled")
    assert record.counts["real"] == 48
    assert record.definition["real_volumes"] == "all of fold ? of ?"


def test_a_class_that_was_not_generated_is_left_out(tmp_path, real, evaluated):
    folder = VolumeFolder(write_volumes(tmp_path, 4, manifest={}, classes=("LGG",)), class_names=real.class_names)
    found = evaluated(real, folder, metrics=[BlockMMD(), Memorisation(), ShapePlausibility(), DownstreamAUC()])
    assert {record.group["class"] for record in found.records} == {"LGG"}


def test_the_same_seed_gives_the_same_records(result, real, generated, evaluated):
    again = evaluated(real, generated)
    assert [record.id for record in again.records] == [record.id for record in result.records]
    other = evaluated(real, generated, how=dataclasses.replace(QUICK, seed=1))
    assert {record.id for record in other.records}.isdisjoint(record.id for record in result.records)


def test_folders_that_do_not_fit_are_refused(real, tmp_path, evaluated):
    single = VolumeFolder(write_volumes(tmp_path / "one", 1, manifest={}))
    with pytest.raises(InputError, match=r"class LGG: 1 generated volumes .* 12 real ones held out in"):
        evaluated(real, single)
    larger = VolumeFolder(write_volumes(tmp_path / "large", 4, size=20, manifest={}))
    with pytest.raises(InputError, match="20 voxels a side; expected LGG, HGG, 16 voxels"):
        evaluated(real, larger)
