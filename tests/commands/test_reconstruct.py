"""`tumorgen reconstruct`: a case of the user's own, back in the space of its scan, with figures that can be recomputed."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from front import TINY_VQGAN, tumorgen
from PIL import Image
from sklearn.metrics import roc_auc_score

from data_modules.files import sha256
from data_modules.roi.extract import extract
from data_modules.roi.images import read_image
from tumorgen.methods.loading import load_method
from tumorgen.methods.vqgan.module import VQGAN
from tumorgen.metrics.ms_ssim import ms_ssim_fidelity

IMAGES = ("original", "reconstruction", "importance")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny tokenizer for 16 voxels of 2 mm, all of a tiny tumour."""
    place = tmp_path_factory.mktemp("tokenizer")
    words = ["--runs_dir", place, "--run_id", "t", "--wandb.mode", "disabled", "--data.spacing", 2.0]
    rates = ["--model.optimizer.lr", 3e-3, "--model.importance.hidden", 64]
    assert tumorgen("fit", "--config", TINY_VQGAN, *words, *rates) == 0
    return place / "tiny" / "t" / "checkpoints" / "last.ckpt"


@pytest.fixture(scope="module")
def pair(tiny_cohort: Path) -> tuple[Path, Path]:
    folder = tiny_cohort / "HGG" / "BraTS19_Tiny_HGG0_1"
    return folder / f"{folder.name}_flair.nii.gz", folder / f"{folder.name}_seg.nii.gz"


def reconstruct(checkpoint: Path, scan: Path, mask: Path, output: Path, *words: str) -> int:
    paths = {"--ckpt_path": checkpoint, "--input": scan, "--mask": mask, "--output": output}
    return tumorgen("reconstruct", *[word for option in paths.items() for word in option], *words)


