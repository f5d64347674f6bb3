"""The name of what is compared with other systems: the same in run, checkpoint, manifest, record, table and dashboard."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from data_modules.errors import InputError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+]*")


@dataclass(frozen=True)
class System:
    """What is compared.

    Attributes:
        name: By which it goes everywhere; letters, digits and the signs _ . + only. Empty: that of the model's class.
        title: The name for people; empty: the name.
        source: Where it comes from: a paper, a repository.
    """

    name: str = ""
    title: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if self.name and not NAME.fullmatch(self.name):
            raise InputError(
                f"--system.name: found '{self.name}', expected letters, digits and the signs _ . + only; anything may stand "
                "in --system.title."
            )

    @classmethod
    def of_manifest(cls, manifest: Mapping[str, Any] | None) -> Self:
        """The system that sampled a folder of volumes; without a name where the manifest tells none."""
        stated = (manifest or {}).get("system")
        if not isinstance(stated, Mapping):
            return cls()
        return cls(*(str(stated.get(key, "")) for key in ("name", "title", "source")))

    @classmethod
    def together(cls, systems: Sequence["System"]) -> "System":
        """The system of volumes that several generators sampled, for example one per class."""
        names, titles, sources = (
            list(dict.fromkeys(values))
            for values in zip(*((one.name, one.title, one.source) for one in systems), strict=True)
        )
        return cls("+".join(names), ", ".join(filter(None, titles)), ", ".join(filter(None, sources)))
