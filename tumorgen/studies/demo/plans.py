"""The sizes of the demonstration, and the figures that each has to reach."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """One size of the demonstration; what the stages train is in `experiments/<name>/`.

    Attributes:
        name: `demo` or `showcase`.
        hgg: High-grade phantoms.
        lgg: Low-grade phantoms.
        samples: Volumes to sample per class.
        thresholds: Least value of each checked figure.
    """

    name: str
    hgg: int
    lgg: int
    samples: int
    thresholds: dict[str, float]


_TOKENIZER = {"shape_dice": 0.80, "codes_in_use": 0.5, "importance_auc": 0.7}

PLANS = {
    "demo": Plan(
        name="demo",
        hgg=120,
        lgg=120,
        samples=16,
        thresholds={**_TOKENIZER, "reconstruction_auc_ratio": 0.80, "generated_auc": 0.60, "plausible_share": 0.70},
    ),
    "showcase": Plan(
        name="showcase",
        hgg=160,
        lgg=160,
        samples=32,
        thresholds={**_TOKENIZER, "reconstruction_auc_ratio": 0.95, "generated_auc": 0.75, "plausible_share": 0.85},
    ),
}
