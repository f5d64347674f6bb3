"""A metric of one file: how bright the tumours are."""

from tumorgen.metrics.metric import Measure, Metric, Real, Volumes, groups
from tumorgen.results.records import Record
from tumorgen.types import Volume


def brightness(volumes: Volume) -> Volume:
    """Mean of the tumour's voxels {x > -0.9} of each volume (B, C, D, H, W), in [-1, 1]."""
    tumour = (volumes > -0.9).flatten(1)
    return (volumes.flatten(1).double() * tumour).sum(1) / tumour.sum(1).clamp_min(1)


class Brightness(Metric):
    """`brightness`: mean over tumours.

    Args:
        scale: Multiplies it.
    """

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def prepare(self, real: Real) -> Measure:
        """Nothing depends on the real volumes alone."""

        def mean(volumes: Volumes) -> float:
            return self.scale * float(volumes.rows("brightness", brightness).mean())

        def measure(generated: Volumes) -> list[Record]:
            definition = {"title": "Brightness", "better": "real", "scale": self.scale}
            return [
                Record(
                    metric="brightness",
                    value=mean(group.generated),
                    definition=definition,
                    group={"class": group.name},
                    counts=group.counts,
                    details={"real": mean(group.real)},
                )
                for group in groups(real, generated)
            ]

        return measure
