"""Metrics of generated against real volumes; `tumorgen evaluate` and the evaluation during training both end here."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from tumorgen.metrics.metric import Measure, Metric, Real, Volumes
from tumorgen.results.records import POOLED, Record

Progress = Callable[[str], None]


def evaluate(
    real: Real, generated: Volumes, metrics: Iterable[Metric], label: str, progress: Progress = lambda _: None
) -> list[Record]:
    """All metrics of generated against real volumes.

    Args:
        real: Real volumes.
        generated: Generated ones, of the same classes, size and spacing.
        metrics: What is measured.
        label: What to call the generated volumes.
        progress: Is told what comes next.
    """
    records = []
    for metric in metrics:
        progress(type(metric).__name__)
        records += measured(real, [metric.prepare(real)], generated, label)
    return records


def measured(real: Real, measures: Sequence[Measure], generated: Volumes, label: str) -> list[Record]:
    """The records of prepared measures, each with what its definition says of the real volumes."""
    return [_completed(record, real, label) for measure in measures for record in measure(generated)]


def _completed(record: Record, real: Real, label: str) -> Record:
    facts = {**real.facts, "seed": real.resampling.seed}
    if record.group["class"] == POOLED:
        facts["pooling"] = "classes of the generated volumes drawn in the proportions of the real ones"
    return replace(record, definition=facts | dict(record.definition), group={**record.group, "generated": label})
