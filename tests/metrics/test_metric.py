"""Each metric on volumes of which the answer is known, and against the functions it stands on."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from held import NAMES, QUICK, blobs, real_of, volumes_of
from stage2_probes import Noise

from data_modules.condition import Condition
from data_modules.errors import InputError
from tumorgen.evaluation.downstream import DownstreamAUC
from tumorgen.metrics.frechet import FID
from tumorgen.metrics.kid import KID
from tumorgen.metrics.manifold import PRDC
from tumorgen.metrics.memorisation import Memorisation
from tumorgen.metrics.metric import Metric, Real, Resampling, Volumes, groups
from tumorgen.metrics.mmd import BlockMMD, FeatureMMD
from tumorgen.metrics.mmd_paper import PaperMMD, mmd_paper_batch
from tumorgen.metrics.ms_ssim import MSSSIMDiversity, ms_ssim
from tumorgen.metrics.shape import PROPERTIES, ShapePlausibility, plausible_share, shape_of
from tumorgen.results.layouts import curve
from tumorgen.results.records import Record
from tumorgen.types import Volume


class Means:
    """Features without a network."""

    name = "means"

    def __call__(self, volume: Volume) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool3d(volume, 2).flatten(1)

    def description(self) -> dict[str, Any]:
        return {"name": self.name, "sha256": "0"}


@pytest.fixture(scope="module")
def real() -> Real:
    return real_of(blobs(0, 20), blobs(1000, 8), extractors=[Means()])


def records(metric: Metric, real: Real, made: list[torch.Tensor]) -> dict[str, Record]:
    return {curve(record): record for record in metric.prepare(real)(volumes_of(made))}


def noise(number: int) -> list[torch.Tensor]:
    made = Noise(roi_size=16)
    return [made.sample(Condition(torch.full((number,), label)), range(number)) for label in (0, 1)]


ALL = [
    BlockMMD(),
    FeatureMMD(),
    KID(),
    FID(),
    PRDC(2),
    PaperMMD(passes=5),
    MSSSIMDiversity(pairs=5),
    ShapePlausibility(),
    Memorisation(),
    DownstreamAUC(1, 1),
]


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: type(metric).__name__)
def test_records_are_complete_and_the_second_time_the_same(metric: Metric, real: Real) -> None:
    measure, generated = metric.prepare(real), volumes_of(blobs(5000, 6))
    found = measure(generated)
    assert found
    assert [record.id for record in found] == [record.id for record in measure(generated)]
    assert len({curve(record) for record in found}) == len(found), "curves have names of their own"
    for record in found:
        json.dumps(record.to_json(), allow_nan=False)
        assert record.definition["title"]
        assert record.definition["better"] in ("lower", "higher", "real")
        assert record.group["class"] in (*NAMES, "pooled")
        assert {"real", "generated"} <= record.counts.keys()
        assert record.floor is not None


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: type(metric).__name__)
def test_a_generator_of_one_class_is_measured_on_that_class(metric: Metric, real: Real) -> None:
    only = volumes_of([blobs(5000, 6)[0][:0], blobs(5000, 6)[1]])
    assert {record.group["class"] for record in metric.prepare(real)(only)} == (
        set() if isinstance(metric, DownstreamAUC) else {"HGG"}
    )


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: type(metric).__name__)
@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_few_volumes_give_fewer_records_and_no_error(metric: Metric, number: int) -> None:
    few = real_of(blobs(0, 2), blobs(1000, number) if number else (), extractors=[Means()])
    for record in metric.prepare(few)(volumes_of(blobs(5000, 2))):
        assert min(record.counts["real"], record.counts["generated"]) > 1
        if record.counts["real"] < 4 and record.metric != "benchmark_auc":
            assert record.floor is None
        json.dumps(record.to_json(), allow_nan=False)


def test_what_is_computed_of_a_volume_is_computed_once() -> None:
    read: list[int] = []

    class Counted(list[torch.Tensor]):
        def __getitem__(self, index: Any) -> Any:
            read.append(index)
            return super().__getitem__(index)

    volumes = Volumes.of(Counted(torch.cat(blobs(0, 3))), [0, 0, 0, 1, 1, 1])
    seen: list[int] = []

    def mean(some: torch.Tensor) -> torch.Tensor:
        seen.append(len(some))
        return some.mean((1, 2, 3, 4))

    second = volumes.of_class(1).rows("mean", mean)
    everything = volumes.rows("mean", mean, at_once=2)
    assert torch.equal(everything[3:], second)
    assert torch.equal(volumes.select(torch.tensor([5, 0])).rows("mean", mean), everything[[5, 0]])
    assert seen == [1, 1, 1, 2, 1]
    assert sorted(read) == list(range(6))


def test_pooled_volumes_have_the_real_proportions_of_classes() -> None:
    held_out = blobs(1000, 12)
    unequal = real_of(blobs(0, 4), [held_out[0][:4], held_out[1]])
    *_, pooled = groups(unequal, volumes_of(blobs(5000, 9)))
    assert pooled.name == "pooled"
    assert torch.bincount(pooled.generated.labels).tolist() == [3, 9]  # as 4 to 12
    assert len(pooled.real) == 16


def test_mmd_is_at_its_floor_for_real_volumes_and_far_above_for_others(real: Real) -> None:
    fresh = records(BlockMMD(), real, blobs(5000, 12))
    assert fresh.keys() == {"mmd_rbf_blocks", "mmd_rbf_blocks_LGG", "mmd_rbf_blocks_HGG"}
    for name in NAMES:
        record = fresh[f"mmd_rbf_blocks_{name}"]
        assert record.counts == {"real": 8, "generated": 12}
        assert record.floor.low - 0.05 < record.value < record.floor.high + 0.05
        assert record.p_value > 0.01
        assert record.interval.low <= record.value <= record.interval.high
    for wrong in (noise(12), blobs(5000, 12)[::-1]):
        for name in NAMES:
            record = records(BlockMMD(), real, wrong)[f"mmd_rbf_blocks_{name}"]
            assert record.value > 2 * record.floor.high
            assert record.p_value < 0.01


def test_the_published_mmd_is_that_of_its_batches(real: Real) -> None:
    made = blobs(5000, 4)
    found = records(PaperMMD(batch_size=4, passes=400), real, made)
    x, y = made[0].flatten(1), torch.stack(list(real.compared.of_class(0))).flatten(1)
    # one batch of x: all; the two halves of y in every order
    rng = np.random.default_rng(0)
    plain = [float(mmd_paper_batch(x, y[rng.permutation(8)[:4]])) for _ in range(800)]
    record = found["mmd_paper_LGG"]
    assert record.value == pytest.approx(np.mean(plain), rel=0.02)
    assert record.definition["batch_size"] == 4
    assert record.floor.size == 4
    smaller = records(PaperMMD(batch_size=9), real, made)["mmd_paper_LGG"]
    assert smaller.definition["title"].endswith("B = 4"), "there are four generated volumes"


def test_diversity_is_the_mean_over_pairs_and_its_floor_that_of_real_pairs(real: Real) -> None:
    made = blobs(5000, 3)
    record = records(MSSSIMDiversity(pairs=10), real, made)["ms_ssim_diversity_HGG"]
    pairs = [float(ms_ssim(made[1][i][None], made[1][j][None])) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert record.value == pytest.approx(np.mean(pairs))
    assert record.counts == {"real": 8, "generated": 3, "pairs": 3, "real_pairs": 10}
    copies = [some[:1].repeat(4, 1, 1, 1, 1) for some in made]
    assert records(MSSSIMDiversity(pairs=10), real, copies)["ms_ssim_diversity_LGG"].value == pytest.approx(1)
    paper = records(MSSSIMDiversity("paper", 10), real, made)
    assert paper.keys() == {"ms_ssim_diversity_paper_LGG", "ms_ssim_diversity_paper_HGG"}
    small = real_of(blobs(0, 4, 12), blobs(1000, 4, 12))
    assert records(MSSSIMDiversity("paper"), small, blobs(5000, 3, 12)) == {}, "five scales need 16 voxels"


def test_shapes_are_held_against_all_real_tumours(real: Real) -> None:
    made = blobs(5000, 6)
    found = records(ShapePlausibility(), real, made)
    shapes = [[shape_of(volume[0].numpy(), 2.0) for volume in part] for part in (made[1], real.everything.of_class(1))]
    expected = plausible_share(*shapes, PROPERTIES)
    assert {name: found[f"shape_{name}_share_HGG"].value for name in expected} == pytest.approx(expected)
    assert found["shape_all_share"].counts == {"real": 56, "generated": 12}


@pytest.mark.parametrize("how", ["copied", "flipped", "noisy", "of the other class"])
def test_copies_are_found(how: str, real: Real) -> None:
    training = torch.stack(list(real.training))
    made = [training[:5].clone(), training[20:25].clone()]
    if how == "flipped":
        made = [some.flip(2, 4) for some in made]
    if how == "noisy":
        made = [some + 0.02 * torch.randn(some.shape, generator=torch.Generator().manual_seed(0)) for some in made]
    if how == "of the other class":
        made = made[::-1]
    found = records(Memorisation(closest=3), real, made)
    record = found["memorisation_share_voxels"]
    assert record.value == 1
    if how == "copied":
        assert found["memorisation_share_features_means"].value == 1
    assert record.counts == {"real": 16, "generated": 10, "training": 40}
    pairs = record.details["closest_pairs"]
    assert [pair["distance"] for pair in pairs] == sorted(pair["distance"] for pair in pairs)
    shift = {"of the other class": (20, -5)}.get(how, (0, 15))
    assert all(int(pair["training"]) - int(pair["generated"]) in shift for pair in pairs)


def test_new_volumes_are_no_copies(real: Real) -> None:
    many = real_of(blobs(0, 20), blobs(1000, 40))
    record = records(Memorisation(), many, blobs(5000, 20))["memorisation_share_voxels"]
    assert record.value <= 0.2
    assert record.definition["reference"] == "held-out"
    alone = records(Memorisation(), real_of(blobs(0, 20)), blobs(5000, 20))["memorisation_share_voxels"]
    assert alone.definition["reference"] == "leave-one-out"
    assert alone.counts["real"] == 40


def test_copies_of_generated_volumes_that_were_trained_on_are_told(real: Real) -> None:
    learnt = blobs(7000, 6)
    mixed = [torch.cat(pair) for pair in zip(blobs(0, 20), learnt, strict=True)]
    copied = records(Memorisation(), real_of(mixed, blobs(1000, 8), generated_training=12), learnt)
    plain = records(Memorisation(), real, learnt)
    assert plain["memorisation_share_voxels"].value < 0.5
    assert copied["memorisation_share_voxels"].value == 1
    assert copied["memorisation_share_voxels"].counts["training"] == 52
    assert "generated" in copied["memorisation_share_voxels"].definition["training"]
    assert "training" not in plain["memorisation_share_voxels"].definition


def test_a_classifier_learns_from_good_volumes_and_the_opposite_from_swapped_ones(real: Real) -> None:
    good = records(DownstreamAUC(networks=1), real, blobs(5000, 10))["benchmark_auc"]
    assert good.value > 0.9
    assert good.floor.value > 0.9
    assert good.floor.size == 10
    assert good.counts == {"real": 16, "generated": 20}
    assert records(DownstreamAUC(networks=1), real, blobs(5000, 10)[::-1])["benchmark_auc"].value < 0.1
    held_out = blobs(1000, 8)
    one_class = real_of(blobs(0, 4), [held_out[0], held_out[1][:0]])
    assert records(DownstreamAUC(), one_class, blobs(5000, 2)) == {}
    nobody = records(DownstreamAUC(1, 1), real_of(blobs(0, 4)), blobs(5000, 2))["benchmark_auc"]
    assert nobody.floor is None, "networks trained on the volumes they are tested on say nothing"


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Resampling, {"splits": 0}),
        (MSSSIMDiversity, {"pairs": -1}),
        (PaperMMD, {"batch_size": 0}),
        (PRDC, {"neighbours": 0}),
        (BlockMMD, {"blocks": 0}),
        (Memorisation, {"closest": 0}),
        (DownstreamAUC, {"networks": 0}),
    ],
)
def test_numbers_that_make_no_sense(kind: Any, options: dict[str, int]) -> None:
    ((name, value),) = options.items()
    with pytest.raises(InputError, match=f"{name}: found {value}, expected at least 1"):
        kind(**options)


def test_large_volumes_are_averaged_for_distances_of_voxels() -> None:
    large = real_of(blobs(0, 3, 40), blobs(1000, 3, 40), resampling=QUICK)
    record = records(Memorisation(side=20), large, blobs(5000, 3, 40))["memorisation_share_voxels"]
    assert record.definition["resolution"] == "block means, 20 voxels per side"
