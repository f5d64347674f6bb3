"""What the table says below its figures."""

from dataclasses import asdict

import pytest

from data_modules.origin import Verdict
from tumorgen.benchmark.report import note_on_intervals, notes_on_origins


def notes(*origins: Verdict) -> list[str]:
    return notes_on_origins({"mine": {str(fold): asdict(origin) for fold, origin in enumerate(origins)}})


def test_volumes_whose_patients_are_all_recognised_need_no_note() -> None:
    assert notes(Verdict("", 5, 5), Verdict("", 4, 4)) == []


@pytest.mark.parametrize("recognised", [0, 3, 4])
def test_patients_that_the_cohort_does_not_know_are_counted(recognised: int) -> None:
    """One of them may be a test patient under another name, however many others were recognised."""
    (said,) = notes(Verdict("", 5, recognised), Verdict("", 4, 4))
    assert f"({5 - recognised} of 5 in fold 0)" in said
    assert "has not compared them" in said


def test_trusted_volumes_are_marked() -> None:
    (said,) = notes(Verdict("", 5, 5), Verdict("there is no manifest.json", 0, 0))
    assert said.startswith("LEAKAGE NOT EXCLUDED for mine (folds 1): there is no manifest.json.")


def test_the_table_says_how_much_its_intervals_allow_for() -> None:
    assert "given the one network" in note_on_intervals(1)
    assert "3 training seeds within folds; so few seeds understate" in note_on_intervals(3)
    assert "understate" not in note_on_intervals(5)
