"""The name of a system, from its experiment to every table."""

import pytest

from data_modules.errors import InputError
from tumorgen.methods.system import System

ONE, OTHER = System("one", "The one", "A paper"), System("other", "", "A paper")


@pytest.mark.parametrize("name", ["a b", "-a", "a/b", "a-b"])
def test_a_name_can_be_part_of_a_files_name(name: str) -> None:
    with pytest.raises(InputError, match=r"--system\.name: found .*--system\.title"):
        System(name)


def test_generators_of_one_system_keep_its_name() -> None:
    assert System.together([ONE, ONE]) == ONE
    assert System.together([ONE, OTHER]) == System("one+other", "The one", "A paper")


def test_a_manifest_that_says_nothing_names_nobody() -> None:
    for manifest in (None, {}, {"system": "one"}, {"system": {}}):
        assert System.of_manifest(manifest) == System()
    assert System.of_manifest({"system": {"name": "one", "title": "The one", "source": "A paper"}}) == ONE
