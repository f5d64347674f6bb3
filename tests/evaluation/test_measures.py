"""Each measure on samples of which the answer is known, and against the functions it stands on."""

import time

import numpy as np
import pytest
import torch
from stage2_probes import Noise
from toy import ToyDataModule, blob

from tumorgen.evaluation.journal import curve
from tumorgen.evaluation.measures import KernelMMD, Measure, Numbers, PaperMMD
from tumorgen.evaluation.measures_benchmark import ClassifierBenchmark
from tumorgen.evaluation.measures_similarity import Diversity, Memorisation
from tumorgen.evaluation.real_cases import RealCases, Samples, datasets_of, read_real_cases, shrink
from tumorgen.metrics.mmd import mmd_paper_batch
from tumorgen.metrics.ms_ssim import ms_ssim
from tumorgen.results.records import Record
from tumorgen.types import Volume

NAMES = ("LGG", "HGG")


def blobs(first: int, number: int) -> list[Volume]:
    """Blobs of both classes, by label."""
    return [torch.stack([blob(label, 16, first + 2 * i + label) for i in range(number)]) for label in (0, 1)]


@pytest.fixture(scope="module")
def real() -> RealCases:
    training, held_out = blobs(0, 20), blobs(1000, 8)
    return RealCases(held_out, held_out, training)


def samples_of(volumes: list[Volume]) -> Samples:
    return Samples(volumes, [shrink(some) for some in volumes], "epoch 3")


def figures(measure: Measure, real: RealCases, volumes: list[Volume]) -> dict[str, Record]:
    measure.prepare(real, NAMES)
    return {curve(record): record for record in measure.records(samples_of(volumes))}


def noise(number: int) -> list[Volume]:
    made = Noise(roi_size=16)
    return [made.sample(torch.full((number,), label), range(number)) for label in (0, 1)]


def test_mmd_is_at_its_floor_for_real_volumes_and_far_above_for_others(real: RealCases) -> None:
    fresh = figures(KernelMMD(), real, blobs(5000, 12))
    for name in NAMES:
        record = fresh[f"mmd_rbf_blocks_{name}"]
        assert record.counts == {"real": 28, "generated": 12}
        assert record.floor.low - 0.05 < record.value < record.floor.high + 0.05
        assert record.p_value > 0.01
        assert record.interval.low <= record.value <= record.interval.high
        assert record.group == {"class": name, "generated": "epoch 3"}
    for wrong in (noise(12), blobs(5000, 12)[::-1]):
        for record in figures(KernelMMD(), real, wrong).values():
            assert record.value > 5 * record.floor.high
            assert record.p_value < 0.01


def test_the_published_mmd_is_that_of_its_batches(real: RealCases) -> None:
    made = blobs(5000, 4)
    found = figures(PaperMMD(batch_size=4, passes=400), real, made)
    x, y = made[0].flatten(1), real.held_out[0].flatten(1)
    # one batch of x: all; the two halves of y in every order
    rng = np.random.default_rng(0)
    plain = [float(mmd_paper_batch(x, y[rng.permutation(8)[:4]])) for _ in range(800)]
    record = found["mmd_paper_LGG"]
    assert record.value == pytest.approx(np.mean(plain), rel=0.02)
    assert record.definition["batch_size"] == 4
    assert record.floor.size == 4
    assert figures(PaperMMD(batch_size=9), real, made) == {}, "too few validation cases for a batch"


