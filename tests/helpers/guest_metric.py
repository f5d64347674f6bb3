"""A metric of a user's own, in one file."""

from tumorgen.metrics.metric import Measure, Metric, Real, Volumes
from tumorgen.results.records import POOLED, Record


class Brightness(Metric):
    """`brightness`: mean of all voxels."""

    def prepare(self, real: Real) -> Measure:
        definition = {"title": "mean brightness", "recipe": "mean over voxels and volumes", "better": "real"}

        def measure(generated: Volumes) -> list[Record]:
            means = generated.rows("brightness", lambda volume: volume.mean((1, 2, 3, 4)))
            counts = {"real": len(real.compared), "generated": len(generated)}
            return [Record("brightness", float(means.mean()), definition, {"class": POOLED}, counts)]

        return measure
