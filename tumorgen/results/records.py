"""Result files: every value with its definition, its uncertainty and an id by which tables and reports refer to it."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from data_modules.errors import InputError
from data_modules.files import write_json
from tumorgen.runs.packages import package_versions

FORMAT = 2
POOLED = "pooled"
"""The group of all classes together."""


@dataclass(frozen=True)
class Interval:
    """An interval of confidence.

    Attributes:
        low: Lower end.
        high: Upper end.
        method: How it was found, for example `percentile bootstrap over cases, 1000 resamples`.
        level: Nominal coverage.
    """

    low: float
    high: float
    method: str
    level: float = 0.95


@dataclass(frozen=True)
class Floor:
    """The same metric between two random halves of the real data: what no generator can be expected to beat.

    Attributes:
        value: Mean over splits.
        low: 2.5th percentile over splits.
        high: 97.5th percentile over splits.
        splits: Number of random half splits.
        size: Volumes in a half: values of other sizes are biased differently.
    """

    value: float
    low: float
    high: float
    splits: int
    size: int


@dataclass(frozen=True)
class Record:
    """One value of a metric and everything that is needed to compare it with another.

    Attributes:
        metric: Its name, for example `mmd_rbf`.
        value: NaN where it is not defined for these data.
        definition: Recipe, kernel or window, number of scales, data range, feature extractor with checksum, unit,
            `better` (`lower`, `higher` or `real`: close to the floor), as JSON types.
        group: What was measured, for example {"class": "LGG", "generated": "samples"}.
        counts: How many, for example {"real": 76, "generated": 250}.
        interval: Confidence interval of `value`.
        floor: Real against real.
        p_value: Of the test that `details` names.
        details: Anything else, as JSON types.
    """

    metric: str
    value: float
    definition: Mapping[str, Any]
    group: Mapping[str, str]
    counts: Mapping[str, int]
    interval: Interval | None = None
    floor: Floor | None = None
    p_value: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Twelve hex digits of the SHA-256 of the content: the same content has the same id."""
        return hashlib.sha256(json.dumps(self._content(), sort_keys=True).encode()).hexdigest()[:12]

    def to_json(self) -> dict[str, Any]:
        """The record with its id as JSON types; NaN becomes null."""
        return {"id": self.id, **self._content()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Record":
        """The inverse of `to_json`.

        Raises:
            ValueError: The content is not what its id says.
        """
        interval, floor, value = content["interval"], content["floor"], content["value"]
        record = cls(
            metric=content["metric"],
            value=math.nan if value is None else float(value),
            definition=content["definition"],
            group=content["group"],
            counts=content["counts"],
            interval=None if interval is None else Interval(**_nan(interval)),
            floor=None if floor is None else Floor(**_nan(floor)),
            p_value=content["p_value"],
            details=content["details"],
        )
        if record.id != content["id"]:
            raise ValueError(f"record {content['id']} ({record.metric}) was changed after it was written")
        return record

    def _content(self) -> dict[str, Any]:
        content = {
            "metric": self.metric,
            "value": float(self.value),
            "definition": dict(self.definition),
            "group": dict(self.group),
            "counts": dict(self.counts),
            "interval": None if self.interval is None else vars(self.interval),
            "floor": None if self.floor is None else vars(self.floor),
            "p_value": self.p_value,
            "details": dict(self.details),
        }
        return {key: _null(value) for key, value in content.items()}


@dataclass(frozen=True)
class Results:
    """The content of a result file.

    Attributes:
        kind: `evaluation` or `benchmark`.
        records: Of all metrics.
        extra: What else the command wrote: inputs, pictures, packages.
        path: The file it was read from, where there is one.
    """

    kind: str
    records: tuple[Record, ...]
    extra: Mapping[str, Any]
    path: Path | None = None


def write_results(path: Path, kind: str, records: Iterable[Record], **extra: Any) -> None:
    """Writes a result file, atomically; date and package versions are added.

    Args:
        path: For example `results/evaluation.json`.
        kind: `evaluation` or `benchmark`.
        records: Of all metrics.
        **extra: Anything else, as JSON types; paths relative to the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "format": FORMAT,
        "kind": kind,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "packages": package_versions(),
        **extra,
        "records": [record.to_json() for record in records],
    }
    write_json(path, _null(content))


def read_results(path: Path) -> Results:
    """Reads a result file.

    Raises:
        InputError: The file is none, is damaged, or a value in it was changed by hand.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}, expected {FORMAT}")
        records = tuple(Record.from_json(record) for record in content.pop("records"))
        return Results(content.pop("kind"), records, content, path)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: is no result file of tumorgen ({error}); expected the JSON file that `tumorgen evaluate` or "
            "`tumorgen benchmark` wrote. Run that command again."
        ) from error


def _null(value: Any) -> Any:
    """The same with None for NaN and infinity, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _null(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_null(part) for part in value]
    return value


def _nan(content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: math.nan if value is None else value for key, value in content.items()}
