"""How much of a run's time goes into looking at it: measured, and kept to a share."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Clock = Callable[[], float]

CAUTION = 1.25
"""What an evaluation took counts this much for the next one: the machine may be busier then."""


class Budget:
    """Seconds spent on evaluation against seconds of training.

    Args:
        share: Evaluation may take this share of the training time (which does not contain the evaluation); None: any.
        clock: Seconds since some moment, monotonic.

    Attributes:
        spent: Seconds of evaluation so far, those of the interrupted runs before this one included.
        latest: Seconds of the latest evaluation; None before the first.
    """

    def __init__(self, share: float | None, clock: Clock = time.monotonic) -> None:
        self.share, self.clock = share, clock
        self.spent = 0.0
        self.latest: float | None = None
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

    @contextmanager
    def spending(self, once: bool = False) -> Iterator[None]:
        """Counts what happens inside as evaluation; as one that tells what the next takes, unless it comes but `once`."""
        begin = self.clock()
        try:
            yield
        finally:
            seconds = self.clock() - begin
            self.spent += seconds
            self.latest = self.latest if once else seconds

    def allows(self, progress: float) -> bool:
        """Whether another evaluation fits in now, and leaves time for the last one.

        Args:
            progress: Share of the run that is done, in (0, 1]; 1 where nobody knows the end.
        """
        if self.share is None or self.latest is None:
            return True
        needed = CAUTION * self.latest
        now, whole_run = (self.share * self.trained / done - self.spent for done in (1.0, progress))
        return needed <= now and (progress == 1 or 2 * needed <= whole_run)

    def state_dict(self) -> dict[str, float | None]:
        """Seconds so far."""
        return {"spent": self.spent, "trained": self.trained, "latest": self.latest}

    def load_state_dict(self, state: dict[str, float | None]) -> None:
        """Counts on from there."""
        self.spent = self._spent_before = state["spent"] or 0.0
        self._trained_before, self.latest = state["trained"] or 0.0, state["latest"]
