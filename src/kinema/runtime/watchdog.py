"""How long a body may go without a fresh action: it holds for a while, then it is stopped for good."""

from __future__ import annotations

from enum import StrEnum

from kinema.card.card import EmbodimentCard


class Mode(StrEnum):
    WAITING = "waiting"  # nothing was played yet: the body has not moved
    RUNNING = "running"
    HOLDING = "holding"
    STOPPED = "stopped"  # until `reset`


class Watchdog:
    """Counts the time since the last fresh action against the card's `hold.stop_after_s`.

    Time that runs backwards counts for nothing: a clock that is set back gives no second chance.
    """

    def __init__(self, card: EmbodimentCard) -> None:
        self.stop_after_s = card.hold.stop_after_s
        self.reset()

    def reset(self) -> None:
        """A person says that the body may move again."""
        self.mode = Mode.WAITING
        self._held_s = 0.0
        self._last_s: float | None = None

    def see(self, now_s: float, *, fresh: bool) -> Mode:
        """Once a control step: was a fresh action played? Returns what the body does now."""
        if self._last_s is not None and self.mode != Mode.WAITING:
            self._held_s += max(now_s - self._last_s, 0.0)
        self._last_s = now_s
        if self.mode == Mode.STOPPED:
            return self.mode
        if self.mode != Mode.WAITING and self._held_s >= self.stop_after_s - 1e-9:
            self.mode = Mode.STOPPED
        elif fresh:
            self.mode, self._held_s = Mode.RUNNING, 0.0
        elif self.mode != Mode.WAITING:
            self.mode = Mode.HOLDING
        return self.mode
