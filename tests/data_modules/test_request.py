"""What `predict` is asked for: seeds, names, and the words for what cannot be done."""

import pytest

from data_modules.errors import InputError
from data_modules.request import SamplingRequest

CLASSES = ("LGG", "HGG")


class Trainer:
    """What a request asks its trainer."""

    class lightning_module:  # noqa: N801
        class_names = CLASSES

    def __init__(self, world_size: int = 1, global_rank: int = 0) -> None:
        self.world_size, self.global_rank = world_size, global_rank


def test_every_volume_has_a_name_and_a_seed_of_its_own() -> None:
    wanted = SamplingRequest({"LGG": 3, "HGG": 2}, seed=100).wanted(CLASSES)
    assert [(item["name"], item["label"], item["seed"]) for item in wanted] == [
        ("LGG/LGG_0001", 0, 100),
        ("LGG/LGG_0002", 0, 102),
        ("LGG/LGG_0003", 0, 104),
        ("HGG/HGG_0001", 1, 101),
        ("HGG/HGG_0002", 1, 103),
    ]


def test_more_volumes_later_change_none_of_the_first() -> None:
    few = {item["name"]: item for item in SamplingRequest({"LGG": 3, "HGG": 1}).wanted(CLASSES)}
    many = {item["name"]: item for item in SamplingRequest({"HGG": 40, "LGG": 30}).wanted(CLASSES)}
    assert few.items() <= many.items()
    assert len({item["seed"] for item in many.values()}) == 70


def test_a_class_can_be_left_out() -> None:
    assert [item["name"] for item in SamplingRequest({"HGG": 1}).wanted(CLASSES)] == ["HGG/HGG_0001"]


def test_batches_hold_what_has_not_been_written() -> None:
    request = SamplingRequest({"LGG": 3, "HGG": 2}, batch_size=2)
    request.leave_out(["LGG/LGG_0002"])

    request.trainer = Trainer()
    batches = list(request.predict_dataloader())
    assert [batch["name"] for batch in batches] == [["LGG/LGG_0001", "LGG/LGG_0003"], ["HGG/HGG_0001", "HGG/HGG_0002"]]
    assert [batch["condition"].label.tolist() for batch in batches] == [[0, 0], [1, 1]]
    assert [batch["seed"] for batch in batches] == [[0, 4], [1, 3]]


@pytest.mark.parametrize("ranks", [2, 3, 7])
def test_ranks_share_the_volumes_and_sample_none_twice(ranks: int) -> None:
    names = []
    for rank in range(ranks):
        request = SamplingRequest({"LGG": 3, "HGG": 2}, batch_size=2)
        request.trainer = Trainer(ranks, rank)
        loader = request.predict_dataloader()
        found = [name for batch in loader for name in batch["name"]]
        assert len(loader) == (len(found) + 1) // 2
        names += found
    assert sorted(names) == sorted(item["name"] for item in request.wanted(CLASSES))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"counts": {"LGG": -1}}, "-1 volumes of LGG"),
        ({"counts": {}}, "asks for no volume"),
        ({"counts": {"LGG": 0}}, "asks for no volume"),
        ({"counts": {"LGG": 1}, "batch_size": 0}, "--data.batch_size is 0"),
        ({"counts": {"LGG": 1}, "seed": -1}, "--data.seed is -1"),
        ({"counts": {"LGG": 1}, "seed": 2**63}, "--data.seed is"),
    ],
)
def test_impossible_requests_are_refused(options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        SamplingRequest(**options)


def test_an_unknown_class_is_named_beside_the_known_ones() -> None:
    with pytest.raises(InputError, match="does not know the class GBM; it was trained on LGG, HGG"):
        SamplingRequest({"GBM": 1}).wanted(CLASSES)
