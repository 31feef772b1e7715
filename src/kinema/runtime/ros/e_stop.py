"""An emergency stop in software: once pressed it stays so until somebody releases it.

It is no substitute for one that takes the power away.
"""

from __future__ import annotations

from threading import Lock


class EStop:
    """Times are of a clock that nobody sets.

    within_s: how often its topic must speak, so that silence is a stop; None where it need not
    """

    def __init__(self, within_s: float | None, now_s: float) -> None:
        self._within_s, self._heard_s = within_s, now_s
        self._lock = Lock()
        self._said = False  # what the topic said last
        self._pressed = ""

    def hear(self, stop: bool, now_s: float) -> None:
        """A message of the topic."""
        with self._lock:
            self._heard_s, self._said = now_s, stop
            if stop:
                self._pressed = self._pressed or "the emergency stop's topic says stop"

    def press(self, why: str) -> None:
        with self._lock:
            self._pressed = self._pressed or why

    def release(self, now_s: float) -> str:
        """A person says that the body may move again; why it may not, "" when it may."""
        with self._lock:
            if self._said:
                return "the emergency stop's topic still says stop"
            if silent := self._silent(now_s):
                return silent
            self._pressed = ""
            return ""

    def why(self, now_s: float) -> str:
        """Why the body may not move, "" when it may."""
        with self._lock:
            self._pressed = self._pressed or self._silent(now_s)
            return self._pressed

    def _silent(self, now_s: float) -> str:
        if self._within_s is None or now_s - self._heard_s <= self._within_s:
            return ""
        return f"the emergency stop's topic was silent for more than {self._within_s:g} s"
