"""The share of a run's time that evaluation may take, on a clock that a test turns by hand."""

import pytest

from tumorgen.evaluation.budget import CAUTION, Budget


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
    assert budget.kept
    with budget.spending():
        clock.now += 1
    assert not budget.kept
    assert Budget(None, clock).kept


def test_what_fits_now_and_leaves_enough_for_the_end(clock: HandClock) -> None:
    budget = Budget(0.1, clock)
    budget.start()
    clock.now += 100  # of 400: 10 s now, 40 s in the end
    assert budget.available(1.0) == pytest.approx(10)
    assert budget.available(0.25) == pytest.approx(40)
    just = 10 / CAUTION
    assert budget.allows(just - 0.01, 0.25)
    assert not budget.allows(just + 0.01, 0.25)
    assert budget.allows(just - 0.01, 0.25, reserve=40 / CAUTION - just)
    assert not budget.allows(just - 0.01, 0.25, reserve=40 / CAUTION - just + 0.02)
    assert Budget(None, clock).allows(1e9)


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


def test_a_resumed_run_counts_on(clock: HandClock) -> None:
    first, again = Budget(0.1, clock), Budget(0.1, clock)
    first.start()
    clock.now += 50
    with first.spending():
        clock.now += 4
    again.load_state_dict(first.state_dict())
    clock.now += 1000  # the machine was off
    assert (again.spent, again.trained) == (4, 50)
    again.start()
    clock.now += 10
    with again.spending():
        clock.now += 1
    assert (again.spent, again.trained) == (5, 60)
    assert again.state_dict() == {"spent": 5, "trained": 60}
