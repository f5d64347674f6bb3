"""``state.json`` of a run: what was started, when it finished, and every attempt at it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import lightning as L

from data_modules.files import write_json
from tumorgen.runs.folder import Run
from tumorgen.runs.signals import Killed


class StateFile(L.Callback):
    """Writes the command, when it was started first, when it finished (null: it has not), and its attempts.

    An attempt without an end is at work, or was killed without notice.

    Args:
        run: Whose folder.
        command: Words that started it, without `--resume`.
    """

    def __init__(self, run: Run, command: Sequence[str]) -> None:
        self.run, self.command = run, list(command)
        self._state: dict[str, Any] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """An attempt begins."""
        now, earlier = _now(), self.run.state
        self._state = {
            "command": self.command,
            "started": earlier.get("started", now),
            "finished": None,
            "attempts": [*earlier.get("attempts", []), {"started": now, "ended": None, "outcome": None}],
        }
        self._write(trainer)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """It came to its end."""
        self._end(trainer, "finished")

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """It did not; the outcome is the name of the signal or of the error."""
        if self._state:
            self._end(trainer, exception.name if isinstance(exception, Killed) else type(exception).__name__)

    def _end(self, trainer: L.Trainer, outcome: str) -> None:
        now = _now()
        self._state["finished"] = now if outcome == "finished" else None
        self._state["attempts"][-1] |= {"ended": now, "outcome": outcome}
        self._write(trainer)

    def _write(self, trainer: L.Trainer) -> None:
        if trainer.is_global_zero:
            write_json(self.run.folder / "state.json", self._state)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
