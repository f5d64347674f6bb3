"""Real and generated volumes in memory, as metrics take them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from toy import blob

from tumorgen.metrics.metric import Real, Resampling, Volumes

NAMES = ("LGG", "HGG")
QUICK = Resampling(resamples=100, permutations=200, splits=20)


def blobs(first: int, number: int, size: int = 16) -> list[Tensor]:
    """Blobs of both classes, by label."""
    return [torch.stack([blob(label, size, first + 2 * i + label) for i in range(number)]) for label in (0, 1)]


def volumes_of(by_label: Sequence[Tensor], prefix: str = "") -> Volumes:
    """Volumes of every class, by label."""
    labels = [label for label, some in enumerate(by_label) for _ in some]
    return Volumes.of(list(torch.cat(list(by_label))), labels, [f"{prefix}{i}" for i in range(len(labels))])


def real_of(training: Sequence[Tensor], held_out: Sequence[Tensor] = (), **more: Any) -> Real:
    """Real volumes of every class, by label; those held out are compared with, where there are any."""
    both = volumes_of([*training, *held_out])
    both = replace(both, classes=both.classes % len(training))
    n = sum(map(len, training))
    trained, others = both.select(torch.arange(n)), both.select(torch.arange(n, len(both)))
    options: dict[str, Any] = {
        "class_names": NAMES[: len(training)],
        "spacing": 2.0,
        "compared": others if len(others) else both,
        "everything": both,
        "training": trained,
        "held_out": others if len(others) else None,
        "resampling": QUICK,
    }
    return Real(**options | more)
