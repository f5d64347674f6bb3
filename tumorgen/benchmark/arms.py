"""The arms of the benchmark: what each of them trains on, and in which order."""

from collections.abc import Iterable
from dataclasses import dataclass

from data_modules.errors import InputError

REAL_ONLY = "real_only"
CONTROL = "shuffled_control"


@dataclass(frozen=True)
class TrainingSet:
    """What one stage of training sees.

    Attributes:
        real_share: Share of the fold's real training patients, drawn per class; smaller shares lie within larger ones.
        synthetic: Whether the generated volumes are in.
        augmented: Whether volumes are changed at random as the data module's augmentation says.
        oversampled: Whether the smaller classes are drawn as often as the largest.
        shuffled: Whether the labels of the generated volumes are dealt out at random.
    """

    real_share: float = 0.0
    synthetic: bool = False
    augmented: bool = False
    oversampled: bool = False
    shuffled: bool = False


@dataclass(frozen=True)
class Arm:
    """One way to train the classifier.

    Attributes:
        name: As in records, file names and on the command line.
        title: As in tables.
        training: What the stage that every arm has trains on.
        pretraining: What an earlier stage trains on, whose last weights the other one starts from.
    """

    name: str
    title: str
    training: TrainingSet
    pretraining: TrainingSet | None = None

    @property
    def uses_synthetic(self) -> bool:
        """Whether the arm needs generated volumes."""
        return self.training.synthetic or self.pretraining is not None


def all_arms(shares: Iterable[float]) -> tuple[Arm, ...]:
    """Every arm of the benchmark, in the order of its table.

    Args:
        shares: Shares of the real training patients for fine-tuning, in (0, 1]. Real-only training is there at the same
            shares: without it nobody could tell what pre-training adds.

    Raises:
        InputError: A share is no share.
    """
    shares = sorted(set(shares))
    if any(not 0 < share <= 1 for share in shares):
        raise InputError(f"--shares: found {shares}, expected shares of the real training patients in (0, 1].")
    synthetic = TrainingSet(synthetic=True)
    return (
        Arm(REAL_ONLY, "real only", TrainingSet(1.0)),
        *(Arm(real_only_at(share), f"real only, {share:.0%}", TrainingSet(share)) for share in shares if share < 1),
        Arm("real_augmented", "real + classic augmentation", TrainingSet(1.0, augmented=True)),
        Arm("real_oversampled", "real, minority oversampled", TrainingSet(1.0, oversampled=True)),
        Arm("synthetic_only", "synthetic only, tested on real", synthetic),
        *(
            Arm(fine_tuned_at(share), f"synthetic, then {share:.0%} of real", TrainingSet(share), synthetic)
            for share in shares
        ),
        Arm("mixed", "real + synthetic mixed", TrainingSet(1.0, synthetic=True)),
        Arm(
            CONTROL,
            "control: synthetic with shuffled labels, then 100% of real",
            TrainingSet(1.0),
            TrainingSet(synthetic=True, shuffled=True),
        ),
    )


def real_only_at(share: float) -> str:
    """Name of the arm that trains on a share of the real patients alone."""
    return REAL_ONLY if share == 1 else f"{REAL_ONLY}_{100 * share:g}"


def fine_tuned_at(share: float) -> str:
    """Name of the arm that is pre-trained on synthetic volumes and fine-tuned on a share of the real patients."""
    return f"finetuned_{100 * share:g}"


def chosen_arms(names: Iterable[str] | None, shares: Iterable[float]) -> tuple[Arm, ...]:
    """The arms of these names, in the order of the table; None takes all.

    Raises:
        InputError: There is no such arm, or `real_only` is missing, which all others are compared with.
    """
    arms = all_arms(shares)
    if names is None:
        return arms
    wanted, known = set(names), [arm.name for arm in arms]
    if unknown := sorted(wanted - set(known)):
        raise InputError(f"--arms: found {unknown[0]}, expected some of {', '.join(known)}.")
    if REAL_ONLY not in wanted:
        raise InputError(f"--arms: {REAL_ONLY} is missing; every other arm is compared with it.")
    return tuple(arm for arm in arms if arm.name in wanted)