def test_diversity_is_the_mean_over_pairs_and_its_floor_that_of_real_pairs(real: RealCases) -> None:
    made = blobs(5000, 3)
    record = figures(Diversity(pairs=10), real, made)["ms_ssim_diversity_HGG"]
    pairs = [float(ms_ssim(made[1][i][None], made[1][j][None])) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert record.value == pytest.approx(np.mean(pairs))
    assert record.counts == {"real": 8, "generated": 3, "pairs": 3}
    assert record.floor.splits == 10
    copies = [some[:1].repeat(4, 1, 1, 1, 1) for some in made]
    assert figures(Diversity(), real, copies)["ms_ssim_diversity_LGG"].value == pytest.approx(1)
    paper = figures(Diversity(form="paper"), real, made)
    assert paper.keys() == {"ms_ssim_diversity_paper_LGG", "ms_ssim_diversity_paper_HGG"}


@pytest.mark.parametrize("how", ["copied", "flipped", "noisy", "of the other class"])
def test_copies_are_found(how: str, real: RealCases) -> None:
    made = [some[:5].clone() for some in real.training_small]
    if how == "flipped":
        made = [some.flip(2, 4) for some in made]
    if how == "noisy":
        made = [some + 0.02 * torch.randn(some.shape, generator=torch.Generator().manual_seed(0)) for some in made]
    if how == "of the other class":
        made = made[::-1]
    record = figures(Memorisation(), real, made)["memorisation_share_voxels"]
    assert record.value == 1
    assert record.counts == {"real": 40, "generated": 10, "reference": 16}


def test_new_cases_are_no_copies(real: RealCases) -> None:
    many = blobs(1000, 40)
    record = figures(Memorisation(), RealCases(many, many, real.training_small), blobs(5000, 20))[
        "memorisation_share_voxels"
    ]
    assert record.value <= 0.2
    assert record.definition["reference"] == "held-out"
    nobody = RealCases([some[:0] for some in real.held_out], [some[:0] for some in real.held_out], real.training_small)
    alone = figures(Memorisation(), nobody, blobs(5000, 20))["memorisation_share_voxels"]
    assert alone.definition["reference"] == "leave-one-out"
    assert alone.counts["reference"] == 40


def test_a_classifier_learns_from_good_samples_and_the_opposite_from_swapped_ones(real: RealCases) -> None:
    good = figures(ClassifierBenchmark(networks=1), real, blobs(5000, 10))["benchmark_auc"]
    assert good.value > 0.9
    assert good.floor.value > 0.9
    assert good.floor.size == 10
    assert good.counts == {"real": 16, "generated": 20}
    assert figures(ClassifierBenchmark(networks=1), real, blobs(5000, 10)[::-1])["benchmark_auc"].value < 0.1
    one_class = RealCases(
        [real.held_out[0], real.held_out[1][:0]], [real.held_out[0], real.held_out[1][:0]], real.training_small
    )
    assert figures(ClassifierBenchmark(), one_class, blobs(5000, 2)) == {}


@pytest.mark.parametrize("measure", [KernelMMD(), PaperMMD(), Diversity(), Memorisation(), ClassifierBenchmark(1)])
def test_predictions_are_of_the_right_size(measure: Measure, real: RealCases) -> None:
    """Within a factor of 30 of what it takes on this machine, which may be busy; most are within 2."""
    made = samples_of(blobs(5000, 16))
    predicted = measure.seconds(made.volumes[0][:1], Numbers(2, 32, 40, 16), time.process_time)
    begin = time.process_time()
    measure.prepare(real, NAMES)
    measure.records(made)
    taken = time.process_time() - begin
    assert predicted > taken / 30
    assert predicted < 30 * taken + 1


def test_large_volumes_are_averaged() -> None:
    volume = torch.rand(1, 1, 64, 64, 64)
    small = shrink(volume)
    assert small.shape == (1, 1, 32, 32, 32)
    assert float(small[0, 0, 3, 4, 5]) == pytest.approx(float(volume[0, 0, 6:8, 8:10, 10:12].mean()))
    assert shrink(torch.rand(1, 1, 40, 40, 40)).shape[2:] == (20, 20, 20)
    assert shrink(small) is small


def test_copies_of_generated_volumes_that_were_trained_on_are_copies(real: RealCases) -> None:
    learnt = blobs(7000, 6)
    (honest,) = figures(Memorisation(), real, learnt).values()
    mixed = RealCases(real.held_out, real.held_out_small, real.training_small, generated_small=learnt)
    (copied,) = figures(Memorisation(), mixed, learnt).values()
    assert honest.value < 0.5
    assert copied.value == 1
    assert copied.counts == {**honest.counts, "trained_on": 52}
    assert "training" in copied.definition
    assert "training" not in honest.definition


def test_data_without_a_validation_part_have_no_held_out_cases() -> None:
    class Trainer:
        datamodule = ToyDataModule()

    Trainer.datamodule.setup("fit")
    Trainer.datamodule.val = None
    training, generated, held_out = datasets_of(Trainer())
    assert training is Trainer.datamodule.train
    assert generated == held_out == []
    real = read_real_cases(Trainer(), 2)
    assert [len(some) for some in real.training_small] == [4, 4]
    assert [len(some) for some in real.held_out] == [0, 0]
