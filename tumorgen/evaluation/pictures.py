"""Pictures of an evaluation: real and generated samples, and the closest generated and training volumes."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tumorgen.evaluation.compare import Evaluation
from tumorgen.metrics.metric import Volumes, groups
from tumorgen.results.records import POOLED
from tumorgen.results.sheets import centre, gallery, planes
from tumorgen.types import VoxelArray


def samples_sheet(evaluation: Evaluation, columns: int = 8) -> Figure:
    """Rows real LGG, generated LGG, real HGG, generated HGG: an axial slice through each tumour, drawn with the seed."""
    rng = np.random.default_rng(evaluation.real.resampling.seed)
    rows = []
    for group in groups(evaluation.real, evaluation.generated):
        if group.name == POOLED:
            continue
        for kind, volumes in (("real", group.real), ("generated", group.generated)):
            chosen = np.sort(rng.permutation(len(volumes))[:columns])
            rows.append((f"{kind}\n{group.name}", [volumes[int(index)][0].numpy() for index in chosen]))
    return gallery(rows)


def closest_sheet(space: str, pairs: Sequence[Mapping[str, Any]], evaluation: Evaluation) -> Figure:
    """One row per pair, three planes each: the generated volume and the training volume, flipped as it fits best."""
    figure = Figure(figsize=(9, 1.65 * len(pairs) + 0.4))
    height = 1 - 0.4 / figure.get_figheight()
    axes = figure.subplots(len(pairs), 2, squeeze=False, gridspec_kw={"wspace": 0.02, "hspace": 0.16})
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=height - 0.02)
    for line, pair in zip(axes, pairs, strict=True):
        ours = _named(evaluation.generated, pair["generated"])
        theirs, flips = best_flip(_named(evaluation.real.training, pair["training"]), ours)
        at = centre(ours)
        flipped = f", flipped along {' and '.join(flips)}" if flips else ""
        titles = (f"{pair['generated']}, distance {pair['distance']:.3g}", f"{pair['training']}{flipped}")
        for axis, volume, title in zip(line, (ours, theirs), titles, strict=True):
            axis.imshow(np.hstack(planes(volume, at)), cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
            axis.set_title(title, fontsize=7, loc="left", pad=2)
            axis.set_axis_off()
    shown = space if space == "voxels" else f"features of {space}"
    figure.suptitle(f"closest pairs in the space of {shown}: generated left, training right", fontsize=9, y=0.995)
    return figure


def _named(volumes: Volumes, name: str) -> VoxelArray:
    found: VoxelArray = volumes.source[volumes.names.index(name)][0].numpy()
    return found


def best_flip(volume: VoxelArray, target: VoxelArray) -> tuple[VoxelArray, tuple[str, ...]]:
    """The mirror image of a volume that differs least from another one, and the axes along which it is mirrored."""
    names = ("depth", "rows", "columns")
    choices = [tuple(axis for axis, on in enumerate(which) if on) for which in product((False, True), repeat=3)]
    best = min(choices, key=lambda axes: float(np.square(np.flip(volume, axes) - target).sum()))
    return np.flip(volume, best), tuple(names[axis] for axis in best)
