"""A picture of masking: which tokens of a volume became [MASK], and which a random code, beside their importance."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from einops import rearrange
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from tumorgen.results.sheets import Array, enlarge

STATES = ("intact", "[MASK]", "random code")
_COLOURS = ("#e6e6e6", "#d1495b", "#30638e")


@dataclass(frozen=True)
class MaskedCase:
    """One case.

    Attributes:
        title: What is shown, for example the class and the case.
        volume: (D, H, W) in [-1, 1].
        importance: (d, h, w) scores in (0, 1) on the token grid.
        masked: (d, h, w), tokens that became [MASK].
        replaced: (d, h, w), tokens that became a random code.
    """

    title: str
    volume: Array
    importance: Array
    masked: npt.NDArray[np.bool_]
    replaced: npt.NDArray[np.bool_]


def masking_sheet(case: MaskedCase) -> Figure:
    """Three rows of the token grid's axial slices, from below upwards: the volume, its importance, the corrupted grid.

    Each column shows the tokens of one slice, and the slice of the volume that lies in the middle of them.
    """
    depth = case.masked.shape[0]
    thickness = case.volume.shape[0] // depth
    shape = (depth, *case.volume.shape[1:])
    states = np.where(case.masked, 1, np.where(case.replaced, 2, 0))
    figure = Figure(figsize=(1.25 * depth, 4.4), layout="constrained")
    axes = figure.subplots(3, 1)
    slices = case.volume[thickness // 2 :: thickness]
    axes[0].imshow(_strip(slices), cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
    axes[1].imshow(_strip(enlarge(case.importance, shape)), cmap="inferno", vmin=0, vmax=1, interpolation="nearest")
    axes[2].imshow(
        _strip(enlarge(states, shape)), cmap=ListedColormap(_COLOURS), vmin=0, vmax=2, interpolation="nearest"
    )
    for axis, label in zip(axes, (case.title, "importance", "tokens"), strict=True):
        axis.set_ylabel(label, fontsize=8)
        axis.set_xticks([])
        axis.set_yticks([])
        for side in axis.spines.values():
            side.set_visible(False)
    counts = np.bincount(states.ravel(), minlength=len(STATES))
    handles = [
        Patch(color=colour, label=f"{state}: {count}")
        for colour, state, count in zip(_COLOURS, STATES, counts, strict=True)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(STATES), fontsize=8, frameon=False)
    return figure


def _strip(slices: Array) -> npt.NDArray[np.float32]:
    """Slices (d, H, W) side by side, a gap between them."""
    gap = max(1, slices.shape[2] // 16)
    padded = np.pad(slices.astype(np.float32), ((0, 0), (0, 0), (0, gap)), constant_values=np.nan)
    strip: npt.NDArray[np.float32] = rearrange(padded, "d h w -> h (d w)")[:, :-gap]
    return strip