def refused(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    capsys.readouterr()
    assert reconstruct(*arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tumorgen: error")]
    return line


@pytest.fixture(scope="module")
def output(checkpoint: Path, pair: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reconstructed") / "case"
    assert reconstruct(checkpoint, *pair, folder) == 0
    return folder


@pytest.fixture(scope="module")
def expected(checkpoint: Path, pair: tuple[Path, Path]) -> dict[str, np.ndarray]:
    """Region of interest, its reconstruction and the scores on the token grid, straight from the parts."""
    model = load_method(checkpoint, VQGAN)
    region = extract(*(read_image(path)[0] for path in pair), 16, 2.0)
    with torch.no_grad():
        x = torch.from_numpy(region.volume)[None, None]
        encoding = model.encode(x)
        return {
            "x": region.volume.astype(np.float64),
            "x_hat": model(x)[0, 0].double().numpy(),
            "scores": encoding.scores[0, 0].double().numpy(),
        }


def test_it_leaves_what_was_promised(output: Path) -> None:
    names = {"figures.json", "sheet.png", *(f"{name}.nii.gz" for name in IMAGES)}
    assert {path.name for path in output.iterdir()} == names
    assert np.asarray(Image.open(output / "sheet.png")).std() > 10


@pytest.mark.parametrize("name", IMAGES)
def test_images_lie_on_the_scan(name: str, output: Path, pair: tuple[Path, Path]) -> None:
    scan, image = nib.load(pair[0]), nib.load(output / f"{name}.nii.gz")
    assert image.shape == scan.shape
    np.testing.assert_allclose(image.affine, scan.affine)
    assert image.header.get_xyzt_units()[0] == "mm"
    assert np.isfinite(image.get_fdata()).all()


def test_figures_are_those_of_the_volumes(output: Path, expected: dict[str, np.ndarray]) -> None:
    figures = json.loads((output / "figures.json").read_text())["figures"]
    x, x_hat, scores = expected["x"], expected["x_hat"], expected["scores"]
    tumour, shape = x > -0.9, x_hat > -0.9
    tokens = tumour.reshape(4, 4, 4, 4, 4, 4).any(axis=(1, 3, 5))
    assert 0 < tokens.sum() < tokens.size
    as_tensors = (torch.from_numpy(volume)[None, None] for volume in (x, x_hat, tumour))
    whole, inside = (float(value) for value in ms_ssim_fidelity(*as_tensors))
    assert figures == pytest.approx(
        {
            "l1": np.abs(x - x_hat).mean(),
            "psnr": 10 * np.log10(4 / ((x - x_hat) ** 2).mean()),
            "l1_tumour": np.abs(x - x_hat)[tumour].mean(),
            "psnr_tumour": 10 * np.log10(4 / ((x - x_hat) ** 2)[tumour].mean()),
            "l1_background": np.abs(x - x_hat)[~tumour].mean(),
            "psnr_background": 10 * np.log10(4 / ((x - x_hat) ** 2)[~tumour].mean()),
            "ms_ssim_fidelity": whole,
            "ms_ssim_fidelity_tumour": inside,
            "relative_volume_tumour": shape.sum() / tumour.sum(),
            "dice": 2 * (tumour & shape).sum() / (tumour.sum() + shape.sum()),
            "importance_auc": roc_auc_score(tokens.ravel(), scores.ravel()),
        },
        rel=1e-4,
    )


def test_figures_are_printed_too(
    checkpoint: Path, pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert reconstruct(checkpoint, *pair, tmp_path / "case") == 0
    printed = capsys.readouterr().out.splitlines()
    figures = json.loads((tmp_path / "case" / "figures.json").read_text())["figures"]
    assert printed == [*(f"{name:24s} {value:.4f}" for name, value in figures.items()), str(tmp_path / "case")]


def test_origins_are_recorded(output: Path, checkpoint: Path, pair: tuple[Path, Path]) -> None:
    result = json.loads((output / "figures.json").read_text())
    assert result["sha256"] == {"scan": sha256(pair[0]), "mask": sha256(pair[1]), "checkpoint": sha256(checkpoint)}
    assert result["tumour_voxels"] == np.count_nonzero(nib.load(pair[1]).get_fdata())
    assert result["cropped_voxels"] == 0


def test_importance_lies_inside_of_the_region_and_between_0_and_1(
    output: Path, expected: dict[str, np.ndarray]
) -> None:
    scores = nib.load(output / "importance.nii.gz").get_fdata()
    inside = scores[scores != 0]
    # the region of 32 mm is a cube of 32 voxels of the scan, less what lies beyond its edges
    assert 0.5 * 32**3 < inside.size <= 32**3
    assert inside.min() > 0
    assert inside.max() < 1
    assert inside.min() >= expected["scores"].min() - 1e-5
    assert inside.max() <= expected["scores"].max() + 1e-5


def test_original_and_reconstruction_have_the_intensities_of_the_scan(output: Path, pair: tuple[Path, Path]) -> None:
    low, high = json.loads((output / "figures.json").read_text())["intensity_range"]
    scan, mask = (nib.load(path).get_fdata() for path in pair)
    assert low == 0
    assert high <= scan[mask > 0].max()
    original = nib.load(output / "original.nii.gz").get_fdata()
    covered = original != 0
    assert 2 * (covered & (mask > 0)).sum() / (covered.sum() + (mask > 0).sum()) > 0.85
    errors = np.abs(original - scan)[covered & (mask > 0)]
    assert np.median(errors) < 0.05 * high, "resampled from 1 to 2 mm and back"
    reconstruction = nib.load(output / "reconstruction.nii.gz").get_fdata()
    assert reconstruction.min() >= 0
    assert reconstruction.max() <= high * 1.0001


def at_one_millimetre(checkpoint: Path, path: Path) -> Path:
    """The same tokenizer, as if it had been trained on voxels of the size of the scan's."""
    content = torch.load(checkpoint, weights_only=True)
    content["hyper_parameters"]["spacing"] = 1.0
    torch.save(content, path)
    return path


def test_at_the_spacing_of_the_scan_the_original_is_the_scan(
    checkpoint: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    assert reconstruct(at_one_millimetre(checkpoint, tmp_path / "fine.ckpt"), *pair, tmp_path / "fine") == 0
    scan, mask = (nib.load(path).get_fdata() for path in pair)
    original = nib.load(tmp_path / "fine" / "original.nii.gz").get_fdata()
    region = nib.load(tmp_path / "fine" / "importance.nii.gz").get_fdata() != 0
    assert region.sum() == 16**3
    np.testing.assert_allclose(original, np.where(region & (mask > 0), scan, 0), atol=0.01)
    result = json.loads((tmp_path / "fine" / "figures.json").read_text())
    assert result["cropped_voxels"] == ((mask > 0) & ~region).sum() > 0, "this tumour is 18 voxels long"


def test_results_are_not_written_over_unless_told_to(
    output: Path, checkpoint: Path, pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    before = (output / "figures.json").stat().st_mtime_ns
    assert "--overwrite" in refused(capsys, checkpoint, *pair, output)
    assert (output / "figures.json").stat().st_mtime_ns == before
    assert reconstruct(checkpoint, *pair, output, "--overwrite") == 0
    assert (output / "figures.json").stat().st_mtime_ns > before


def test_what_does_not_belong_together_is_refused_in_one_line(
    checkpoint: Path, pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, mask = pair
    segmentation = nib.load(mask)
    smaller, moved, empty = (tmp_path / f"{name}.nii.gz" for name in ("smaller", "moved", "empty"))
    nib.save(nib.Nifti1Image(segmentation.get_fdata()[:-1].astype(np.uint8), segmentation.affine), smaller)
    elsewhere = segmentation.affine.copy()
    elsewhere[0, 3] += 5
    nib.save(nib.Nifti1Image(segmentation.get_fdata().astype(np.uint8), elsewhere), moved)
    nib.save(nib.Nifti1Image(np.zeros(segmentation.shape, np.uint8), segmentation.affine), empty)
    for other, said in ((smaller, "differ in shape"), (moved, "5 mm apart"), (empty, "mask is empty")):
        line = refused(capsys, checkpoint, scan, other, tmp_path / "out")
        assert said in line
        assert scan.name in line
        assert other.name in line
    assert not (tmp_path / "out").exists()


def test_files_that_are_not_there_or_no_tokenizer(
    checkpoint: Path, pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, mask = pair
    gone = tmp_path / "gone.nii.gz"
    assert "--input" in refused(capsys, checkpoint, gone, mask, tmp_path / "out")
    assert "--mask" in refused(capsys, checkpoint, scan, gone, tmp_path / "out")
    assert "--ckpt_path" in refused(capsys, gone, scan, mask, tmp_path / "out")
    assert "not readable" in refused(capsys, scan, scan, mask, tmp_path / "out")
    other = torch.load(checkpoint, weights_only=True)
    other["hyper_parameters"]["_class_path"] = "tumorgen.methods.transformer.module.MaskedTransformer"
    torch.save(other, tmp_path / "transformer.ckpt")
    line = refused(capsys, tmp_path / "transformer.ckpt", scan, mask, tmp_path / "out")
    assert "expected a tumorgen.methods.vqgan.module.VQGAN" in line
    assert not (tmp_path / "out").exists()
