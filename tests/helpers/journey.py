"""What every guest does: the real commands, in this process, at a tiny size."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from front import tumorgen
from guestlib.metric import brightness
from interruptions import PowerCutError
from torch.utils._pytree import tree_flatten

from tumorgen.methods.generator import load_generator
from tumorgen.results.records import Results, read_results

GUESTS = Path(__file__).parents[1] / "guests" / "guestlib"
QUIET = ("--wandb.mode", "disabled", "--trainer.enable_model_summary", "false")
TRUST = ("--trust", "guestlib")
SMALL = (
    "--data.roi_size",
    16,
    "--data.spacing",
    2.0,
    "--data.folds",
    2,
    "--data.val_share",
    0.5,
    "--data.batch_size",
    2,
)
METRICS = Path(__file__).with_name("few_metrics.yaml")
FEW = ("--resamples", 20, "--permutations", 20, "--splits", 4, "--features", "classifier")
CLASSIFIER = (
    *("--model.network", "tumorgen.classifier.networks.SmallCNN", "--model.network.widths", "[4, 8]"),
    *("--model.optimizer", "torch.optim.AdamW", "--model.optimizer.lr", 1e-3),
    *(
        "--budget.steps",
        2,
        "--budget.pretraining_steps",
        2,
        "--budget.validation_checks",
        1,
        "--hardware.accelerator",
        "cpu",
    ),
    *("--seeds", "[0]", "--resamples", 20),
)


def call(command: str, *words: object) -> None:
    """Types a command that has to work."""
    assert tumorgen(command, *words) == 0


@dataclass(frozen=True)
class Home:
    """A folder to travel in, and the cohort to travel with.

    Attributes:
        folder: Holds `runs`.
        data: Options that name data of 16^3 voxels.
    """

    folder: Path
    data: Sequence[object] = ()

    def fit(self, *words: object, run: str = "run", resume: bool = False) -> Path:
        """Trains, or goes on; returns the run's folder."""
        name = ("--resume", run) if resume else ("--run_id", run)
        call("fit", *words, *self.data, "--experiment", "guest", "--runs_dir", self.folder / "runs", *name, *QUIET)
        return self.folder / "runs" / "guest" / run

    def cut(self, *words: object, run: str = "cut", batch: int = 1) -> Path:
        """Trains until the power goes off, before a batch of the second epoch."""
        accident = ("--trainer.callbacks+=interruptions.PowerCut", f"--trainer.callbacks.batch={batch}")
        with pytest.raises(PowerCutError):
            self.fit(*words, *accident, run=run)
        return self.folder / "runs" / "guest" / run

    def predict(
        self, checkpoint: Path, *words: object, counts: str = "{LGG: 2, HGG: 2}", into: str = "samples"
    ) -> Path:
        """Samples; returns the folder of the volumes."""
        request = (
            "--data",
            "data_modules.request.SamplingRequest",
            "--data.counts",
            counts,
            "--runs_dir",
            self.folder / "runs",
        )
        folder = self.folder / into
        call("predict", "--ckpt_path", checkpoint, *request, "--output.folder", folder, *QUIET[:2], *TRUST, *words)
        return folder

    def evaluate(self, real: Path, samples: Path, *words: object, into: str = "evaluation") -> Results:
        """Compares; returns the records."""
        words = ("--config", METRICS, "--real", real, "--generated", samples, *FEW, *words)
        call("evaluate", *words, "--output", self.folder / into)
        return read_results(self.folder / into / "evaluation.json")

    def benchmark(self, samples: Path, *words: object, into: str = "benchmark") -> Results:
        """Trains the classifier of fold 0 with and without the volumes; returns the records."""
        words = (*CLASSIFIER, "--folds", "[0]", "--arms", "[real_only, mixed]", *words)
        call("benchmark", *words, *self.data, "--generated", samples, "--output", self.folder / into)
        return read_results(self.folder / into / "benchmark.json")

    def report(self) -> str:
        """Everything that lies in the folder, on one page."""
        output = self.folder / "report.html"
        call("report", self.folder, "--output", output, "--viewer", "false")
        return output.read_text()


def last(run: Path) -> Path:
    """The checkpoint to go on from."""
    return run / "checkpoints" / "last.ckpt"


def curve(run: Path, name: str) -> list[float]:
    """All values of a metric in a run's log."""
    with open(run / "csv" / "metrics.csv", newline="") as stream:
        return [float(row[name]) for row in csv.DictReader(stream) if row.get(name)]


def columns(run: Path) -> list[str]:
    """Names of all metrics in a run's log."""
    with open(run / "csv" / "metrics.csv", newline="") as stream:
        return next(csv.reader(stream))


def manifest(folder: Path) -> dict[str, Any]:
    """What a folder of volumes says of itself."""
    return json.loads((folder / "manifest.json").read_text())


def same_training(run: Path, other: Path) -> bool:
    """Whether two runs ended with the same weights, optimizers and schedules, to the last bit."""
    ends = [torch.load(last(folder), weights_only=True) for folder in (run, other)]
    parts = [
        {key: end[key] for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step")} for end in ends
    ]
    leaves = [tree_flatten(part) for part in parts]
    assert leaves[0][1] == leaves[1][1]
    return all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        for a, b in zip(leaves[0][0], leaves[1][0], strict=True)
    )


def seen_brightness(run: Path) -> dict[str, float]:
    """Brightness by class of what the guest's metric saw in the last evaluation while training."""
    records = read_results(max((run / "evaluations").glob("*.json"))).records
    return {r.group["class"]: r.value for r in records if r.metric == "brightness" and r.group["class"] != "pooled"}


def sampled_brightness(checkpoint: Path, per_class: int) -> dict[str, float]:
    """The same, of what a checkpoint samples."""
    generator = load_generator(checkpoint, trust=("guestlib",))
    classes, found = generator.class_names, {}
    for label, name in enumerate(classes):
        seeds = [label + i * len(classes) for i in range(per_class)]
        found[name] = float(brightness(generator.sample_classes([name] * per_class, seeds)).mean())
    return found


def with_raw_weights(checkpoint: Path) -> Path:
    """A copy whose weights are those that were trained, not their average."""
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"] = content["current_model_state"]
    torch.save(content, checkpoint.with_name("raw.ckpt"))
    return checkpoint.with_name("raw.ckpt")
