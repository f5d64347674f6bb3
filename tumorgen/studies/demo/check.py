"""Does the demonstration show what it claims? Figures from its own outputs, each against the value it has to reach."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.utils.data import Dataset

from data_modules.base import Item
from data_modules.errors import InputError
from data_modules.files import write_json
from data_modules.volumes.folder import VolumeFolder
from tumorgen.benchmark.arms import CONTROL
from tumorgen.benchmark.summary import DIFFERENCE
from tumorgen.classifier.quick import train_quickly
from tumorgen.methods.loading import load_method
from tumorgen.methods.vqgan.module import VQGAN
from tumorgen.metrics.codebook import code_usage, count_codes
from tumorgen.metrics.importance import importance_auc
from tumorgen.metrics.reconstruction import shape_dice
from tumorgen.metrics.shape import plausible_share, shape_of
from tumorgen.results.records import read_results
from tumorgen.studies.demo.folders import DemoFolder
from tumorgen.types import Labels, Volume

NETWORKS = 3
EPOCHS = 40
PERMUTATIONS = 200


@dataclass(frozen=True)
class Finding:
    """One figure and the range it has to lie in."""

    name: str
    value: float
    least: float
    most: float = float("inf")

    @property
    def reached(self) -> bool:
        """Whether the figure lies in its range."""
        return self.least <= self.value <= self.most


def check(folder: DemoFolder, thresholds: dict[str, float]) -> list[Finding]:
    """All figures of a finished demonstration; also written to `figures.json`.

    Args:
        folder: Holds the cohort, both stages and the samples.
        thresholds: Least values by name of `shape_dice`, `codes_in_use`, `importance_auc`, `reconstruction_auc_ratio`,
            `generated_auc` and `plausible_share`.

    Raises:
        InputError: A part of the demonstration is missing.
    """
    torch.manual_seed(0)
    data = folder.data()
    model = load_method(folder.checkpoint("vqgan"), VQGAN)
    train = stack(data.train)
    held_out = tuple(torch.cat(pair) for pair in zip(stack(data.val), stack(data.test), strict=True))
    generated = read_samples(folder.volumes, model.class_names)

    x, labels = held_out
    with torch.no_grad():
        encoding = model.encode(x)
        x_hat = model.decode(encoding.codes)
        codes = model.encode(train[0]).codes
    counts = count_codes(codes, train[1], model.model.quantizer.num_codes, len(model.class_names)).sum(0)
    judges = [train_quickly(*train, num_classes=2, seed=seed, epochs=EPOCHS) for seed in range(NETWORKS)]
    original_auc, rebuilt_auc = auc(judges, x, labels), auc(judges, x_hat, labels)
    generated_auc, permuted_auc = auc(judges, *generated), auc(judges, *generated, permutations=PERMUTATIONS)
    shapes = plausible_share(
        [shape_of(volume[0].numpy(), model.spacing) for volume in generated[0]],
        [shape_of(volume[0].numpy(), model.spacing) for volume in torch.cat([train[0], x])],
    )
    findings = [
        Finding("shape_dice", float(shape_dice(x, x_hat).mean()), thresholds["shape_dice"]),
        Finding("codes_in_use", float(code_usage(counts)), thresholds["codes_in_use"]),
        Finding("importance_auc", float(importance_auc(encoding.scores, x).nanmean()), thresholds["importance_auc"]),
        Finding("reconstruction_auc_ratio", rebuilt_auc / original_auc, thresholds["reconstruction_auc_ratio"]),
        Finding("generated_auc", generated_auc, thresholds["generated_auc"]),
        Finding("permuted_auc", permuted_auc, 0.4, 0.6),
        Finding(
            "plausible_share",
            (shapes["volume"] + shapes["extent"] + shapes["compactness"]) / 3,
            thresholds["plausible_share"],
        ),
        Finding("equal_pairs", float(equal_pairs(*generated)), 0, 0),
        Finding("shuffled_control_low", shuffled_control_low(folder.benchmark), -1, 0),
    ]
    extra = {"original_auc": original_auc, "reconstruction_auc": rebuilt_auc, "held_out": len(x), "shapes": shapes}
    report: dict[str, Any] = {finding.name: finding.value for finding in findings}
    write_json(folder.figures, {**report, **extra})
    return findings


def stack(dataset: Dataset[Item] | None) -> tuple[Volume, Labels]:
    """All volumes and labels of a data set."""
    assert dataset is not None
    items = [dataset[index] for index in range(len(dataset))]  # type: ignore[arg-type]
    return torch.stack([item["volume"] for item in items]), torch.tensor([item["label"] for item in items])


def read_samples(folder: Path, class_names: Sequence[str]) -> tuple[Volume, Labels]:
    """Sampled volumes as models see them, [-1, 1] and (D, H, W), and their classes.

    Raises:
        InputError: A class has no volume.
    """
    samples = VolumeFolder(folder, class_names, intensities="[0, 1]")
    for label, name in enumerate(class_names):
        if not len(samples.indices(label)):
            raise InputError(f"{folder / name}: holds no sampled volume; run `tumorgen demo` first.")
    return samples.stack(), torch.from_numpy(samples.labels)


def auc(judges: Sequence[nn.Module], volumes: Volume, labels: Labels, permutations: int = 0) -> float:
    """AUC of class 1 against class 0 by the mean of several networks; with permuted labels, the mean over permutations."""
    with torch.no_grad():
        scores: Tensor = torch.stack([judge(volumes).softmax(1)[:, 1] for judge in judges]).mean(0)
    if not permutations:
        return float(roc_auc_score(labels.numpy(), scores.numpy()))
    generator = np.random.default_rng(0)
    return float(np.mean([roc_auc_score(generator.permutation(labels.numpy()), scores) for _ in range(permutations)]))


def shuffled_control_low(benchmark: Path) -> float:
    """Lower end of the paired AUC difference between generated volumes under shuffled labels and real ones alone.

    Above 0, labels that mean nothing would help: the benchmark would be broken.

    Raises:
        InputError: The benchmark was not run to its end.
    """
    records = read_results(benchmark / "benchmark.json").records
    found = [
        record.interval.low
        for record in records
        if record.metric == DIFFERENCE and record.group["arm"] == CONTROL and record.interval is not None
    ]
    if len(found) != 1:
        raise InputError(
            f"{benchmark}: {len(found)} paired differences of {CONTROL}, expected 1; run `tumorgen demo` first."
        )
    return found[0]


def equal_pairs(volumes: Volume, labels: Labels) -> int:
    """Pairs of voxel-wise equal volumes within a class."""
    flat = volumes.flatten(1)
    return sum(
        bool(labels[i] == labels[j]) and bool(torch.equal(flat[i], flat[j]))
        for i, j in combinations(range(len(flat)), 2)
    )
