"""How much a key may ask: a token bucket per key for requests, and a quota of actions per UTC day.

The bucket runs on a clock that only goes forwards; a day is what the wall clock says, and what was spent on
a day stays spent on that day, so a clock that is set back gives nothing back. Actions in flight are
reserved, so that many requests at once cannot overshoot the quota together.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from kinema.serve.keys import Key


class RateLimiter:
    """Of one server process. Not thread-safe: it belongs to the event loop, and never blocks.

    spent:  actions already booked for (key id, time_s) on that time's day, `Usage.spent`
    clock:  seconds, only forwards; wall: seconds since 1970
    """

    def __init__(
        self,
        spent: Callable[[str, float], int],
        *,
        default_rate_hz: float | None = None,
        burst_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None: ...

    def take(self, key: Key, actions: int) -> None:
        """Raises Refusal (rate_limited, quota_exceeded). A chunk counts whole.

        After it returned, call `give_back` once the answer is recorded or has failed.
        """
        raise NotImplementedError

    def give_back(self, key: Key, actions: int) -> None:
        """End the reservation that `take` made. What was really used is in the usage by then."""
        raise NotImplementedError
