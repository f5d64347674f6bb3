"""The list of metrics: experiments/evaluate.yaml, or one of the user's own."""

from pathlib import Path

import yaml
from jsonargparse import ArgumentParser

from data_modules.errors import InputError
from tumorgen.commands.init import shipped_experiments
from tumorgen.metrics.metric import Metric


def shipped_list() -> Path:
    """The list that is used where nobody gives another one."""
    return shipped_experiments() / "evaluate.yaml"


def listed_metrics(path: Path | None = None) -> list[Metric]:
    """The metrics under `metrics` in a YAML; None: in the shipped one.

    Raises:
        InputError: The file cannot be read, or what it lists are no metrics.
    """
    path = path or shipped_list()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--metrics", type=list[Metric])
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        listed = parser.parse_object({"metrics": content["metrics"]})
        metrics: list[Metric] = parser.instantiate_classes(listed).metrics
    except InputError:
        raise
    except Exception as error:  # files, YAML, and whatever a class path leads to
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: lists no metrics ({reason}); expected `metrics:` with a class_path each") from error
    return metrics
