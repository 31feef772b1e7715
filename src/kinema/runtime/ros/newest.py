"""The newest message of a topic, as long as it is true: fresh, in order, and of this clock.

Stamps and `now_s` are seconds of one clock, which may be set. When it goes back, what was received is
forgotten: what a simulation said before it began anew is not newer than what it says then.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from threading import RLock
from typing import Generic, TypeVar

from kinema.runtime.robot import ReadingError

AHEAD_S = 0.1  # how far a stamp may lie before this computer's clock
BACK_S = 0.05  # a clock that goes back by more was set
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Stamped(Generic[T]):
    """A message, when it says that it was taken, and when it came."""

    stamp_s: float
    came_s: float
    value: T


class Newest(Generic[T]):
    """One topic's. `put` and `get` may be called by two threads.

    stale_after_s: how old it may be when it is used
    keep_s:        how far back earlier messages are kept for `before`, one in `apart_s`
    """

    def __init__(
        self, topic: str, stale_after_s: float, *, keep_s: float = 0.0, apart_s: float = 0.1
    ) -> None:
        self.topic, self._stale_after_s = topic, stale_after_s
        self._keep_s, self._apart_s = keep_s, apart_s
        self._lock = RLock()
        self.received = self.out_of_order = self.ahead = 0
        self._now_s = float("-inf")
        self.forget()

    def forget(self) -> None:
        """Nothing was received yet."""
        with self._lock:
            self._newest: Stamped[T] | None = None
            self._ahead_s = 0.0
            self._earlier: deque[Stamped[T]] = deque()

    def put(self, stamp_s: float, now_s: float, value: T) -> bool:
        """A message came at `now_s`; whether it is the newest now.

        A stamp of 0 says nothing: it counts as `now_s`.
        """
        with self._lock:
            self._see(now_s)
            self.received += 1
            stamp_s = stamp_s or now_s
            if stamp_s > now_s + AHEAD_S:
                self.ahead, self._ahead_s = self.ahead + 1, stamp_s - now_s
                return False
            if self._newest is not None and stamp_s <= self._newest.stamp_s:
                self.out_of_order += 1
                return False
            self._newest, self._ahead_s = Stamped(stamp_s=stamp_s, came_s=now_s, value=value), 0.0
            if self._keep_s:
                self._keep(self._newest)
            return True

    def get(self, now_s: float) -> Stamped[T]:
        """The newest message. Raises ReadingError, which says why, when there is none that may be used."""
        with self._lock:
            self._see(now_s)
            if self._newest is None or self.age_s(now_s) > self._stale_after_s:
                raise ReadingError(self._why(now_s))
            return self._newest

    def before(self, stamp_s: float) -> Stamped[T] | None:
        """The newest of the kept messages that is not younger than this; the oldest where all are."""
        with self._lock:
            old = [message for message in self._earlier if message.stamp_s <= stamp_s + 1e-6]
            return old[-1] if old else self._earlier[0] if self._earlier else None

    def age_s(self, now_s: float) -> float:
        """How old the newest message is; infinite where there is none."""
        return float("inf") if self._newest is None else now_s - self._newest.stamp_s

    def _see(self, now_s: float) -> None:
        if now_s < self._now_s - BACK_S:
            self.forget()
        self._now_s = now_s

    def _keep(self, message: Stamped[T]) -> None:
        if not self._earlier or message.stamp_s - self._earlier[-1].stamp_s >= self._apart_s - 1e-6:
            self._earlier.append(message)
        while len(self._earlier) > 1 and self._earlier[1].stamp_s <= message.stamp_s - self._keep_s:
            self._earlier.popleft()

    def _why(self, now_s: float) -> str:
        if self._ahead_s:
            return (
                f"{self.topic} is stamped {self._ahead_s:.3g} s ahead of this computer's clock; "
                "set both by the same time"
            )
        if self._newest is None:
            return f"nothing came on {self.topic} yet"
        return (
            f"the newest on {self.topic} is {self.age_s(now_s):.3g} s old, more than "
            f"{self._stale_after_s:g} s"
        )
