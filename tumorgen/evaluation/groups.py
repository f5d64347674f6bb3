"""What is compared with what: the volumes of each class, and all classes pooled in the proportions of the real ones."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from data_modules.errors import InputError
from data_modules.volumes.folder import VolumeFolder
from tumorgen.evaluation.origin import HELD_OUT, check_origin

Reference: TypeAlias = Literal["held-out", "all"]

POOLED = "pooled"
FEWEST = 4  # real volumes of a class: two halves of two
FEWEST_GENERATED = 3  # of a class: intervals leave one out, and what is left has a covariance


@dataclass(frozen=True)
class Settings:
    """How figures are taken; what changes a figure is part of its definition.

    Attributes:
        seed: Of everything that is drawn.
        reference: Real volumes that generated ones are compared with, where the manifest says parts: those that no generator
            of this fold was trained on (validation and test), or all.
        resamples: Bootstrap resamples of an interval.
        permutations: Relabellings of a permutation test.
        splits: Half splits of a floor; a fourth of it for the FID.
        mmd_batch: B of the published MMD; it is part of the figure's name.
        passes: Passes of the published MMD.
        pairs: Pairs of volumes of a class for the MS-SSIM diversity (all pairs where there are fewer).
        neighbours: k of precision, recall, density and coverage.
        blocks: Blocks a side whose means the block MMD takes.
        closest: Pairs of generated and training volumes that are shown.
        memory: GiB of volumes that are held at a time; about 2 more are needed for everything else at 128 voxels a side.
    """

    seed: int = 0
    reference: Reference = "held-out"
    resamples: int = 1000
    permutations: int = 1000
    splits: int = 200
    mmd_batch: int = 4
    passes: int = 100
    pairs: int = 500
    neighbours: int = 5
    blocks: int = 8
    closest: int = 6
    memory: float = 1.0

    def __post_init__(self) -> None:
        for name in (
            "resamples",
            "permutations",
            "splits",
            "mmd_batch",
            "passes",
            "pairs",
            "neighbours",
            "blocks",
            "closest",
        ):
            if getattr(self, name) < 1:
                raise InputError(f"--{name}: found {getattr(self, name)}, expected at least 1")
        if not self.memory > 0:
            raise InputError(f"--memory: found {self.memory}, expected GiB above 0, for example 1")
        if self.reference not in get_args(Reference):
            raise InputError(f"--reference: found {self.reference}, expected {' or '.join(get_args(Reference))}")


@dataclass(frozen=True)
class Group:
    """One row of comparisons.

    Attributes:
        name: A class, or `pooled`.
        generated: Positions of the generated volumes.
        real: Positions of the real ones they are compared with.
    """

    name: str
    generated: Int[Tensor, " m"]
    real: Int[Tensor, " n"]

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of volumes, for records."""
        return {"real": len(self.real), "generated": len(self.generated)}


@dataclass(frozen=True)
class Comparison:
    """Two folders and all that is compared between them.

    Attributes:
        real: Real volumes.
        generated: Generated ones, with the real ones' classes and size.
        label: What the generated ones are called.
        settings: How figures are taken.
        groups: Each class, then all pooled.
        reference: Says which real volumes these are.
        apart: Says what is known of held-out patients in the generator's training data; empty where none is held out.
    """

    real: VolumeFolder
    generated: VolumeFolder
    label: str
    settings: Settings
    groups: tuple[Group, ...]
    reference: str
    apart: str

    def group(self, name: str) -> dict[str, str]:
        """A record's group."""
        return {"class": name, "generated": self.label}

    def definition(self, *parts: dict[str, Any], pooled: bool = False) -> dict[str, Any]:
        """A record's definition: which real volumes stand behind it, and `parts`, of which later ones win."""
        own: dict[str, Any] = {"real_volumes": self.reference, "seed": self.settings.seed}
        if self.apart:
            own["held_out_patients"] = self.apart
        if pooled:
            own["pooling"] = "classes of the generated volumes drawn in the proportions of the real ones"
        return {key: value for part in (own, *parts) for key, value in part.items()}


def compare(
    real: VolumeFolder,
    generated: VolumeFolder,
    settings: Settings,
    label: str,
    training: VolumeFolder | None = None,
) -> Comparison:
    """Decides what is compared with what.

    Raises:
        InputError: The folders differ in classes, size or spacing, a class has too few volumes, or patients that are held out
            were in the generator's training data.
    """
    if (real.class_names, real.roi_size) != (generated.class_names, generated.roi_size):
        raise InputError(
            f"{generated.folder}: classes {', '.join(generated.class_names)}, {generated.roi_size} voxels a side; expected "
            f"{', '.join(real.class_names)}, {real.roi_size} voxels, as {real.folder} has"
        )
    apart = check_origin(real, generated, training)
    held_out = real.parts is not None and settings.reference == "held-out"
    parts = HELD_OUT if held_out else None
    chosen = [real.indices(index, parts) for index in range(len(real.class_names))]
    groups = []
    for index, name in enumerate(real.class_names):
        own = generated.indices(index)
        if not len(own):
            continue
        if len(own) < FEWEST_GENERATED or len(chosen[index]) < FEWEST:
            raise InputError(
                f"class {name}: {len(own)} generated volumes in {generated.folder} and {len(chosen[index])} real ones "
                f"{'held out in' if held_out else 'in'} {real.folder}; expected at least {FEWEST_GENERATED} and {FEWEST}"
                + (". Compare with all real volumes: --reference all" if held_out else "")
            )
        groups.append(Group(name, torch.from_numpy(own), torch.from_numpy(chosen[index])))
    if len(groups) > 1:
        groups.append(_pooled(groups, settings.seed))
    reference = "all" if real.parts is None else f"all of fold {_fold(real)}"
    if held_out:
        reference = f"validation and test part of fold {_fold(real)}"
    return Comparison(real, generated, label, settings, tuple(groups), reference, apart)


class Volumes(Sequence[Float[Tensor, "1 D H W"]]):
    """Some volumes of a folder, read when asked for."""

    def __init__(self, folder: VolumeFolder, indices: Iterable[int] | Int[Tensor, " n"]) -> None:
        self.folder, self.positions = folder, [int(index) for index in indices]

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return torch.from_numpy(self.folder.volume(self.positions[int(index)]))[None]

    def __iter__(self) -> Iterator[Float[Tensor, "1 D H W"]]:
        return (self[index] for index in range(len(self)))


def _pooled(groups: Sequence[Group], seed: int) -> Group:
    """As many generated volumes as can be taken in the classes' real proportions: grades must not differ by mixture alone."""
    rng = np.random.default_rng(seed)
    scale = min(len(group.generated) / len(group.real) for group in groups)
    drawn = []
    for group in groups:
        wanted = max(1, round(scale * len(group.real)))
        drawn.append(group.generated[np.sort(rng.permutation(len(group.generated))[:wanted])])
    return Group(POOLED, torch.cat(drawn), torch.cat([group.real for group in groups]))


def _fold(real: VolumeFolder) -> str:
    stated = (real.manifest or {}).get("fold", {})
    return f"{stated.get('fold', '?')} of {stated.get('folds', '?')}"
