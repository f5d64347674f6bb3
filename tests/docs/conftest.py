"""A folder as a reader of the documentation has it, and commands that stop before the work."""

import shutil
from collections.abc import Callable
from pathlib import Path

import documents
import nibabel as nib
import numpy as np
import pytest
from front import tumorgen
from stage2 import tokenizer, transformer

from tumorgen.cli import TumorgenCLI
from tumorgen.commands import import_checkpoint, phantom, weights


class UnderstoodError(Exception):
    """Raised where a command would begin to work."""


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is assumed to be there: experiments, files of the reader's own, checkpoints under the names that runs give them."""
    place = tmp_path_factory.mktemp("reader")
    assert tumorgen("init", "--output", place / "experiments") == 0
    for block in documents.files():
        (place / block.title).write_text(block.text)
    named = {word for command in documents.commands() for word in command if word.endswith("best.ckpt")}
    for run in {Path(name).parents[1] for name in named}:
        checkpoint = tokenizer() if run.parent.name.endswith("vqgan") else transformer()
        (place / run).mkdir(parents=True)
        (place / run / "checkpoints").symlink_to(checkpoint.parent)
        assert (checkpoint.parent / "best.ckpt").is_file()
    for name in ("CKPT", "LGG.ckpt", "HGG.ckpt"):
        (place / name).symlink_to(transformer())
    return place


@pytest.fixture
def here(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    cohort_writer: Callable[[Path, int, int], Path],
    scan_maker: Callable[..., tuple[np.ndarray, np.ndarray]],
) -> Path:
    """`folder` as working directory and on the path, with a cohort in it, and a case whose tumour is some voxels of 8 mm long."""
    if not (folder / "BraTS2019").is_dir():
        cohort_writer(folder / "BraTS2019", 6, 6)
        for name, voxels in zip(("FLAIR", "SEG"), scan_maker(shape=(96, 104, 80), radii=(30, 26, 24)), strict=True):
            nib.save(nib.Nifti1Image(voxels, np.diag([-1.0, -1.0, 1.0, 1.0])), folder / f"{name}.nii.gz")
        for name in ("real", "samples"):
            (folder / name).mkdir()
        shutil.copytree(folder / "BraTS2019", folder / "cohort")
        cases = [path.name for path in sorted((folder / "BraTS2019").glob("*/*"))]
        rows = [f"{case},{'mutant' if number % 2 else 'wildtype'}" for number, case in enumerate(cases)]
        (folder / "table.csv").write_text("\n".join(["case,IDH", *rows]))
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands read what was typed and stop before the work."""

    def stop(*_: object, **__: object) -> None:
        raise UnderstoodError

    monkeypatch.setattr(TumorgenCLI, "before_instantiate_classes", stop)
    monkeypatch.setattr(weights, "_present", stop)
    monkeypatch.setattr(import_checkpoint, "import_checkpoint", stop)
    monkeypatch.setattr(phantom, "write_cohort", stop)
    monkeypatch.setattr("tumorgen.commands.reconstruct.reconstruct", stop)
    monkeypatch.setattr("tumorgen.commands.evaluate._folders", stop)
    monkeypatch.setattr("tumorgen.commands.report.write_report", stop)
    monkeypatch.setattr(
        "tumorgen.benchmark.plan._system_of", lambda _: "masked_transformer"
    )  # samples lie there, with names
    monkeypatch.setattr("tumorgen.results.dashboard.layout.find_runs", stop)
    monkeypatch.setattr("data_modules.brats.BraTSDataModule.prepare_data", stop)
    monkeypatch.setattr("data_modules.cohort.module.CohortDataModule.prepare_data", stop)


@pytest.fixture
def understood(capsys: pytest.CaptureFixture[str]) -> Callable[[list[str]], None]:
    """Asserts that a command takes its words."""

    def check(words: list[str]) -> None:
        try:
            status = tumorgen(*words)
        except UnderstoodError:
            return
        except SystemExit as leaving:  # --model.help and the like
            status = leaving.code or 0
        assert status == 0, f"{' '.join(words)}: {capsys.readouterr().err}"

    return check
