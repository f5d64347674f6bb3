"""Distances to the nearest training patient against brute force, and copies that have to be found."""

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from toy import Blobs

from tumorgen.metrics.distances import feature_distances, nearest, nearest_other, reduced, voxel_distances
from tumorgen.metrics.memorisation import closest_pairs, definition, memorisation_share, threshold

FLIPS = [[axis + 1 for axis in range(3) if chosen[axis]] for chosen in itertools.product([0, 1], repeat=3)]


def volumes(count, seed, size=32):
    return torch.stack([item["volume"] for item in Blobs(count, size, seed)])


def noise(shape, sd):
    return sd * torch.randn(shape, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def cohort():
    """Training volumes and the distances of held-out ones to them."""
    training = volumes(24, 0)
    return training, nearest(voxel_distances(volumes(20, 500), training)).distances


# ---------------------------------------------------------------------- distances


@pytest.mark.parametrize("shape", [(1, 4, 4, 4), (2, 5, 4, 3), (1, 1, 7, 2)])
def test_voxel_distances_equal_brute_force_over_eight_flips(shape):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(5, *shape, generator=generator), torch.randn(40, *shape, generator=generator)
    found = voxel_distances(x, y)
    for i, j in itertools.product(range(5), range(40)):
        expected = min(np.sqrt(np.mean((x[i] - y[j].flip(flip)).numpy() ** 2)) for flip in FLIPS)
        assert float(found[i, j]) == pytest.approx(expected, rel=1e-5)


def test_feature_distances_equal_scipy():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(7, 12, generator=generator), torch.randn(9, 12, generator=generator)
    np.testing.assert_allclose(feature_distances(x, y), cdist(x, y), rtol=1e-6)
    assert float(feature_distances(x + 1e4, x + 1e4).diagonal().max()) == 0, "no differences of large squares"


def test_nearest_by_hand():
    distances = torch.tensor([[3.0, 1.0, 2.0], [0.5, 0.7, 0.6]])
    found = nearest(distances)
    assert found.distances.tolist() == [1.0, 0.5]
    assert found.indices.tolist() == [1, 0]
    assert closest_pairs(found.distances, found.indices, 5) == [(1, 0, 0.5), (0, 1, 1.0)]
    assert closest_pairs(found.distances, found.indices, 1) == [(1, 0, 0.5)]


def test_leave_one_out_by_hand():
    distances = torch.tensor([[0.0, 1.0, 5.0], [1.0, 0.0, 4.0], [5.0, 4.0, 0.0]])
    assert nearest_other(distances).distances.tolist() == [1.0, 1.0, 4.0]
    assert nearest_other(distances).indices.tolist() == [1, 0, 1]
    grouped = nearest_other(distances, patients=["A", "A", "B"])
    assert grouped.distances.tolist() == [5.0, 4.0, 4.0], "two scans of one patient are no two patients"
    with pytest.raises(ValueError, match="at least two patients"):
        nearest_other(distances, patients=["A", "A", "A"])


def test_leave_one_out_is_brute_force_without_oneself():
    x = volumes(6, 0, 16)
    found = nearest_other(voxel_distances(x, x))
    for i in range(6):
        others = [j for j in range(6) if j != i]
        alone = nearest(voxel_distances(x[i : i + 1], x[others]))
        assert found.distances[i] == pytest.approx(alone.distances[0])
        assert found.indices[i] == others[alone.indices[0]]


@pytest.mark.parametrize("size", [48, 64, 65, 100, 128])
def test_reduced_volumes_are_block_means_and_flip_with_the_volume(size):
    x = torch.rand(1, 1, size, size, size, generator=torch.Generator().manual_seed(0))
    small = reduced(x)
    assert small.shape[2:] == (min(size, 64),) * 3
    torch.testing.assert_close(reduced(x.flip(2, 4)), small.flip(2, 4))
    if size == 128:
        blocks = x.numpy().reshape(64, 2, 64, 2, 64, 2).mean((1, 3, 5))
        np.testing.assert_allclose(small[0, 0], blocks, rtol=1e-5)


# ---------------------------------------------------------------------- the audit


@pytest.mark.parametrize("flip", FLIPS, ids=str)
def test_copies_are_found_flipped_and_with_noise(flip, cohort):
    training, reference = cohort
    for sd in (0.0, 0.02):  # 1 % of the range
        copies = torch.stack([volume.flip(flip) for volume in training])
        copies = (copies + noise(copies.shape, sd)).clamp(-1, 1)
        found = nearest(voxel_distances(copies, training))
        assert found.indices.tolist() == list(range(24))
        assert memorisation_share(found.distances, reference) == 1
        assert found.distances.max() < 1.1 * sd + 1e-6


@pytest.mark.parametrize("side", [32, 16, 8])
def test_copies_are_found_at_lower_resolution(side, cohort):
    training, held_out = reduced(cohort[0], side), reduced(volumes(20, 500), side)
    reference = nearest(voxel_distances(held_out, training)).distances
    copies = reduced((cohort[0].flip(2) + noise(cohort[0].shape, 0.02)).clamp(-1, 1), side)
    assert memorisation_share(nearest(voxel_distances(copies, training)).distances, reference) == 1


def test_a_few_copies_among_new_volumes(cohort):
    training, reference = cohort
    generated = volumes(20, 900)
    new = memorisation_share(nearest(voxel_distances(generated, training)).distances, reference)
    assert new <= 0.25
    generated[::5] = training[:4].flip(3)
    found = nearest(voxel_distances(generated, training))
    assert memorisation_share(found.distances, reference) >= 0.2
    assert {(pair.generated, pair.training) for pair in closest_pairs(*found, 4)} == {(0, 0), (5, 1), (10, 2), (15, 3)}


def test_new_volumes_are_called_memorised_as_often_as_the_percentile_says():
    rng = np.random.default_rng(0)
    assert memorisation_share(rng.normal(size=4000), rng.normal(size=4000)) == pytest.approx(0.05, abs=0.015)
    assert memorisation_share(rng.normal(size=4000), rng.normal(size=4000), 20) == pytest.approx(0.2, abs=0.03)


def test_share_by_hand():
    reference = np.arange(1.0, 102.0)
    assert threshold(reference) == 6
    assert memorisation_share(np.array([6.0, 6.1, 5.9, 50.0]), reference) == 0.5


def test_few_volumes():
    assert memorisation_share(np.array([0.1]), np.array([0.5])) == 1
    assert memorisation_share(np.array([0.6]), np.array([0.5, 0.7])) == 0
    assert memorisation_share(np.array([0.0]), np.zeros(3)) == 1, "a copy in a cohort full of doublets"
    assert np.isnan(memorisation_share(np.empty(0), np.array([0.5])))
    with pytest.raises(ValueError, match="got none"):
        memorisation_share(np.array([0.1]), np.empty(0))


def test_definitions_are_json_and_say_what_they_are_held_against():
    held_out, left_out = definition("voxels", "held-out"), definition("features", "leave-one-out")
    assert json.loads(json.dumps(held_out)) == held_out
    assert "8 axis flips" in held_out["distance"]
    assert "none was held out" in left_out["recipe"]
    assert left_out["real_volumes"] == "those trained on"


BOUNDED = """
import resource, torch
from tumorgen.metrics.distances import nearest, reduced, voxel_distances

def made(count, size, seed):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        yield torch.rand(1, size, size, size, generator=generator)

training, generated = (reduced(made(count, {size}, count)) for count in ({training}, {generated}))
assert len(nearest(voxel_distances(generated, training)).distances) == {generated}
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_five_hundred_large_volumes_stay_within_memory():
    script = BOUNDED.format(size=128, training=335, generated=500)
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(found.stdout) < 4, "GiB"
