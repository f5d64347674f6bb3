"""Are samples as different from each other as real cases are, and different from the training cases?"""

import torch

from tumorgen.evaluation.budget import Clock
from tumorgen.evaluation.measures import SEED, Measure, Numbers, record, timed
from tumorgen.evaluation.real_cases import RealCases, Samples, shrink
from tumorgen.metrics import memorisation, ms_ssim
from tumorgen.results.records import Floor, Record
from tumorgen.types import Volume

_RESAMPLES = 200


class Diversity(Measure):
    """`ms_ssim_diversity`: mean MS-SSIM of random pairs of samples of a class; the floor is that of validation cases.

    Args:
        pairs: Pairs per class; all there are where those are fewer.
        form: `standard`, or `paper` (which needs 16 voxels per side; its figure is then `ms_ssim_diversity_paper`).
    """

    def __init__(self, pairs: int = 32, form: ms_ssim.Form = "standard") -> None:
        self.pairs, self.form = pairs, form
        self.metric = "ms_ssim_diversity" if form == "standard" else "ms_ssim_diversity_paper"

    def seconds(self, one: Volume, cases: Numbers, clock: Clock) -> float:
        """A pair, as often as there are going to be pairs of samples and of validation cases."""
        similarity = ms_ssim.ms_ssim if self.form == "standard" else ms_ssim.ms_ssim_paper
        full = torch.rand(one.shape, generator=torch.Generator().manual_seed(SEED))  # nothing is left out as background
        return 2 * cases.classes * self.pairs * timed(lambda: similarity(full, full.flip(2)), clock)

    def prepare(self, real: RealCases, class_names: tuple[str, ...]) -> None:
        """The figure of validation cases."""
        self.class_names = class_names
        self.floors = [self._floor(volumes) for volumes in real.held_out]

    def _floor(self, volumes: Volume) -> Floor | None:
        if len(volumes) < 2:
            return None
        found = ms_ssim.diversity(volumes, self.pairs, SEED, self.form)
        interval = found.interval(SEED, _RESAMPLES)
        return Floor(found.mean, interval.low, interval.high, splits=found.pairs, size=len(volumes))

    def records(self, samples: Samples) -> list[Record]:
        """One per class of which there are two samples."""
        records = []
        for name, volumes, floor in zip(self.class_names, samples.volumes, self.floors, strict=True):
            if len(volumes) < 2:
                continue
            found = ms_ssim.diversity(volumes, self.pairs, SEED, self.form)
            definition = ms_ssim.definition(self.form, min(volumes.shape[2:])) | {"floor": "pairs of validation cases"}
            records.append(
                record(
                    self.metric,
                    found.mean,
                    definition,
                    samples,
                    name,
                    {"real": 0 if floor is None else floor.size, "generated": len(volumes), "pairs": found.pairs},
                    floor=floor,
                    interval=found.interval(SEED, _RESAMPLES),
                    details={"sd": found.sd, "nan": found.nan},
                )
            )
        return records


class Memorisation(Measure):
    """`memorisation_share_voxels`: share of samples as close to a training case as the closest validation cases are.

    Volumes are averaged to at most 32 voxels per side, which a copy survives. Generated volumes that were trained on can be
    copied like real ones, and count as training cases. Without validation cases, training cases are held against each other.

    Args:
        percentile: Of the honest distances.
    """

    def __init__(self, percentile: float = memorisation.PERCENTILE) -> None:
        self.percentile = percentile

    def seconds(self, one: Volume, cases: Numbers, clock: Clock) -> float:
        """Distances of samples and of validation cases to all training cases."""
        few = shrink(one).expand(8, *shrink(one).shape[1:])
        each = timed(lambda: memorisation.voxel_distances(few, few), clock) / 64
        return each * (cases.training + 16) * max(cases.generated + cases.held_out, cases.training)

    def prepare(self, real: RealCases, class_names: tuple[str, ...]) -> None:
        """The honest distances."""
        self.training = torch.cat([*real.training_small, *real.generated_small])
        self.real, held_out = sum(map(len, real.training_small)), torch.cat(real.held_out_small)
        self.reference = None
        self.kind: memorisation.Reference = "held-out" if len(held_out) else "leave-one-out"
        if len(self.training) and len(held_out):
            self.reference = memorisation.nearest(memorisation.voxel_distances(held_out, self.training)).distances
        elif len(self.training) > 1:
            among = memorisation.voxel_distances(self.training, self.training)
            self.reference = memorisation.nearest_other(among).distances

    def records(self, samples: Samples) -> list[Record]:
        """One figure for all classes: a copy of a case of another class is a copy, too."""
        if self.reference is None:
            return []
        generated = torch.cat(samples.small)
        found = memorisation.nearest(memorisation.voxel_distances(generated, self.training))
        share = memorisation.memorisation_share(found.distances, self.reference, self.percentile)
        definition = memorisation.definition("voxels", self.kind, self.percentile, min(generated.shape[2:]))
        counts = {"real": self.real, "generated": len(generated), "reference": len(self.reference)}
        if len(self.training) > self.real:
            definition["training"] = "real cases and generated volumes that were trained on"
            counts["trained_on"] = len(self.training)
        details = {
            "closest": float(found.distances.min()),
            "limit": memorisation.threshold(self.reference, self.percentile),
        }
        return [record("memorisation_share_voxels", share, definition, samples, "pooled", counts, details=details)]
