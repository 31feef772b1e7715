"""The control loop's clock in a ROS node: the computer's own, or a simulation's, and either can be woken."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Condition


class WakingClock:
    """Sleeps until a time, until `wake`, or, of a clock that stands still, for `patience_s` of real time.

    now_s: a simulation's clock, whose every change is told by `tick`; None for the computer's monotonic one

    The computer's is not ROS's system time, which may be set while a robot moves.
    """

    def __init__(self, now_s: Callable[[], float] | None = None, *, patience_s: float = 0.5) -> None:
        self._simulated = now_s is not None
        self._now_s = now_s or time.monotonic
        self.patience_s = patience_s
        self._change = Condition()
        self._woken = False
        self.asleep = False  # whether the loop waits for a time that has not come
        self._ticked_s = time.monotonic()

    def now_s(self) -> float:
        return self._now_s()

    def sleep_until(self, time_s: float) -> None:
        """Returns early when woken, once, and when a simulation's clock goes back or does not move."""
        with self._change:
            last_s = self._now_s()
            while not self._woken and last_s < time_s:
                self.asleep = True
                told = self._change.wait(self.patience_s if self._simulated else time_s - last_s)
                now_s = self._now_s()
                if now_s < last_s or (self._simulated and not told):
                    break
                last_s = now_s
            self._woken = self.asleep = False

    def tick(self) -> None:
        """The simulation's clock was set."""
        with self._change:
            self._ticked_s = time.monotonic()
            self._change.notify_all()

    def wake(self) -> None:
        """Let the loop take its next step at once."""
        with self._change:
            self._woken = True
            self._change.notify_all()

    @property
    def stands_still(self) -> bool:
        """Whether a simulation's clock has not moved for `patience_s` of real time."""
        return self._simulated and time.monotonic() - self._ticked_s > self.patience_s
