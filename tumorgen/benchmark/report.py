"""Writes what a complete benchmark found: records, tables, plot."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tumorgen.benchmark.pictures import draw_auc_by_share
from tumorgen.benchmark.references import references
from tumorgen.benchmark.session import Session
from tumorgen.benchmark.summary import Summary, covered
from tumorgen.benchmark.tables import tables
from tumorgen.results.records import write_results
from tumorgen.results.tables import write_tables


def write_report(session: Session, output: Path, resamples: int) -> None:
    """Writes `benchmark.json`, `table.md`, `.tex` and `.txt`, and `auc_by_share.png`, and prints the table.

    Args:
        session: A benchmark of which every training is done.
        output: Its folder.
        resamples: Draws of test patients and seeds.

    Raises:
        InputError: A result is damaged or of other settings.
    """
    results = session.results()
    first = next(iter(session.folds.values()))
    records = Summary(results, session.arms, first.class_names, resamples).records()
    drawn = draw_auc_by_share(records, session.arms, output / "auc_by_share.png")
    origins = _origins(session)
    seeds = sorted({training.seed for training in session.trainings})
    notes = [_protocol(session), note_on_intervals(len(seeds)), *notes_on_origins(origins)]
    written = tables(records, references(), notes)
    write_tables(output, written)
    write_results(
        output / "benchmark.json",
        "benchmark",
        records,
        folds=sorted(session.folds),
        seeds=seeds,
        arms={arm.name: arm.title for arm in session.arms},
        budget=asdict(session.trainer.budget),
        generated=origins,
        phantom=any(fold.phantom for fold in session.folds.values()),
        split=next(iter(session.folds.values())).split,
        notes=notes,
        references=references(),
        pictures={"share": "auc_by_share.png"} if drawn else {},
        seconds=round(sum(result.seconds for result in results), 1),
    )
    for table in written:
        print(table.to_text())  # as wide as it has to be: squeezed into 80 characters nobody could read it
    print(output / "benchmark.json")


def _protocol(session: Session) -> str:
    budget, fold = session.trainer.budget, next(iter(session.folds.values()))
    return (
        f"Every arm ends with {budget.steps} optimizer steps of {fold.batch_size} volumes, whatever it trains on; pre-training "
        f"comes on top ({budget.pretraining_steps} steps, the control's included). Weights are selected by the AUC on the fold's "
        "real validation part, also where training saw few or no real patients; the test part is used once."
    )


def note_on_intervals(seeds: int) -> str:
    """What readers must know about intervals and p-values, given the number of seeds per fold."""
    return (
        f"Intervals and p-values allow for {covered(seeds)}. Generators, and the folds' training parts, are the same in every "
        "draw."
    )


def _origins(session: Session) -> dict[str, dict[str, Any]]:
    """By label and fold: the folder, how many volumes, and what is known of the patients behind them."""
    found: dict[str, dict[str, Any]] = {}
    for number, fold in session.folds.items():
        for label, volumes in fold.generated.items():
            found.setdefault(label, {})[str(number)] = {
                "folder": str(volumes.folder.folder),
                "volumes": len(volumes.folder),
                "system": (volumes.folder.manifest or {}).get("system"),
                "method": (volumes.folder.manifest or {}).get("method"),
                "conversions": list(volumes.folder.conversions),
                **asdict(volumes.verdict),
            }
    return found


def notes_on_origins(origins: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """What readers must know about the origin of the volumes, told by label and fold as `Verdict` says it."""
    notes = []
    for label, folds in origins.items():
        trusted = {fold: origin for fold, origin in folds.items() if origin["reason"]}
        if trusted:
            reasons = "; ".join(sorted({origin["reason"] for origin in trusted.values()}))
            notes.append(
                f"LEAKAGE NOT EXCLUDED for {label} (folds {', '.join(trusted)}): {reasons}. The user vouched for it "
                "(--trust_unmanifested)."
            )
        strangers = [
            f"{origin['patients'] - origin['recognised']} of {origin['patients']} in fold {fold}"
            for fold, origin in folds.items()
            if not origin["reason"] and origin["recognised"] < origin["patients"]
        ]
        if strangers:
            notes.append(
                f"{label}: patients that its manifest lists are no training patients of this cohort ({', '.join(strangers)}). "
                "They may be of another cohort; if they are of this one under other names, the check has not compared them."
            )
    return notes
