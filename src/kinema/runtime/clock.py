"""Time is handed in: the same loop runs on a real clock, on a simulated one and in tests."""

from __future__ import annotations

import time
from typing import Protocol

from kinema.schema import KinemaError


class Clock(Protocol):
    """Seconds since some beginning that never changes while the clock lives."""

    def now_s(self) -> float: ...

    def sleep_until(self, time_s: float) -> None:
        """Return when `now_s()` has reached `time_s`; at once when it has passed already."""
        ...


class RealClock:
    """The computer's monotonic clock, from 0 at construction: nobody can set it back."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def now_s(self) -> float:
        return time.monotonic() - self._began

    def sleep_until(self, time_s: float) -> None:
        while (left_s := time_s - self.now_s()) > 0:
            time.sleep(left_s)


class SimulatedClock:
    """Stands still until it is told to go on. `jump` moves it either way, as a broken clock does."""

    def __init__(self, now_s: float = 0.0) -> None:
        self._now_s = now_s

    def now_s(self) -> float:
        return self._now_s

    def sleep_until(self, time_s: float) -> None:
        self._now_s = max(self._now_s, time_s)

    def jump(self, by_s: float) -> None:
        if by_s != by_s:
            raise KinemaError("a clock cannot jump by NaN seconds")
        self._now_s += by_s
