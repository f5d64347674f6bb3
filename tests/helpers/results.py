"""Result folders as the commands leave them, small and quick: what tables and reports are tested on."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from data_modules.origin import Origin
from data_modules.volumes.file import to_nifti
from tumorgen.results.records import Floor, Interval, Record, write_results

BOOTSTRAP = "percentile bootstrap over cases, 1000 resamples"
EXTRACTOR = {"name": "mri", "checksum": "39a7b2b5"}
CLASSES = ("LGG", "HGG")
CLOSEST = {"generated": "LGG/LGG_0001", "training": "LGG/Case_00", "distance": 0.1234}
TITLES = {
    "mmd_rbf_features": "MMD², RBF, features",
    "mmd_rbf_blocks": "MMD², RBF, block means",
    "kid": "KID",
    "precision": "precision",
}


def volume(size: int, seed: int) -> np.ndarray:
    """An ellipsoid with a darker core, (D, H, W) in [-1, 1]."""
    generator = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, size),) * 3, indexing="ij"))
    distance = np.sqrt(((grid / generator.uniform(0.4, 0.8, (3, 1, 1, 1))) ** 2).sum(0))
    inside = np.where(distance < 0.4, 0.1, 0.6) + generator.normal(0, 0.05, distance.shape)
    return np.where(distance < 1, np.clip(inside, -0.5, 1), -1).astype(np.float32)


def volume_folder(
    folder: Path, kind: str = "generated", count: int = 3, size: int = 16, seed: int = 0, phantom: bool = False
) -> Path:
    """Volumes of two classes with the manifest of `predict`, or of an export of real cases."""
    entries = []
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            file = f"{name}/{name}_{index + 1:04d}.nii.gz"
            nib.save(to_nifti(volume(size, 100 * seed + 10 * label + index), 2.0), folder / file)
            entries.append(
                {"file": file, "class": name, **({"case": f"Case_{label}{index}"} if kind == "real" else {})}
            )
    made = {"kind": "real"} if kind == "real" else {"method": "MaskedTransformer", "checkpoint_sha256": "ab" * 32}
    manifest = {
        **made,
        "class_names": list(CLASSES),
        "roi_size": size,
        "spacing_mm": 2.0,
        "intensities": "[0, 1]",
        "origin": Origin("0" * 16, 0, tuple(f"{index:064x}" for index in range(20)), phantom=phantom).to_json(),
        "volumes": entries,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def picture(path: Path, width: int = 200) -> Path:
    """A PNG of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 255, (80, width), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def evaluation_records(label: str = "samples", worse: float = 0.0) -> list[Record]:
    """Figures of every kind for both classes and pooled; `worse` moves them away from their floors."""
    records = []
    for name, real in (("pooled", 60), ("LGG", 20), ("HGG", 40)):
        group = {"class": name, "generated": label}
        counts = {"real": real, "generated": 24}
        floor = Floor(0.004, -0.006, 0.021, splits=200, size=real // 2)
        for metric, value, better in (
            ("mmd_rbf_features", 0.031, "lower"),
            ("mmd_rbf_blocks", 0.012, "lower"),
            ("kid", 0.52, "lower"),
            ("precision", 0.81, "higher"),
        ):
            definition = {"title": TITLES[metric], "recipe": "as published", "better": better, "unit": "1"}
            if metric != "mmd_rbf_blocks":
                definition["extractor"] = EXTRACTOR
            moved = value + worse * (1 if better == "lower" else -1)
            interval = Interval(moved - 0.01, moved + 0.012, BOOTSTRAP)
            p_value = None if metric == "precision" else (0.0009 if worse else 0.21)
            own = floor if better == "lower" else Floor(0.86, 0.78, 0.93, splits=200, size=real // 2)
            records.append(Record(metric, moved, definition, group, counts, interval, own, p_value))
        definition = {
            "title": "MMD, published, B = 4",
            "recipe": "linear kernel, biased",
            "unit": "1e4",
            "better": "lower",
        }
        records.append(Record("mmd_paper", 1024.4, definition, group, counts, details={"sd": 31.2}))
        if name != "pooled":
            definition = {"title": "MS-SSIM diversity", "recipe": "three scales", "data_range": 2, "better": "real"}
            interval, own = Interval(0.61, 0.66, BOOTSTRAP), Floor(0.58, 0.55, 0.62, splits=200, size=real // 2)
            records.append(
                Record("ms_ssim_diversity", 0.634, definition, group, {**counts, "pairs": 276}, interval, own)
            )
            # every volume has a texture here, none a defined share of components
            records.append(Record("shape_components_share", float("nan"), {"better": "higher"}, group, counts))
        share = Record(
            "memorisation_share_voxels",
            0.04 + worse,
            {"title": "near copies, voxels", "percentile": 5, "reference": "held-out patients", "better": "lower"},
            group,
            counts,
            Interval(0.01 + worse, 0.09 + worse, BOOTSTRAP),
            details={"closest_pairs": [CLOSEST]} if name == "pooled" else {},
        )
        records += [
            share,
            replace(
                share,
                metric="memorisation_share_features",
                definition={**share.definition, "title": "near copies, features", "extractor": EXTRACTOR},
            ),
        ]
    return records


def evaluation_folder(folder: Path, label: str = "samples", worse: float = 0.0, real: Path = Path("real")) -> Path:
    """What `tumorgen evaluate` leaves behind."""
    picture(folder / "pictures" / "closest_pairs.png")
    write_results(
        folder / "evaluation.json",
        "evaluation",
        evaluation_records(label, worse),
        inputs={"real": {"folder": str(real)}, "generated": {"label": label}},
        pictures={"closest_pairs": "pictures/closest_pairs.png"},
    )
    return folder


def benchmark_records(gain: float = 0.04) -> list[Record]:
    """Real only, fine-tuned and the control; `gain` is the difference of the fine-tuned arm."""
    records = []
    arms = (
        ("real_only", "real only", "", 0.0),
        ("finetuned_25", "synthetic, then 25% of real", "samples", gain),
        ("shuffled_control", "control: synthetic with shuffled labels, then 100% of real", "samples", -0.01),
    )
    for arm, title, label, more in arms:
        group = {"arm": arm, "generated": label, "network": "SmallCNN"}
        counts = {"folds": 5, "seeds": 3, "test_cases": 60, "test_patients": 60}
        definition = {"title": title, "positive_class": "HGG", "better": "higher"}
        for metric, value in (("auc", 0.81), ("f1", 0.74), ("accuracy", 0.7), ("precision", 0.69), ("recall", 0.83)):
            interval = Interval(value + more - 0.06, value + more + 0.05, "percentile bootstrap over test patients")
            records.append(Record(metric, value + more, definition, group, counts, interval, details={"sd": 0.02}))
        if label:
            interval = Interval(more - 0.02, more + 0.02, "percentile bootstrap over test patients")
            p_value = 0.01 if abs(more) > 0.02 else 0.8
            records.append(
                Record("auc_difference", more, definition, group, counts, interval, None, p_value, {"sd": float("nan")})
            )
    return records


def benchmark_folder(folder: Path, gain: float = 0.04) -> Path:
    """What `tumorgen benchmark` leaves behind."""
    picture(folder / "auc_by_share.png")
    figures = {name: {"value": 0.8, "spread": 0.02} for name in ("auc", "f1", "accuracy", "precision", "recall")}
    write_results(
        folder / "benchmark.json",
        "benchmark",
        benchmark_records(gain),
        folds=[0, 1, 2, 3, 4],
        pictures={"share": "auc_by_share.png"},
        references=[{"method": "published method", "source": "A poster", "figures": figures}],
    )
    return folder


def run_folder(folder: Path, phantoms: bool = False) -> Path:
    """What `tumorgen fit` leaves behind."""
    (folder / "csv").mkdir(parents=True)
    module = "data_modules.phantom.PhantomDataModule" if phantoms else "data_modules.brats.BraTSDataModule"
    (folder / "config.yaml").write_text(
        "system: {name: vqgan}\nmodel:\n  class_path: tumorgen.methods.vqgan.module.VQGAN\n  init_args: {roi_size: 16}\n"
        f"data:\n  class_path: {module}\n  init_args: {{root: cohort, fold: 0}}\n"
    )
    lines = ["epoch,step,train/total,val/l1,val/l1_HGG,val/psnr"]
    for epoch in range(6):
        lines.append(f"{epoch},{10 * epoch + 5},{3 / (epoch + 1)},,,")
        lines.append(f"{epoch},{10 * epoch + 9},,{0.2 / (epoch + 1)},{0.3 / (epoch + 1)},{20 + epoch}")
    (folder / "csv" / "metrics.csv").write_text("\n".join(lines) + "\n")
    for epoch in (2, 6):
        picture(folder / "pictures" / f"reconstructions_{epoch:04d}.png")
    return folder


def everything(root: Path) -> list[Path]:
    """One folder of each kind, two evaluations against the same real volumes."""
    real = volume_folder(root / "real", kind="real", seed=7)
    volume_folder(root / "samples", seed=1)
    evaluation_folder(root / "evaluation", real=real)
    evaluation_folder(root / "evaluation_noise", label="noise", worse=0.3, real=real)
    benchmark_folder(root / "benchmark")
    run_folder(root / "runs" / "vqgan" / "20260101-120000")
    return [root]
