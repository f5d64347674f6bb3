"""AUC against the share of real patients: how many of them does pre-training on synthetic tumours spare?"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tumorgen.benchmark.arms import REAL_ONLY, Arm, fine_tuned_at, real_only_at
from tumorgen.results.records import Record
from tumorgen.results.sheets import save

# Okabe and Ito's palette: told apart by colour-blind readers, too
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_REAL = "#555555"


def draw_auc_by_share(records: Iterable[Record], arms: Sequence[Arm], path: Path) -> bool:
    """Draws the AUC of real-only and of fine-tuned arms against the share of real patients, with their intervals.

    Args:
        records: Of the benchmark; all figures come from them.
        arms: Of the benchmark.
        path: PNG file.

    Returns:
        Whether there was anything to draw: at least one fine-tuned arm.
    """
    auc = {(r.group["arm"], r.group["generated"]): r for r in records if r.metric == "auc"}
    shares = sorted({arm.training.real_share for arm in arms if arm.training.real_share > 0})
    labels = sorted({label for arm, label in auc for share in shares if arm == fine_tuned_at(share)})
    if not labels:
        return False
    picture = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = picture.add_subplot()
    real = {share: auc[real_only_at(share), ""] for share in shares if (real_only_at(share), "") in auc}
    whole = auc[REAL_ONLY, ""]
    axes.axhline(whole.value, color=_REAL, linestyle=":", linewidth=1, label="real only, all patients")
    _curve(axes, shares, real, "real only", _REAL, 0)
    for number, label in enumerate(labels):
        own = {share: auc[fine_tuned_at(share), label] for share in shares if (fine_tuned_at(share), label) in auc}
        _curve(axes, shares, own, f"pre-trained on {label}, fine-tuned", _COLOURS[number % len(_COLOURS)], number + 1)
    axes.set_xticks(range(len(shares)), [f"{share:.0%}" for share in shares])
    axes.set_xlim(-0.4, len(shares) - 0.6)
    axes.set_xlabel("share of the real training patients")
    axes.set_ylabel("AUC on the held-out fold (95% interval)")
    axes.set_title(f"{whole.definition['positive_class']} against the rest, {whole.group['network']}", fontsize=10)
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    save(picture, path)
    return True


def _curve(
    axes: Axes, shares: Sequence[float], records: dict[float, Record], label: str, colour: str, number: int
) -> None:
    """One line with bars, moved sideways a little so that bars of different lines do not cover each other."""
    at = [shares.index(share) + 0.06 * number for share in records]
    values = [record.value for record in records.values()]
    intervals = [record.interval for record in records.values() if record.interval is not None]
    bars = [
        [max(0.0, value - interval.low) for value, interval in zip(values, intervals, strict=True)],
        [max(0.0, interval.high - value) for value, interval in zip(values, intervals, strict=True)],
    ]
    axes.errorbar(at, values, yerr=bars, label=label, color=colour, marker="o", markersize=4, capsize=3, linewidth=1.5)
