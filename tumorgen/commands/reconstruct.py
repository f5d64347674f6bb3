"""``tumorgen reconstruct``: one case of the user's own through a trained tokenizer, back in the space of its scan."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_modules.errors import InputError
from tumorgen.options import add_trust, command_parser


def run(argv: Sequence[str]) -> int:
    """Writes original, reconstruction and importance scores as NIfTI, a picture, and the figures as JSON.

    All images have the grid of the scan: they open as overlays on it. Intensities are those of the scan; the importance map
    lies in (0, 1) inside the region of interest and is 0 outside.

    Raises:
        InputError: Files are missing, unreadable or of different patients, the checkpoint is no tokenizer, or the output is
            already there.
    """
    from tumorgen.methods.trust import trusting

    parser = command_parser("reconstruct", __doc__)
    parser.add_argument("--ckpt_path", type=Path, required=True, help="checkpoint of a trained VQGAN")
    parser.add_argument(
        "--input", type=Path, required=True, help="scan, NIfTI, of the sequence the VQGAN was trained on"
    )
    parser.add_argument("--mask", type=Path, required=True, help="tumour segmentation on the same grid, NIfTI")
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--overwrite", type=bool, default=False, help="replace results that are already there")
    add_trust(parser)
    options = parser.parse_args(list(argv))
    for key in ("ckpt_path", "input", "mask"):
        if not options[key].is_file():
            raise InputError(f"--{key}: {options[key]} is not there, or is no file.")
    if (options.output / "figures.json").exists() and not options.overwrite:
        raise InputError(f"--output: {options.output} holds results already; choose another folder or add --overwrite.")
    with trusting(options.trust):
        figures = reconstruct(options.ckpt_path, options.input, options.mask, options.output)
    for name, value in figures["figures"].items():
        print(f"{name:24s} {value:.4f}")
    print(options.output)
    return 0


def reconstruct(ckpt_path: Path, scan_path: Path, mask_path: Path, output: Path) -> dict[str, Any]:
    """Does the work of the command; returns what it wrote to `figures.json`.

    Figures: L1, PSNR (data range 2) and MS-SSIM whole and inside the tumour, L1 and PSNR outside of it, Dice of the shape
    {x > -0.9}, AUC of the importance of tokens inside the tumour against the background.
    """
    import numpy as np
    import torch

    from data_modules.files import sha256, write_json
    from data_modules.roi.extract import BACKGROUND, denormalise, extract, foreground, place
    from data_modules.roi.images import read_image
    from tumorgen.methods.loading import load_method
    from tumorgen.methods.vqgan.module import VQGAN
    from tumorgen.metrics.importance import importance_auc
    from tumorgen.metrics.reconstruction import ReconstructionMetrics
    from tumorgen.results.sheets import Reconstructed, enlarge, reconstruction_sheet, save

    model = load_method(ckpt_path, VQGAN)
    (scan, scan_hash), (mask, mask_hash) = read_image(scan_path), read_image(mask_path)
    try:
        roi = extract(scan, mask, model.roi_size, model.spacing)
    except InputError as error:
        raise InputError(f"{scan_path} with {mask_path}: {error}") from error
    with torch.no_grad():
        x = torch.from_numpy(roi.volume)[None, None]
        encoding = model.encode(x)
        x_hat = model.decode(encoding.codes)
    metrics = ReconstructionMetrics()
    metrics.update(x, x_hat)
    figures = {name: float(value) for name, value in metrics.compute().items()}
    figures["importance_auc"] = float(importance_auc(encoding.scores, x)[0])

    volume, scores = x_hat[0, 0].numpy(), enlarge(encoding.scores[0, 0].numpy(), roi.volume.shape)
    tumour, shape = roi.volume > BACKGROUND, foreground(volume)
    images = {
        "original": place(denormalise(roi.volume, roi.intensity_range), roi.geometry, fill=0.0, mask=tumour),
        "reconstruction": place(denormalise(volume, roi.intensity_range), roi.geometry, fill=0.0, mask=shape),
        "importance": place(scores, roi.geometry, fill=0.0, mask=np.ones_like(shape)),
    }
    for name, voxels in images.items():
        _write_nifti(output / f"{name}.nii.gz", voxels, roi.geometry.scan_affine)
    row = Reconstructed(scan_path.name.split(".")[0], roi.volume, volume, encoding.scores[0, 0].numpy())
    save(reconstruction_sheet([row]), output / "sheet.png")
    result = {
        "figures": figures,
        "cropped_voxels": roi.cropped_voxels,
        "tumour_voxels": roi.tumour_voxels,
        "intensity_range": list(roi.intensity_range),
        "sha256": {"scan": scan_hash, "mask": mask_hash, "checkpoint": sha256(ckpt_path)},
    }
    write_json(output / "figures.json", result)
    return result


def _write_nifti(path: Path, voxels: Any, affine: Any) -> None:
    import nibabel as nib

    from data_modules.files import atomic_path

    image = nib.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm")
    with atomic_path(path) as temporary:
        nib.save(image, temporary)
