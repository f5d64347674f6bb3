"""What Weights & Biases would show: the offline record of a run, read back without account or network."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def read(run: Path) -> list[dict[str, Any]]:
    """All records of the only job in a run's folder."""
    (folder,) = run.glob("wandb/offline-run-*")
    lines = _inspect("--json", str(folder)).splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def summary(run: Path) -> dict[str, Any]:
    """What stands in the table of runs: `{"val/dice": {"min": ..., "max": ..., "last": ...}, ...}`."""
    (folder,) = run.glob("wandb/offline-run-*")
    return json.loads(_inspect("--json", "--summary", str(folder)))["summary"]


def history(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One dictionary per logged step, names as the dashboard has them."""
    return [record["history"]["item"] for record in records if record["type"] == "history"]


def names(records: list[dict[str, Any]]) -> set[str]:
    """Everything that was logged: figures, pictures and tables by their names."""
    return {name.partition(".")[0] for item in history(records) for name in item if not name.startswith("_")}


def configuration(records: list[dict[str, Any]]) -> dict[str, Any]:
    """The complete configuration."""
    known: dict[str, Any] = {}
    for record in records:
        if record["type"] == "config":
            known |= record["config"]["update"]
    return known


def axes(records: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """How each figure is drawn and summarised, by its name."""
    return {record["metric"]["name"]: record["metric"] for record in records if "name" in record.get("metric", {})}


def about(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Project, group, job type, tags."""
    (found,) = [record["run"] for record in records if record["type"] == "run"]
    return found


def _inspect(*words: str) -> str:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
