"""Volumes kept in memory are those that were read, and copies."""

import pickle
from collections.abc import Iterable

import pytest
import torch
from toy import Blobs
from volumes import write_volumes

from data_modules.base import Item
from data_modules.volumes.folder import VolumeFolder
from data_modules.volumes.memory import InMemory


class Counting(Blobs):
    """Counts how often a volume is read; the last one is black."""

    def __init__(self) -> None:
        super().__init__(6, 16, 0)
        self.items[-1]["volume"] = torch.full((1, 16, 16, 16), -1.0)
        self.read: list[int] = []

    def __getitem__(self, index: int) -> Item:
        self.read.append(index)
        return super().__getitem__(index)


def equal(one: Iterable[Item], other: Iterable[Item]) -> bool:
    return all(torch.equal(a.pop("volume"), b.pop("volume")) and a == b for a, b in zip(one, other, strict=True))


def items(volumes: Blobs | InMemory) -> list[Item]:
    return [Item(**volumes[index]) for index in range(len(volumes))]


def test_every_volume_is_read_once() -> None:
    source = Counting()
    kept = InMemory(source)
    for _ in range(2):
        found = items(kept)
        assert equal(found, [*items(Blobs(5, 16, 0)), Item(**source.items[-1])])
        kept[0]["volume"].zero_()
    assert source.read == list(range(6))
    assert (kept.cases, kept.patients, kept.labels.tolist()) == (source.cases, source.patients, source.labels.tolist())
    assert kept.digest(1) == source.digest(1)


def test_lists_of_one_cohort_share_what_was_read() -> None:
    source, kept = Counting(), {}
    InMemory(source, kept).filled()
    again = InMemory(source, kept)
    assert equal(items(again), [Item(**item) for item in source.items])
    assert source.read == list(range(6))
    blocks = sum(block.values.numel() for block in kept.values())
    assert blocks < 0.7 * 5 * 16**3, "of background, nothing is kept"


def test_volumes_of_one_name_in_two_classes_are_two(tmp_path) -> None:
    write_volumes(tmp_path, 2, manifest={})
    for name in ("LGG", "HGG"):
        for path in (tmp_path / name).iterdir():
            path.rename(path.with_name(path.name.removeprefix(f"{name}_")))
    (tmp_path / "manifest.json").unlink()
    folder = VolumeFolder(tmp_path, intensities="[0, 1]")
    assert folder.cases[0] == folder.cases[2]
    kept = InMemory(folder).filled()
    assert all(torch.equal(kept[i]["volume"], folder[i]["volume"]) for i in range(4))


@pytest.mark.parametrize("filled", [False, True])
def test_they_can_be_sent_to_other_processes(filled: bool) -> None:
    kept = InMemory(Blobs(3, 16, 0))
    copy = pickle.loads(pickle.dumps(kept.filled() if filled else kept))
    assert equal(items(copy), items(Blobs(3, 16, 0)))
