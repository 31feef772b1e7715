"""How much a key may ask: a token bucket per key for requests, and a quota of actions per UTC day.

The bucket runs on a clock that only goes forwards; a day is what the wall clock says, and what was spent on
a day stays spent on that day, so a clock that is set back gives nothing back. Actions in flight are
reserved, so that many requests at once cannot overshoot the quota together.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from kinema.schema import KinemaError
from kinema.serve.keys import LOCAL, Key
from kinema.serve.refusal import Refusal

DAY_S = 86_400.0


class TokenBucket:
    """A rate with a burst: `take` says how many seconds are missing, 0 when it may pass.

    Its clock may go back and forth: that gives nothing.
    """

    def __init__(self, hz: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.hz, self._burst, self._clock = hz, burst, clock
        self._tokens, self._filled_s = burst, clock()

    def take(self, cost: float = 1.0) -> float:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._filled_s) * self.hz)
        self._filled_s = max(now, self._filled_s)
        cost = min(cost, self._burst)
        if self._tokens < cost - 1e-9:  # a wait of exactly what is told must be enough
            return (cost - self._tokens) / self.hz
        self._tokens -= cost
        return 0.0


@dataclass(kw_only=True, eq=False)
class RateLimiter:
    """Of one server process. Not thread-safe: it belongs to the event loop, and never blocks.

    spent:           actions already booked for (key id, time_s) on that time's day: `Usage.spent`
    default_rate_hz: for keys without a rate of their own; None for no limit. Who needs no key has none
    burst_s:         how long a silent key saves up what it may ask at once; one request is always allowed
    clock, wall:     seconds; the first only goes forwards, the second counts from 1970
    """

    spent: Callable[[str, float], int] = field(kw_only=False)
    default_rate_hz: float | None = None
    burst_s: float = 2.0
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    _buckets: dict[tuple[str, float], TokenBucket] = field(default_factory=dict)
    _in_flight: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        if (self.default_rate_hz is not None and self.default_rate_hz <= 0) or self.burst_s <= 0:
            raise KinemaError(f"rate {self.default_rate_hz} Hz and burst {self.burst_s} s must be above 0")

    def take(self, key: Key, actions: int) -> None:
        """Raises Refusal (rate_limited) with the time to come back. A chunk counts whole.

        After it returned, call `give_back` once the answer is recorded or has failed.
        """
        self._check_quota(key, actions)
        self._take_token(key)
        self._in_flight[key.id] += actions

    def give_back(self, key: Key, actions: int) -> None:
        """End the reservation that `take` made. What was really used is in the usage by then."""
        self._in_flight -= Counter({key.id: actions})  # which keeps no zeros

    def _take_token(self, key: Key) -> None:
        rate_hz = key.rate_hz if key.rate_hz is not None else self.default_rate_hz
        if rate_hz is None or key.id == LOCAL.id:
            return
        at = key.id, rate_hz
        bucket = self._buckets.get(at) or TokenBucket(rate_hz, max(1.0, rate_hz * self.burst_s), self.clock)
        if wait_s := self._buckets.setdefault(at, bucket).take():
            raise Refusal(
                "rate_limited", f"key {key.name!r} may ask {rate_hz:g} times a second", retry_after_s=wait_s
            )

    def _check_quota(self, key: Key, actions: int) -> None:
        if key.quota_per_day is None:
            return
        now_s = self.wall()
        used = self.spent(key.id, now_s) + self._in_flight[key.id]
        if used + actions > key.quota_per_day:
            raise Refusal(
                "rate_limited",
                f"key {key.name!r} may use {key.quota_per_day} actions a day; {used} are used and the answer "
                f"would have {actions}",
                retry_after_s=DAY_S - now_s % DAY_S,
            )
