"""From the results of all trainings to the records of the benchmark."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tumorgen.benchmark.arms import REAL_ONLY, Arm, fine_tuned_at, real_only_at
from tumorgen.benchmark.results import TrainingResult
from tumorgen.benchmark.statistics import THRESHOLD, Averaged, PairedBootstrap, holm
from tumorgen.results.records import Interval, Record

Key = tuple[str, str]
"""Name of an arm and label of its generated volumes."""

DIFFERENCE = "auc_difference"
SAME_SHARE = "auc_difference_same_share"
ENOUGH_SEEDS = 5
"""Fewer leave the bootstrap too sure: simulated equal arms then differ at p < 0.05 in up to a tenth of benchmarks."""


class Summary:
    """The records of a complete benchmark.

    Args:
        results: Of every training of its plan.
        arms: All arms.
        class_names: Classes in label order.
        resamples: Draws of test patients and seeds.
        seed: Of the draws.
    """

    def __init__(
        self,
        results: Sequence[TrainingResult],
        arms: Sequence[Arm],
        class_names: Sequence[str],
        resamples: int = 2000,
        seed: int = 0,
    ) -> None:
        self.arms = {arm.name: arm for arm in arms}
        self.resamples = resamples
        self.positive_class = class_names[results[0].positive_label]
        self.network = results[0].network
        self.results: dict[Key, list[TrainingResult]] = {}
        for result in results:
            self.results.setdefault((result.arm, result.generated), []).append(result)
        order = {arm.name: position for position, arm in enumerate(arms)}
        self.keys = sorted(self.results, key=lambda key: (order[key[0]], key[1]))
        self.seeds = len({result.seed for result in results})
        bootstrap = PairedBootstrap([result.predictions for result in self.results[REAL_ONLY, ""]], resamples, seed)
        self.figures = {
            key: bootstrap.average([result.predictions for result in own]) for key, own in self.results.items()
        }

    def records(self) -> list[Record]:
        """Every figure of every arm, and every arm's difference to real-only training."""
        against_all = {key: (REAL_ONLY, "") for key in self.keys if key[0] != REAL_ONLY}
        against_share = {
            key: (real_only_at(share), "")
            for key in self.keys
            if (share := self._fine_tuning_share(key)) is not None and share < 1
        }
        return [
            *(self._record(key, name, figure) for key in self.keys for name, figure in self.figures[key].items()),
            *self._differences(DIFFERENCE, against_all),
            *self._differences(SAME_SHARE, against_share),
        ]

    def _fine_tuning_share(self, key: Key) -> float | None:
        share = self.arms[key[0]].training.real_share
        named = share > 0 and key[0] == fine_tuned_at(share)
        return share if named and (real_only_at(share), "") in self.results else None

    def _differences(self, metric: str, pairs: Mapping[Key, Key]) -> list[Record]:
        """Paired differences of the AUC, with p-values corrected for their number."""
        found = {key: self.figures[key]["auc"].minus(self.figures[other]["auc"]) for key, other in pairs.items()}
        uncorrected = {"\n".join(key): difference.p_value for key, difference in found.items()}
        corrected = holm(uncorrected)
        test = f"two-sided paired bootstrap over {drawn(self.seeds)}, Holm-corrected over {len(found)} comparisons"
        return [
            self._record(
                key,
                metric,
                difference,
                definition={"reference": pairs[key][0], "range": [-1, 1]},
                p_value=corrected["\n".join(key)],
                details={"test": test, "p_uncorrected": uncorrected["\n".join(key)], "comparisons": len(found)},
            )
            for key, difference in found.items()
        ]

    def _record(
        self,
        key: Key,
        metric: str,
        figure: Averaged,
        definition: Mapping[str, Any] | None = None,
        p_value: float | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> Record:
        (arm, label), (low, high) = key, figure.interval
        volumes = [result.volumes for result in self.results[key]]
        return Record(
            metric=metric,
            value=figure.value,
            definition={**self._definition(arm, metric), **(definition or {})},
            group={"arm": arm, "generated": label, "network": self.network},
            counts=self._counts(key),
            interval=Interval(low, high, f"percentile bootstrap over {drawn(self.seeds)}, {self.resamples} resamples"),
            p_value=p_value,
            details={
                "sd": figure.sd if len(figure.single) > 1 else None,
                "sd_over": "folds and seeds",
                "training_runs": figure.single.tolist(),
                "volumes": {name: float(np.mean([counts[name] for counts in volumes])) for name in volumes[0]},
                **(details or {}),
            },
        )

    def _definition(self, arm: str, metric: str) -> dict[str, Any]:
        settings = self.results[next(key for key in self.keys if key[0] == arm)][0].settings
        definition = {
            "title": self.arms[arm].title,
            "task": f"{self.positive_class} against the rest, one decision per case",
            "positive_class": self.positive_class,
            "average": "over the seeds of a fold, then over folds",
            "interval_covers": covered(self.seeds),
            "selection": f"largest AUC of {settings['validation_checks']} checks on the fold's validation part; tested once",
            "steps": settings["steps"],
            "pretraining_steps": settings.get("pretraining_steps", 0),
            "batch_size": settings["batch_size"],
            "model": settings["model"],
            "unit": "1",
            "better": "higher",
        }
        if metric in ("f1", "accuracy", "precision", "recall"):
            definition["threshold"] = THRESHOLD
        if metric in ("f1", "precision"):
            definition["nothing_positive"] = 0
        return definition

    def _counts(self, key: Key) -> dict[str, int]:
        own = self.results[key]
        by_fold = {result.fold: result.cases for result in own}
        return {
            "folds": len(by_fold),
            "seeds": len({result.seed for result in own}),
            "test_cases": sum(len(cases) for cases in by_fold.values()),
            "test_patients": sum(len({case.patient for case in cases}) for cases in by_fold.values()),
        }


def drawn(seeds: int) -> str:
    """What the bootstrap draws again, given the number of seeds per fold."""
    return "test patients" if seeds == 1 else "test patients and training seeds"


def covered(seeds: int) -> str:
    """What intervals and p-values allow for, and what they do not, given the number of seeds per fold."""
    if seeds == 1:
        return (
            "the choice of test patients within classes and folds, given the one network that each arm trained per fold: "
            "another seed may change a figure by more"
        )
    text = f"the choice of test patients within classes and folds, and of {seeds} training seeds within folds"
    return f"{text}; so few seeds understate how much training runs differ" if seeds < ENOUGH_SEEDS else text
