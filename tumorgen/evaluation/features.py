"""From what a user names to feature extractors: `mri`, `classifier`, a checkpoint, a TorchScript file."""

from functools import partial
from pathlib import Path

import torch

from data_modules.errors import InputError
from tumorgen.classifier.quick import train_quickly
from tumorgen.evaluation.extractors import (
    ClassifierExtractor,
    FeatureExtractor,
    MRIExtractor,
    Normalisation,
    TorchScriptExtractor,
)
from tumorgen.metrics.distances import reduced
from tumorgen.metrics.metric import Real

QUICK_SIDE = 32
"""Voxels a side of what the classifier that is trained on the spot sees: its training then takes seconds."""
QUICK_EPOCHS = 20


def extractors_for(names: str, real: Real, normalisation: Normalisation = "none") -> list[FeatureExtractor]:
    """The extractors that were asked for, in that order, on a GPU where there is one.

    Args:
        names: With commas. `mri`: the encoder whose weights `tumorgen weights` fetches. `classifier`: a small grade
            classifier, trained here on the real training volumes. A path that ends in `.ckpt`: a classifier that
            `tumorgen fit` trained. Any other path: a TorchScript network.
        real: Real volumes.
        normalisation: Of volumes for TorchScript networks.

    Raises:
        InputError: Weights or files are missing or unusable, one is named twice, or there is but one class to tell apart.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if not wanted:
        raise InputError("--features: names no feature extractor; expected for example mri,classifier")
    found: list[FeatureExtractor] = []
    for name in wanted:
        if name == "mri":
            found.append(MRIExtractor())
        elif name == "classifier":
            found.append(trained_here(real))
        elif name.endswith(".ckpt"):
            found.append(ClassifierExtractor.from_checkpoint(Path(name)))
        else:
            found.append(TorchScriptExtractor(Path(name), normalisation))
    taken = [extractor.name for extractor in found]
    for name in taken:
        if taken.count(name) > 1:
            raise InputError(f"--features: two extractors are called {name}; values could not be told apart. Name one")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return [extractor.to(device) for extractor in found]


def trained_here(real: Real) -> ClassifierExtractor:
    """A small classifier of the grade, trained on the real training volumes, averaged to 32 voxels a side.

    Where nobody says which volumes are for training it is trained on all real ones, and the definition says so.

    Raises:
        InputError: The training volumes are of one class only.
    """
    labels, seed = real.training.labels, real.resampling.seed
    if len(labels.unique()) < 2:
        raise InputError(
            f"--features classifier: the {len(labels)} volumes to train on are all of one class; a classifier needs two. "
            "Choose features without it, for example --features mri"
        )
    volumes = real.training.rows(("reduced", QUICK_SIDE), partial(reduced, side=QUICK_SIDE))
    network = train_quickly(volumes, labels, len(real.class_names), seed, epochs=QUICK_EPOCHS)
    which = "volumes it also judges" if real.held_out is None else "volumes held apart from those that are compared"
    origin = f"SmallCNN, {QUICK_EPOCHS} epochs on {len(labels)} real {which}, seed {seed}"
    return ClassifierExtractor(network, origin, QUICK_SIDE)
