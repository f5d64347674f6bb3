"""Are generated volumes copies of training patients? Distances to the nearest training patient, against reference distances.

Reference distances are those of held-out patients to their nearest training patient, or, where nobody was held out, of every
training patient to the nearest other one. A generated volume below the 5th percentile of these is called memorised; one in
twenty is so by chance.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from tumorgen.metrics.distances import (
    FINEST_SIDE,
    Distances,
    Nearest,
    Values,
    feature_distances,
    nearest,
    nearest_other,
    reduced,
    voxel_distances,
)
from tumorgen.metrics.metric import Measure, Metric, Real, Resampling, Volumes, at_least_one, joined
from tumorgen.metrics.resampling import half_split_floor, share_interval
from tumorgen.results.records import POOLED, Floor, Record
from tumorgen.types import Volume

Space: TypeAlias = Literal["voxels", "features"]
Reference: TypeAlias = Literal["held-out", "leave-one-out"]

PERCENTILE = 5.0


class Pair(NamedTuple):
    """A generated volume and its nearest training volume.

    Attributes:
        generated: Index of the one.
        training: Index of the other.
        distance: Between them.
    """

    generated: int
    training: int
    distance: float


def threshold(reference: Values, percentile: float = PERCENTILE) -> float:
    """The distance up to which a generated volume counts as memorised: a percentile of the reference distances.

    Raises:
        ValueError: No reference distances.
    """
    if len(reference) == 0:
        raise ValueError("memorisation needs distances of held-out patients, or leave-one-out distances; got none")
    return float(np.percentile(reference, percentile))


def memorisation_share(distances: Values, reference: Values, percentile: float = PERCENTILE) -> float:
    """Share of generated volumes that lie at most as far from their nearest training patient as the percentile says.

    Args:
        distances: Of generated volumes to their nearest training patients; NaN without any.
        reference: Reference distances. With fewer than 20 the percentile lies between the two smallest, and the share for new
            volumes varies about 5 % a lot.
        percentile: Of the reference distances.

    Raises:
        ValueError: No reference distances.
    """
    limit = threshold(reference, percentile)
    return float(np.mean(np.asarray(distances) <= limit)) if len(distances) else float("nan")


def closest_pairs(distances: Values, indices: Int[np.ndarray, " n"], n: int) -> list[Pair]:
    """The `n` generated volumes that are closest to a training volume, closest first."""
    order = np.argsort(distances, kind="stable")[:n]
    return [Pair(int(i), int(indices[i]), float(distances[i])) for i in order]


def definition(space: Space, reference: Reference, percentile: float = PERCENTILE) -> dict[str, Any]:
    """What the share means, as JSON types.

    Args:
        space: Where distances are taken.
        reference: What they are held against.
        percentile: Of the reference distances.
    """
    held_against = {
        "held-out": "distances of held-out patients to their nearest training patient",
        "leave-one-out": "distances of training patients to the nearest other one: none was held out",
    }
    distances = {
        "features": "Euclidean, between features",
        "voxels": "root mean square over voxels, range [-1, 1], least over the 8 axis flips",
    }
    return {
        "title": f"near copies, {space}",
        "space": space,
        "recipe": f"share of generated volumes whose nearest training patient is as near as the {percentile:g}th percentile "
        f"of {held_against[reference]}, or nearer",
        "real_volumes": "those held out" if reference == "held-out" else "those trained on",
        "reference": reference,
        "percentile": percentile,
        "expected_for_new_volumes": percentile / 100,
        "interval": "of the share given the limit, which depends on the reference distances, too; how much, the floor says",
        "distance": distances[space],
        "unit": "share",
        "better": "lower",
    }


class Memorisation(Metric):
    """`memorisation_share_voxels` and, for every extractor, `memorisation_share_features`, with the closest pairs.

    A group needs four reference distances. The details of the record of all classes (of the one there is) hold the
    `closest_pairs`, closest first: names of a generated and of a training volume, and their distance.

    Args:
        percentile: Of the reference distances.
        side: Voxels a side, at most, of what voxel distances are taken of.
        closest: Pairs to tell.
    """

    def __init__(self, percentile: float = PERCENTILE, side: int = FINEST_SIDE, closest: int = 6) -> None:
        at_least_one("closest", closest)
        self.percentile, self.side, self.closest = percentile, side, closest

    def prepare(self, real: Real) -> Measure:
        """Reference distances, in voxels and in the space of every extractor."""
        if len(real.training) < (2 if real.held_out is None else 1):
            return joined([])
        side = min(self.side, real.training.side)

        def voxels(volumes: Volumes) -> Volume:
            return volumes.rows(("reduced", side), partial(reduced, side=side))

        described = self._definition(real, "voxels") | {"resolution": f"block means, {side} voxels per side"}
        measures = [self._measure(real, voxels, voxel_distances, described)]
        for extractor in real.extractors:
            described = self._definition(real, "features") | {"extractor": extractor.description()}
            features = partial(Volumes.features, extractor=extractor)
            measures.append(self._measure(real, features, feature_distances, described))
        return joined(measures)

    def _definition(self, real: Real, space: Space) -> dict[str, Any]:
        described = definition(space, "leave-one-out" if real.held_out is None else "held-out", self.percentile)
        if real.generated_training:
            described["training"] = "real volumes, and generated ones that were trained on"
        return described

    def _measure(
        self,
        real: Real,
        rows: Callable[[Volumes], Tensor],
        between: Callable[[Tensor, Tensor], Distances],
        described: dict[str, Any],
    ) -> Measure:
        known, how = rows(real.training), real.resampling
        of_reference = real.training if real.held_out is None else real.held_out
        if real.held_out is None:
            reference = nearest_other(between(known, known), real.training.whose())
        else:
            reference = nearest(between(rows(real.held_out), known))

        @cache
        def floor(classes: tuple[int, ...]) -> Floor:
            return self._floor(chosen(classes), how)

        def chosen(classes: tuple[int, ...]) -> Values:
            return reference.distances[np.isin(of_reference.labels.numpy(), classes)]

        def record(name: str, classes: tuple[int, ...], found: Nearest, generated: Volumes) -> Record:
            own, near_to = found.distances[np.isin(generated.labels.numpy(), classes)], chosen(classes)
            limit = threshold(near_to, self.percentile)
            near = int((own <= limit).sum())
            return Record(
                metric=f"memorisation_share_{described['space']}",
                value=memorisation_share(own, near_to, self.percentile),
                definition=described,
                group={"class": name},
                counts={"real": len(near_to), "generated": len(own), "training": len(known)},
                interval=share_interval(near, len(own)),
                floor=floor(classes),
                details={"limit": limit, "near_copies": near, "smallest_distance": float(own.min())},
            )

        def measure(generated: Volumes) -> list[Record]:
            found = nearest(between(rows(generated), known))
            present = tuple(generated.labels.unique().tolist())
            classes = {real.class_names[label]: (label,) for label in present}
            if len(present) > 1:
                classes[POOLED] = present
            records = [record(name, own, found, generated) for name, own in classes.items() if len(chosen(own)) > 3]
            if records:
                pairs = self._pairs(found, generated, real.training)
                records[-1] = replace(records[-1], details={**records[-1].details, "closest_pairs": pairs})
            return records

        return measure

    def _floor(self, reference: Values, how: Resampling) -> Floor:
        def share(a: Tensor, b: Tensor) -> float:
            return memorisation_share(a.numpy(), b.numpy(), self.percentile)

        return half_split_floor(share, torch.from_numpy(reference), seed=how.seed, splits=how.splits)

    def _pairs(self, found: Nearest, generated: Volumes, training: Volumes) -> list[dict[str, Any]]:
        return [
            {
                "generated": generated.name(pair.generated),
                "training": training.name(pair.training),
                "distance": pair.distance,
            }
            for pair in closest_pairs(found.distances, found.indices, self.closest)
        ]
