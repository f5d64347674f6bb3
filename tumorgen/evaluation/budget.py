"""How much of a run's time may go into looking at it: measured, predicted, kept."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Clock = Callable[[], float]

CAUTION = 1.25
"""What is predicted counts this much: the machine may be busier next time."""


class Budget:
    """Seconds spent on evaluation against seconds of training.

    Args:
        share: Evaluation may take this share of the training time (which does not contain the evaluation); None: any.
        clock: Seconds since some moment, monotonic.

    Attributes:
        spent: Seconds of evaluation so far, those of the interrupted runs before this one included.
    """

    def __init__(self, share: float | None, clock: Clock = time.monotonic) -> None:
        self.share, self.clock = share, clock
        self.spent = 0.0
        self._trained_before = 0.0
        self._spent_before = 0.0
        self._begin: float | None = None

    def start(self) -> None:
        """Training begins, or goes on."""
        self._begin = self.clock()

    @property
    def trained(self) -> float:
        """Seconds of training so far, without the evaluations."""
        since = 0.0 if self._begin is None else self.clock() - self._begin
        return self._trained_before + since - (self.spent - self._spent_before)

    @property
    def overhead(self) -> float:
        """Evaluation as a share of the training time."""
        trained = self.trained
        return self.spent / trained if trained > 0 else 0.0

    @property
    def kept(self) -> bool:
        """Whether evaluation has taken no more than its share."""
        return self.share is None or self.overhead <= self.share

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Counts what happens inside as evaluation."""
        begin = self.clock()
        try:
            yield
        finally:
            self.spent += self.clock() - begin

    def available(self, progress: float) -> float:
        """Seconds left for evaluation when the training time so far is `progress` (in (0, 1]) of all that counts."""
        if self.share is None:
            return float("inf")
        return self.share * self.trained / progress - self.spent

    def allows(self, seconds: float, progress: float = 1.0, reserve: float = 0.0) -> bool:
        """Whether work of `seconds` fits in now, and leaves `reserve` for the end of the run.

        Args:
            seconds: Predicted.
            progress: Share of the run that is done.
            reserve: Seconds that the last evaluation is going to need; 0 when this is the last one.
        """
        now, whole_run = self.available(1.0), self.available(progress)
        return CAUTION * seconds <= now and CAUTION * (seconds + reserve) <= whole_run

    def state_dict(self) -> dict[str, float]:
        """Seconds so far."""
        return {"spent": self.spent, "trained": self.trained}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Counts on from there."""
        self.spent = self._spent_before = state["spent"]
        self._trained_before = state["trained"]
