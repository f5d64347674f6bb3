"""Training sets: shares of patients, oversampling, shuffled labels."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from toy import Blobs

from data_modules.base import Item, VolumeSet
from data_modules.brats import BraTSDataModule
from data_modules.errors import InputError
from data_modules.volumes.select import (
    Pick,
    Selection,
    first_patients,
    joined,
    oversampled,
    repeated,
    with_shuffled_labels,
)


class Unread(VolumeSet):
    """Volumes that nobody may look at."""

    def __init__(self, labels: list[int], names: list[str]) -> None:
        self.labels, self.patients, self.cases = np.array(labels), tuple(names), tuple(names)

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> Item:
        raise AssertionError(f"volume {index} was read")


def cohort(small: int = 8, large: int = 25, scans: int = 1) -> Selection:
    """`small` patients of class 0 and `large` ones of class 1 with `scans` scans each, classes mixed."""
    patients = [(f"a{i}", 0) for i in range(small)] + [(f"b{i}", 1) for i in range(large)]
    patients = [patients[i] for i in np.random.default_rng(0).permutation(len(patients))] * scans
    source = Unread([label for _, label in patients], [f"{name}-{i}" for i, (name, _) in enumerate(patients)])
    return Selection([Pick(source, i, label, name, source.cases[i]) for i, (name, label) in enumerate(patients)])


def positions(selection: Selection) -> list[int]:
    return [pick.position for pick in selection.picks]


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25, 0.5, 0.9, 1.0])
def test_a_share_is_of_the_patients_of_every_class(share: float) -> None:
    found = first_patients(cohort(scans=2), 0, share=share)
    patients = Counter(found.patients)
    assert set(patients.values()) == {2}, "a patient comes with all scans"
    classes = Counter(name[0] for name in patients)
    assert classes == {"a": max(1, round(8 * share)), "b": max(1, round(25 * share))}
    assert positions(found) == sorted(positions(found)), "in the order of the data set"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_larger_shares_hold_smaller_ones(seed: int) -> None:
    whole = cohort()
    shares = [set(first_patients(whole, seed, share=share).patients) for share in (0.1, 0.25, 0.26, 0.5, 1.0)]
    for smaller, larger in pairwise(shares):
        assert smaller <= larger
    assert shares[-1] == set(whole.patients)


def test_the_seed_and_the_names_decide_and_nothing_else() -> None:
    whole = cohort()
    turned = Selection(whole.picks[::-1])
    first = set(first_patients(whole, 0, share=0.5).patients)
    assert first == set(first_patients(turned, 0, share=0.5).patients)
    assert first != set(first_patients(whole, 1, share=0.5).patients)
    without = Selection([pick for pick in whole.picks if pick.label == 1])
    assert {p for p in first if p[0] == "b"} == set(first_patients(without, 0, share=0.5).patients)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5])
def test_a_share_is_a_share(share: float) -> None:
    with pytest.raises(InputError, match="expected above 0 to 1"):
        first_patients(cohort(), 0, share=share)


def test_limited_takes_so_many_of_every_class() -> None:
    counts = [np.bincount(first_patients(cohort(), 0, per_class=n).labels).tolist() for n in (1, 5, 10, 100)]
    assert counts == [[1, 1], [5, 5], [8, 10], [8, 25]]
    assert set(first_patients(cohort(), 0, per_class=5).patients) < set(
        first_patients(cohort(), 0, per_class=10).patients
    )


def test_oversampled_classes_are_equally_frequent() -> None:
    found = oversampled(cohort(), seed=0)
    assert np.bincount(found.labels).tolist() == [25, 25]
    times = Counter(found.patients)
    assert {times[name] for name in times if name[0] == "b"} == {1}
    assert sorted(times[name] for name in times if name[0] == "a") == [3] * 7 + [4], "25 = 3 * 8 + 1"
    assert positions(found) == positions(oversampled(cohort(), seed=0))
    assert {p for p, n in times.items() if n == 4} != {
        p for p, n in Counter(oversampled(cohort(), seed=3).patients).items() if n == 4
    }


def test_shuffled_labels_are_as_many_and_mean_nothing() -> None:
    whole = cohort(small=200, large=300)
    found = with_shuffled_labels(whole, seed=0)
    assert positions(found) == positions(whole)
    assert np.bincount(found.labels).tolist() == [200, 300]
    assert abs(np.corrcoef(found.labels, whole.labels)[0, 1]) < 0.1
    assert found.labels.tolist() == with_shuffled_labels(whole, seed=0).labels.tolist()
    assert found.labels.tolist() != with_shuffled_labels(whole, seed=1).labels.tolist()


def test_the_label_of_the_selection_counts_and_the_volume_stays() -> None:
    blobs = Blobs(6, 16, 0)
    found = with_shuffled_labels(blobs, seed=1)
    assert found.labels.tolist() != blobs.labels.tolist()
    for index in range(6):
        item = found[index]
        assert torch.equal(item["volume"], blobs[index]["volume"])
        assert (item["label"], item["case"]) == (int(found.labels[index]), blobs[index]["case"])


def test_selections_of_selections_and_of_several_data_sets() -> None:
    blobs, others = Blobs(6, 16, 0), Blobs(4, 16, 100)
    both = joined(oversampled(first_patients(blobs, 0, share=0.34), 0), others)
    assert len(both) == 2 + 4
    assert [both[i]["case"] for i in range(2, 6)] == [f"blob010{i}" for i in range(4)]
    twice = repeated(both, 2)
    assert twice.cases == both.cases * 2


def test_real_cases_know_their_patients(tiny_cohort, tmp_path) -> None:
    data = BraTSDataModule(tiny_cohort, roi_size=16, folds=2, cache_dir=tmp_path)
    data.prepare_data()
    data.setup()
    found = joined(data.train)
    assert found.patients == tuple(entry.patient for entry in data.train.entries)
    assert found.labels.tolist() == [entry.label for entry in data.train.entries]
