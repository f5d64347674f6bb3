"""From what a user names to feature extractors: `mri`, `classifier`, a checkpoint, a TorchScript file."""

from collections.abc import Sequence
from pathlib import Path

import torch

from data_modules.errors import InputError
from data_modules.volumes.folder import VolumeFolder
from tumorgen.classifier.quick import train_quickly
from tumorgen.evaluation.extractors import (
    ClassifierExtractor,
    FeatureExtractor,
    MRIExtractor,
    Normalisation,
    TorchScriptExtractor,
    shrunk,
)
from tumorgen.evaluation.groups import Volumes
from tumorgen.evaluation.memory import training_of

QUICK_SIDE = 32
"""Voxels a side of what the classifier that is trained on the spot sees: its training then takes seconds."""
QUICK_EPOCHS = 20


def extractors_for(
    names: Sequence[str],
    real: VolumeFolder,
    training: VolumeFolder | None = None,
    seed: int = 0,
    normalisation: Normalisation = "none",
) -> list[FeatureExtractor]:
    """The extractors that were asked for, in that order.

    Args:
        names: `mri`: the encoder whose weights `tumorgen weights` fetches. `classifier`: a small grade classifier, trained here
            on the real training volumes. A path that ends in `.ckpt`: a classifier that `tumorgen fit` trained. Any other
            path: a TorchScript network.
        real: Real volumes.
        training: Training volumes where the real ones are all held out.
        seed: Of the classifier that is trained here.
        normalisation: Of volumes for TorchScript networks.

    Raises:
        InputError: Weights or files are missing or unusable, one is named twice, or there is but one class to tell apart.
    """
    if not names:
        raise InputError("--features: names no feature extractor; expected for example mri,classifier")
    found: list[FeatureExtractor] = []
    for name in names:
        if name == "mri":
            found.append(MRIExtractor())
        elif name == "classifier":
            found.append(trained_here(real, training, seed))
        elif name.endswith(".ckpt"):
            found.append(ClassifierExtractor.from_checkpoint(Path(name)))
        else:
            found.append(TorchScriptExtractor(Path(name), normalisation))
    taken = [extractor.name for extractor in found]
    for name in taken:
        if taken.count(name) > 1:
            raise InputError(f"--features: two extractors are called {name}; figures could not be told apart. Name one")
    return found


def trained_here(real: VolumeFolder, training: VolumeFolder | None, seed: int) -> ClassifierExtractor:
    """A small classifier of the grade, trained on the real training volumes, averaged to 32 voxels a side.

    Where nobody says which volumes are for training it is trained on all real ones, and the definition says so.

    Raises:
        InputError: The training volumes are of one class only.
    """
    source = training_of(real, training)
    labels = torch.from_numpy(source.folder.labels[source.positions])
    if len(labels.unique()) < 2:
        raise InputError(
            f"--features classifier: the volumes to train on in {source.folder.folder} are all of one class; a classifier "
            "needs two. Choose features without it, for example --features mri"
        )
    volumes = torch.cat([shrunk(volume[None], QUICK_SIDE) for volume in Volumes(source.folder, source.positions)])
    network = train_quickly(volumes, labels, len(real.class_names), seed, epochs=QUICK_EPOCHS)
    which = (
        "volumes held apart from those that are compared" if source.held_out is not None else "volumes it also judges"
    )
    origin = f"SmallCNN, {QUICK_EPOCHS} epochs on {len(labels)} real {which}, seed {seed}"
    return ClassifierExtractor(network, origin, QUICK_SIDE)
