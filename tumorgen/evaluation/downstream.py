"""The downstream question in small: does a classifier learn anything from generated volumes?"""

from functools import cache, partial
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from tumorgen.classifier.metrics import metrics_of
from tumorgen.classifier.quick import train_quickly
from tumorgen.metrics.distances import reduced
from tumorgen.metrics.metric import Measure, Metric, Real, Volumes, at_least_one, joined
from tumorgen.results.records import POOLED, Floor, Record
from tumorgen.types import Volume

_AT_ONCE = 32  # volumes that a network judges at a time


class DownstreamAUC(Metric):
    """`benchmark_auc`: small classifiers trained on generated volumes alone, tested on real ones; with two classes or more.

    The positive class is the last one. The floor is the AUC of the same networks trained on as many real training volumes,
    where these are apart from those tested on. A hint of what `tumorgen benchmark` is going to find.

    Args:
        networks: Networks, from different seeds, whose probabilities are averaged.
        epochs: Passes of each over its training volumes.
        per_class: Volumes of a class to train on, at most.
        side: Voxels a side, at most, of what the networks see.
    """

    def __init__(self, networks: int = 3, epochs: int = 40, per_class: int = 64, side: int = 32) -> None:
        for name, value in (("networks", networks), ("epochs", epochs), ("per_class", per_class), ("side", side)):
            at_least_one(name, value)
        self.networks, self.epochs, self.per_class, self.side = networks, epochs, per_class, side

    def prepare(self, real: Real) -> Measure:
        """The volumes to test on; nothing is measured where they are of one class."""
        positive = (real.compared.labels == len(real.class_names) - 1).long()
        if not 0 < int(positive.sum()) < len(positive):
            return joined([])
        tested = self._rows(real.compared)

        def auc(volumes: Volumes) -> float:
            return self._auc(volumes, tested, positive, len(real.class_names), real.resampling.seed)

        @cache
        def floor(number: int) -> Floor | None:
            chosen = self._first(real.training, len(real.class_names), number)
            if real.held_out is None or len(chosen.labels.unique()) < len(real.class_names):
                return None
            value = auc(chosen)
            return Floor(value, value, value, splits=1, size=int(torch.bincount(chosen.labels).min()))

        def measure(generated: Volumes) -> list[Record]:
            if len(generated.labels.unique()) < len(real.class_names):
                return []
            number = min(self.per_class, int(torch.bincount(generated.labels).min()))
            chosen = self._first(generated, len(real.class_names), number)
            counts = {"real": len(tested), "generated": len(chosen)}
            described = self._definition(real, tuple(tested.shape[2:]))
            return [
                Record("benchmark_auc", auc(chosen), described, {"class": POOLED}, counts, floor=floor(number)),
            ]

        return measure

    def _definition(self, real: Real, shape: tuple[int, ...]) -> dict[str, Any]:
        return {
            "title": "AUC, trained on generated",
            "recipe": f"{self.networks} small CNNs trained on generated volumes alone, {self.epochs} epochs each, mean "
            "probability; tested on the real volumes",
            "inputs": f"volumes of {shape} voxels in [-1, 1]",
            "volumes": f"as many of every class, at most {self.per_class}",
            "positive_class": real.class_names[-1],
            "floor": "the same networks trained on as many real training volumes",
            "unit": "1",
            "better": "higher",
        }

    def _rows(self, volumes: Volumes) -> Volume:
        return volumes.rows(("reduced", self.side), partial(reduced, side=self.side))

    @staticmethod
    def _first(volumes: Volumes, classes: int, number: int) -> Volumes:
        """The first `number` volumes of every class."""
        first = [torch.nonzero(volumes.labels == label)[:number, 0] for label in range(classes)]
        return volumes.select(torch.cat(first))

    def _auc(self, volumes: Volumes, tested: Volume, positive: Int[Tensor, " n"], classes: int, seed: int) -> float:
        scores, rows = torch.zeros(len(positive)), self._rows(volumes)
        for one in range(seed, seed + self.networks):
            network = train_quickly(rows, volumes.labels, classes, seed=one, epochs=self.epochs)
            with torch.no_grad():
                parts = [network(some).softmax(1)[:, -1] for some in tested.split(_AT_ONCE)]
            scores += torch.cat(parts) / self.networks
        return float(metrics_of(scores, positive)["auc"])
