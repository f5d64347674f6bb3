"""What a reader of the dashboard sees, in which order; names are those that training logs. No wandb needed to read it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

EPOCH, STEP = "epoch", "trainer/global_step"
EVALUATION_TABLE, SAMPLES_TABLE = "tables/evaluation", "tables/samples"


@dataclass(frozen=True)
class Curves:
    """Figures over time in one panel.

    Attributes:
        title: What is seen.
        metrics: Names as logged.
        x: `EPOCH` or `STEP`.
        better: `lower`, `higher`, or empty where neither is.
    """

    title: str
    metrics: tuple[str, ...]
    x: str = EPOCH
    better: str = ""


@dataclass(frozen=True)
class Pictures:
    """Picture sheets to leaf through, one per evaluation or validation."""

    title: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class RunTable:
    """A table that runs log."""

    title: str
    key: str


Panel = Curves | Pictures | RunTable


@dataclass(frozen=True)
class Section:
    """A group of panels.

    Attributes:
        name: Heading.
        text: How to read it; for the report.
        panels: In reading order.
        method: Class of the model whose runs log these panels.
        is_open: Whether the workspace shows it unfolded.
    """

    name: str
    text: str
    panels: tuple[Panel, ...]
    method: str
    is_open: bool = True


def sections(class_names: Sequence[str]) -> list[Section]:
    """All sections, most asked for first.

    Args:
        class_names: Classes of the data, whose names end the names of their curves.
    """
    return [
        _samples(class_names),
        _quality(class_names),
        _transformer(class_names),
        _reconstruction(),
        _codebook(class_names),
        _classifier(),
    ]


def logged_names(parts: Iterable[Section], method: str | None = None) -> set[str]:
    """Names of all figures, pictures and tables in these sections.

    Args:
        parts: Sections.
        method: Only of sections that this class of model logs.
    """
    names: set[str] = set()
    for section in parts:
        if method in (None, section.method):
            for panel in section.panels:
                names.update(names_of(panel))
    return names


def names_of(panel: Panel) -> tuple[str, ...]:
    """What a panel shows."""
    if isinstance(panel, Curves):
        return panel.metrics
    return panel.keys if isinstance(panel, Pictures) else (panel.key,)


def _per_class(name: str, class_names: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{name}_{one}" for one in class_names)


def _with_floor(name: str, class_names: Sequence[str]) -> tuple[str, ...]:
    return _per_class(f"evaluation/{name}", class_names) + _per_class(f"evaluation/floor/{name}", class_names)


def _samples(class_names: Sequence[str]) -> Section:
    return Section(
        "Samples",
        "Real validation cases above, samples of the same class below; the seeds stay the same, so a sheet shows how the same "
        "volumes develop. The table has every volume of the last evaluation with its seed: `tumorgen predict` with that seed "
        "and checkpoint writes it.",
        (
            Pictures("Real and generated", ("pictures/samples",)),
            Pictures("Importance and masked tokens", _per_class("pictures/masking", class_names)),
            RunTable("Sampled volumes", SAMPLES_TABLE),
        ),
        "MaskedTransformer",
    )


def _quality(class_names: Sequence[str]) -> Section:
    return Section(
        "Sample quality",
        "Each figure beside its floor: the same figure between real cases, which no generator can be expected to beat. Numbers "
        "of volumes are small during training and belong to the figures' meaning; the definitions are in the table. MS-SSIM "
        "between samples is diversity, not fidelity: compare it with that of real cases. A memorisation share far above 5 % "
        "means copies of training patients.",
        (
            Curves("MMD^2, RBF on block means", _with_floor("mmd_rbf_blocks", class_names), better="lower"),
            Curves("MMD as published", _with_floor("mmd_paper", class_names), better="lower"),
            Curves("MS-SSIM between samples", _with_floor("ms_ssim_diversity", class_names)),
            Curves("Memorisation share", ("evaluation/memorisation_share_voxels",), better="lower"),
            Curves(
                "Downstream: AUC on real cases, trained on samples",
                ("evaluation/benchmark_auc", "evaluation/floor/benchmark_auc"),
                better="higher",
            ),
            Curves("Evaluation as a share of training time", ("evaluation/overhead",)),
            RunTable("All figures with their definitions", EVALUATION_TABLE),
        ),
        "MaskedTransformer",
    )


def _transformer(class_names: Sequence[str]) -> Section:
    corrupted, accuracy = "val/cross_entropy_corrupted", "val/accuracy_corrupted"
    return Section(
        "Transformer (stage 2)",
        "Corrupted tokens are those that training hides; intact ones were seen and are easy.",
        (
            Curves("Training loss", ("train/loss", "train/cross_entropy_corrupted"), STEP, "lower"),
            Curves(
                "Cross entropy of corrupted tokens", (corrupted, *_per_class(corrupted, class_names)), better="lower"
            ),
            Curves("Accuracy of corrupted tokens", (accuracy, *_per_class(accuracy, class_names)), better="higher"),
            Curves("Cross entropy of intact tokens", ("val/cross_entropy_intact",), better="lower"),
            Curves("Learning rates, with and without weight decay", ("learning_rate/pg1", "learning_rate/pg2"), STEP),
        ),
        "MaskedTransformer",
    )


def _reconstruction() -> Section:
    return Section(
        "Tokenizer (stage 1)",
        "Held-out reconstructions. The background is most of the volume, so figures inside the tumour count.",
        (
            Pictures("Original, reconstruction, importance", ("pictures/reconstructions",)),
            Curves("Training objective", ("train/total", "train/pixel", "train/commitment"), STEP, "lower"),
            Curves("L1", ("val/l1", "val/l1_tumour"), better="lower"),
            Curves("PSNR", ("val/psnr", "val/psnr_tumour"), better="higher"),
            Curves("Dice of the tumour's shape", ("val/dice",), better="higher"),
            Curves("Tumour volume relative to the original", ("val/relative_volume_tumour",)),
            Curves("Discriminator", ("train/adversarial", "train/discriminator", "train/adaptive_weight"), STEP),
            Curves("Learning rates", ("learning_rate/generator", "learning_rate/discriminator"), STEP),
            Curves("Voxels per second", ("train/voxels_per_second",), STEP, "higher"),
        ),
        "VQGAN",
    )


def _codebook(class_names: Sequence[str]) -> Section:
    usage, perplexity = "codebook_usage", "codebook_perplexity"
    return Section(
        "Codebook health",
        "Share of the codes in use over an epoch, and the perplexity of their frequencies (1: one code only; the size of the "
        "codebook: all equally often). A collapsing codebook shows here long before it shows in reconstructions.",
        (
            Curves("Codes in use", (f"train/{usage}", f"val/{usage}"), better="higher"),
            Curves("Codes in use, per class", _per_class(f"val/{usage}", class_names), better="higher"),
            Curves("Perplexity", (f"train/{perplexity}", f"val/{perplexity}"), better="higher"),
            Curves("Perplexity, per class", _per_class(f"val/{perplexity}", class_names), better="higher"),
            Curves("Importance finds the tumour (AUC)", ("val/importance_auc",), better="higher"),
            Curves("Class from importance", ("train/importance_accuracy", "val/importance_accuracy")),
        ),
        "VQGAN",
    )


def _classifier() -> Section:
    figures = tuple(f"val/{name}" for name in ("auc", "f1", "accuracy", "precision", "recall"))
    return Section(
        "Downstream classifier",
        "The positive class is the last one. Tables of the whole benchmark, with intervals and tests, follow below where the "
        "report was given results.",
        (
            Curves("Training loss of the classifier", ("train/loss",), STEP, "lower"),
            Curves("Validation figures", figures, better="higher"),
        ),
        "GradeClassifier",
        is_open=False,
    )
