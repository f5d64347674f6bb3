"""The share of a run's time that evaluation may take, on a clock that a test turns by hand."""

import pytest

from tumorgen.evaluation.budget import Budget


class HandClock:
    """Stands still until it is turned."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def test_time_is_either_training_or_evaluation(clock: HandClock) -> None:
    budget = Budget(0.1, clock)
    budget.start()
    clock.now += 40
    with budget.spending():
        clock.now += 6
    clock.now += 20
    assert budget.spent == 6
    assert budget.trained == 60
    assert budget.overhead == pytest.approx(0.1)


def test_the_first_is_always_allowed_and_tells_what_the_next_takes(clock: HandClock) -> None:
    budget = Budget(0.1, clock)
    budget.start()
    assert budget.allows(0.01)
    with budget.spending(once=True):
        clock.now += 1000
    assert budget.latest is None
    assert budget.allows(0.01)


@pytest.mark.parametrize(
    ("trained", "progress", "allowed"), [(89, 1.0, False), (91, 1.0, True), (91, 0.7, False), (91, 0.6, True)]
)
def test_one_is_held_back_for_the_end(clock: HandClock, trained: float, progress: float, allowed: bool) -> None:
    """An evaluation of 4 s counts as 5: with 4 s spent it needs 90 s of training, and 140 s in all for another at the end."""
    budget = Budget(0.1, clock)
    budget.start()
    with budget.spending():
        clock.now += 4
    clock.now += trained
    assert budget.allows(progress) == allowed


def test_work_that_fails_was_paid_for_as_well(clock: HandClock) -> None:
    budget = Budget(0.1, clock)
    budget.start()

    def fail() -> None:
        with budget.spending():
            clock.now += 3
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert budget.spent == 3
    assert Budget(None, clock).allows(0.1)


def test_a_resumed_run_counts_on(clock: HandClock) -> None:
    first, again = Budget(0.1, clock), Budget(0.1, clock)
    first.start()
    clock.now += 50
    with first.spending():
        clock.now += 4
    again.load_state_dict(first.state_dict())
    assert again.latest == 4
    clock.now += 1000  # the machine was off
    assert (again.spent, again.trained) == (4, 50)
    again.start()
    clock.now += 10
    with again.spending():
        clock.now += 1
    assert (again.spent, again.trained) == (5, 60)
    assert again.state_dict() == {"spent": 5, "trained": 60, "latest": 1}
