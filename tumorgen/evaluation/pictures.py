"""Pictures of an evaluation: real and generated samples, and the closest generated and training volumes."""

from collections.abc import Sequence
from itertools import product

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from data_modules.volumes.folder import VolumeFolder
from tumorgen.evaluation.groups import POOLED, Comparison
from tumorgen.evaluation.memory import VOXELS, ClosePair
from tumorgen.results.sheets import centre, gallery, planes

Array = Float[np.ndarray, "D H W"]


def samples_sheet(comparison: Comparison, columns: int = 8) -> Figure:
    """Rows real LGG, generated LGG, real HGG, generated HGG: an axial slice through each tumour, drawn with the seed."""
    rng = np.random.default_rng(comparison.settings.seed)
    rows = []
    for group in comparison.groups:
        if group.name == POOLED:
            continue
        for kind, folder, positions in (
            ("real", comparison.real, group.real),
            ("generated", comparison.generated, group.generated),
        ):
            chosen = np.sort(rng.permutation(positions.numpy())[:columns])
            rows.append((f"{kind}\n{group.name}", [folder.volume(int(index)) for index in chosen]))
    return gallery(rows)


def closest_sheet(pairs: Sequence[ClosePair], generated: VolumeFolder, training: VolumeFolder) -> Figure:
    """One row per pair, three planes each: the generated volume and the training volume, flipped as it fits best."""
    figure = Figure(figsize=(9, 1.65 * len(pairs) + 0.4))
    height = 1 - 0.4 / figure.get_figheight()
    axes = figure.subplots(len(pairs), 2, squeeze=False, gridspec_kw={"wspace": 0.02, "hspace": 0.16})
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=height - 0.02)
    for line, pair in zip(axes, pairs, strict=True):
        ours = generated.volume(pair.generated)
        theirs, flips = best_flip(training.volume(pair.training), ours)
        at = centre(ours)
        flipped = f", flipped along {' and '.join(flips)}" if flips else ""
        titles = (
            f"{generated.names[pair.generated]}, distance {pair.distance:.3g}",
            f"{training.cases[pair.training]}{flipped}",
        )
        for axis, volume, title in zip(line, (ours, theirs), titles, strict=True):
            axis.imshow(np.hstack(planes(volume, at)), cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
            axis.set_title(title, fontsize=7, loc="left", pad=2)
            axis.set_axis_off()
    space = pairs[0].space if pairs[0].space == VOXELS else f"features of {pairs[0].space}"
    figure.suptitle(f"closest pairs in the space of {space}: generated left, training right", fontsize=9, y=0.995)
    return figure


def best_flip(volume: Array, target: Array) -> tuple[Array, tuple[str, ...]]:
    """The mirror image of a volume that differs least from another one, and the axes along which it is mirrored."""
    names = ("depth", "rows", "columns")
    choices = [tuple(axis for axis, on in enumerate(which) if on) for which in product((False, True), repeat=3)]
    best = min(choices, key=lambda axes: float(np.square(np.flip(volume, axes) - target).sum()))
    return np.flip(volume, best), tuple(names[axis] for axis in best)
