"""How long a body may go without a fresh action, or unseen: it holds for a while, then it is stopped."""

from __future__ import annotations

import math
from enum import StrEnum

from kinema.card.card import EmbodimentCard

_ROUNDING_S = 1e-9


class Mode(StrEnum):
    WAITING = "waiting"  # nothing was played yet: the body has not moved
    RUNNING = "running"
    HOLDING = "holding"
    STOPPED = "stopped"  # until `reset`


class Watchdog:
    """Counts the time since the last fresh action against the card's `hold.stop_after_s`.

    A body that nobody sees (its sensors fail) is counted too, also while it waits for its first action.
    Time that runs backwards counts for nothing: a clock that is set back gives no second chance. Each step
    of a clock that does not work counts as a control period.
    """

    def __init__(self, card: EmbodimentCard) -> None:
        self.stop_after_s = card.hold.stop_after_s
        self._period_s = 1.0 / card.control_hz
        self.reset()

    def reset(self) -> None:
        """A person says that the body may move again."""
        self.mode = Mode.WAITING
        self._held_s = self._unseen_s = 0.0
        self._last_s: float | None = None

    def overdue(self, now_s: float) -> bool:
        """Whether `see` would stop the body now, whatever is played."""
        held_s = self._held_s + self._elapsed_s(now_s) if self.mode != Mode.WAITING else 0.0
        return self.mode == Mode.STOPPED or held_s >= self.stop_after_s - _ROUNDING_S

    def see(self, now_s: float, *, fresh: bool, seen: bool = True) -> Mode:
        """Once a control step: was a fresh action played, was the body seen? What the body does now."""
        elapsed_s = self._elapsed_s(now_s)
        if self.mode != Mode.WAITING:
            self._held_s += elapsed_s
        self._unseen_s = 0.0 if seen else self._unseen_s + elapsed_s
        self._last_s = now_s if math.isfinite(now_s) else self._last_s
        if self.mode == Mode.STOPPED:
            return self.mode
        if max(self._held_s, self._unseen_s) >= self.stop_after_s - _ROUNDING_S:
            self.mode = Mode.STOPPED
        elif fresh:
            self.mode, self._held_s = Mode.RUNNING, 0.0
        elif self.mode != Mode.WAITING:
            self.mode = Mode.HOLDING
        return self.mode

    def _elapsed_s(self, now_s: float) -> float:
        if not math.isfinite(now_s):
            return self._period_s
        return 0.0 if self._last_s is None else max(now_s - self._last_s, 0.0)
