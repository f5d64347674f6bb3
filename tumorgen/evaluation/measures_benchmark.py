"""The downstream question in small, while a generator trains: does a classifier learn anything from its samples?"""

import torch
from torch import Tensor

from tumorgen.classifier.figures import figures_of
from tumorgen.classifier.quick import train_quickly
from tumorgen.evaluation.budget import Clock
from tumorgen.evaluation.measures import SEED, Measure, Numbers, record, timed
from tumorgen.evaluation.real_cases import RealCases, Samples, shrink
from tumorgen.results.records import Floor, Record
from tumorgen.types import Labels, Volume


class ClassifierBenchmark(Measure):
    """`benchmark_auc`: small classifiers trained on samples alone, tested on real validation cases.

    Volumes are averaged to at most 32 voxels per side. The positive class is the last one. The floor is the AUC of the same
    networks trained on as many real training cases. A hint of what `tumorgen benchmark` is going to find, with few
    validation cases: see it as a curve.

    Args:
        networks: Networks, from different seeds, whose probabilities are averaged.
        epochs: Passes of each over its training volumes.
    """

    def __init__(self, networks: int = 3, epochs: int = 40) -> None:
        self.networks, self.epochs = networks, epochs

    def seconds(self, one: Volume, cases: Numbers, clock: Clock) -> float:
        """Training on a few volumes for one epoch; the floor is another training of the same length."""
        few = shrink(one).expand(4, *shrink(one).shape[1:])
        labels = torch.tensor([0, 1, 0, 1])
        epoch = timed(lambda: train_quickly(few, labels, 2, seed=SEED, epochs=1), clock)
        return 2 * self.networks * self.epochs * epoch * max(1.0, cases.generated / 4)

    def prepare(self, real: RealCases, class_names: tuple[str, ...]) -> None:
        """Keeps the real cases; the floor is taken with the first samples, whose number it needs."""
        self.class_names, self.training = class_names, real.training_small
        self.held_out, self.labels = _joined(real.held_out_small)
        self.floor: Floor | None = None

    def records(self, samples: Samples) -> list[Record]:
        """One figure, pooled; none without validation cases of two classes."""
        positive = (self.labels == len(self.class_names) - 1).long()
        if not 0 < int(positive.sum()) < len(positive):
            return []
        number = len(samples.small[0])
        value = self._auc(*_joined(samples.small), positive)
        if self.floor is None and min(map(len, self.training)):
            some = [volumes[:number] for volumes in self.training]
            real = self._auc(*_joined(some), positive)
            self.floor = Floor(real, real, real, splits=1, size=min(map(len, some)))
        definition = {
            "name": "AUC of classifiers trained on samples alone",
            "recipe": f"{self.networks} small CNNs, {self.epochs} epochs each, mean probability; tested on real validation cases",
            "inputs": f"volumes of {tuple(self.held_out.shape[2:])} voxels in [-1, 1]",
            "positive_class": self.class_names[-1],
            "floor": "the same networks trained on as many real training cases",
            "unit": "1",
            "better": "higher",
        }
        counts = {"real": len(self.labels), "generated": number * len(self.class_names)}
        return [record("benchmark_auc", value, definition, samples, "pooled", counts, floor=self.floor)]

    def _auc(self, volumes: Volume, labels: Labels, positive: Tensor) -> float:
        scores = torch.zeros(len(positive))
        for seed in range(SEED, SEED + self.networks):
            network = train_quickly(volumes, labels, len(self.class_names), seed=seed, epochs=self.epochs)
            with torch.no_grad():
                scores += network(self.held_out).softmax(1)[:, -1] / self.networks
        return float(figures_of(scores, positive)["auc"])


def _joined(by_label: list[Volume]) -> tuple[Volume, Labels]:
    labels = [torch.full((len(volumes),), label) for label, volumes in enumerate(by_label)]
    return torch.cat(by_label), torch.cat(labels)
