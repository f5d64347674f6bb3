"""Runs the command line inside the test process, in a folder of its own."""

from pathlib import Path

import yaml

from tumorgen.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
HELPERS = Path(__file__).parent
TINY_VQGAN = HELPERS / "tiny_vqgan.yaml"
TINY_TRANSFORMER = HELPERS / "tiny_transformer.yaml"


def tumorgen(*words: object) -> int:
    """Exit status of `tumorgen WORDS`."""
    return main([str(word) for word in words])


def only_run(experiment: str, runs: Path = Path("runs")) -> Path:
    """The folder of the only run of an experiment."""
    folders = list((runs / experiment).iterdir())
    assert len(folders) == 1, folders
    return folders[0]


def read_yaml(path: Path) -> dict:
    return yaml.safe_load(path.read_text())
