"""What the values say on the two questions that matter: do these tumours help, and are they copies?

Sentences are chosen by intervals and corrected p-values, never by a value alone.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tumorgen.benchmark.arms import CONTROL
from tumorgen.results.layouts import arm_title, label_of, name_of
from tumorgen.results.records import POOLED, Record
from tumorgen.results.tables import Cell, floor, p_value, value_cell

SIGNIFICANT = 0.05
EXPECTED = 5


@dataclass(frozen=True)
class Answer:
    """One question with its answer.

    Attributes:
        question: As a person asks it.
        verdict: What the values allow one to say.
        lines: Each a sequence of texts and values.
    """

    question: str
    verdict: str
    lines: Sequence[Sequence[Cell]]


def answers(
    evaluated: Sequence[Record], benchmarked: Sequence[Record], label: Callable[[Record], str] = label_of
) -> list[Answer]:
    """Answers to as many questions as there are values for, in the order in which one asks."""
    found = [_help(benchmarked), _copies(evaluated, label), _distance(_pooled(evaluated), label)]
    found.append(_diversity(evaluated, label))
    return [answer for answer in found if answer is not None]


def _help(records: Sequence[Record]) -> Answer | None:
    """The arm with the largest difference to real data only; the number of arms it was chosen from is told.

    An arm helps only where the control of the same volumes does not: it trains as long, and has nothing to learn from labels.
    """
    differences = [
        record
        for record in records
        if record.metric == "auc_difference" and label_of(record) and record.group["arm"] != CONTROL
    ]
    if not differences:
        return None
    best = max(differences, key=lambda record: record.value)
    helps, harms = (
        [r for r in differences if _certain(r) and r.interval is not None and side(r)]
        for side in (lambda r: r.interval.low > 0, lambda r: r.interval.high < 0)
    )
    controls = [r for r in records if r.metric == "auc_difference" and r.group["arm"] == CONTROL]
    up = {_volumes(record) for record in controls if record.interval is not None and record.interval.low > 0}
    explained = [record for record in helps if _volumes(record) in up]
    helps = [record for record in helps if record not in explained]
    if helps:
        verdict = f"Yes, in this benchmark: {_arms(helps)} above real data only."
    elif explained:
        verdict = (
            f"It cannot be told: {_arms(explained)} above real data only, but so is the control with shuffled labels. Training "
            "longer explains it."
        )
    elif len(harms) == len(differences):
        verdict = f"No: {_arms(harms)} below real data only."
    else:
        verdict = "Not shown: no arm with generated tumours is above real data only beyond chance."
    what = "Difference" if len(differences) == 1 else f"Largest of {len(differences)} differences"
    lines = [
        [
            Cell(f"{what} in AUC to real data only ({arm_title(best)}, {label_of(best)}): "),
            value_cell(best),
            *([] if best.p_value is None else [Cell(", p (Holm) "), p_value(best)]),
        ]
    ]
    lines += [[Cell(f"Control with shuffled labels ({label_of(record)}): "), value_cell(record)] for record in controls]
    return Answer("Do they help a classifier?", verdict, lines)


def _copies(records: Sequence[Record], label: Callable[[Record], str]) -> Answer | None:
    """Pooled shares decide; a class whose share alone leaves what is expected is worth a look, since classes are small."""
    own = [record for record in records if record.metric.startswith("memorisation_share")]
    if not own:
        return None
    whole = _pooled(own)
    more = [record for record in own if record.interval is not None and record.interval.low > _expected(record)]
    if found := [record for record in more if record in whole]:
        names = ", ".join(dict.fromkeys(map(label, found)))
        verdict = f"Suspicious: more near copies of training patients than new volumes would show ({names})."
    elif more:
        names = ", ".join(dict.fromkeys(_of_class(record, label) for record in more))
        verdict = f"Look closer: not pooled, but in one class there are more near copies than expected ({names})."
    else:
        verdict = "No sign of it: no more near copies of training patients than new volumes would show."
    lines = [
        [
            Cell(f"{_of_class(r, label)}, {_space(r)}: share nearer than all but {_expected(r):.0%} of held-out ones "),
            value_cell(r),
            *([] if r.floor is None else [Cell(", real against real "), floor(r)]),
        ]
        for r in own
        if r in whole or r in more
    ]
    return Answer("Are they copies?", verdict, lines)


def _distance(records: Sequence[Record], label: Callable[[Record], str]) -> Answer | None:
    own = [r for r in records if r.metric in ("mmd_rbf_features", "mmd_rbf_blocks") and r.p_value is not None]
    if not own:
        return None
    verdicts = []
    for name in dict.fromkeys(map(label, own)):
        tests = [record for record in own if label(record) == name]
        told = sum(map(_certain, tests))
        some = f"{told} of {len(tests)} tests do" if told else "not shown"
        verdicts.append(f"{name}: {'yes' if told == len(tests) else some}")
    verdict = f"{'; '.join(verdicts)}."
    lines = [
        [
            Cell(f"{label(r)}, {name_of(r)}: "),
            value_cell(r),
            Cell(", real against real "),
            floor(r),
            Cell(", p "),
            p_value(r),
        ]
        for r in own
    ]
    return Answer("Can one tell them from real ones?", verdict, lines)


def _diversity(records: Iterable[Record], label: Callable[[Record], str]) -> Answer | None:
    """Class by class: pairs of different classes would differ for another reason."""
    own = [r for r in records if r.metric == "ms_ssim_diversity" and r.floor and r.group["class"] != POOLED]
    if not own:
        return None
    alike = [_of_class(r, label) for r in own if r.floor and (r.interval.low if r.interval else r.value) > r.floor.high]
    if alike:
        verdict = f"Less: generated ones resemble each other more than real ones do ({', '.join(alike)})."
    else:
        verdict = "As far as MS-SSIM tells: generated ones do not resemble each other more than real ones do."
    lines = [
        [Cell(f"{_of_class(r, label)}: MS-SSIM of pairs "), value_cell(r), Cell(", of real pairs "), floor(r)]
        for r in own
    ]
    return Answer("Are they as diverse?", verdict, lines)


def _of_class(record: Record, label: Callable[[Record], str]) -> str:
    return f"{label(record)}, {record.group['class']}"


def _pooled(records: Sequence[Record]) -> list[Record]:
    """Records of all classes together; of the one class there is where an evaluation has no more."""
    return [record for record in records if record.group.get("class") == POOLED] or list(records)


def _volumes(record: Record) -> tuple[str, str]:
    """Which generated volumes an arm used, and which network it trained: only the control of both is its control."""
    return label_of(record), record.group.get("network", "")


def _certain(record: Record) -> bool:
    return record.p_value is not None and record.p_value < SIGNIFICANT


def _arms(records: Sequence[Record]) -> str:
    return ", ".join(f"{arm_title(record)} ({label_of(record)})" for record in records)


def _expected(record: Record) -> float:
    """The share that held-out patients show by definition."""
    return float(record.definition.get("percentile", EXPECTED)) / 100


def _space(record: Record) -> str:
    return "voxels" if record.metric.endswith("voxels") else name_of(record).partition(", ")[2]
