"""The last minutes of a server, kept small in memory for the console: requests, latency, verdicts.

All of it belongs to the event loop; nothing here blocks.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from kinema.schema import Verdict
from kinema.serve.console import LatencyPoint, LiveRequest, RefusalRow, VerdictRow
from kinema.serve.keys import Key
from kinema.serve.refusal import Refusal
from kinema.serve.service import Answer

_REQUESTS, _VERDICTS, _SECONDS, _SAMPLES = 100, 100, 120, 512


@dataclass(eq=False)
class _Second:
    second: int
    answers: int = 0
    refusals: int = 0
    took_ms: list[float] = field(default_factory=list)

    def point(self, now_s: float) -> LatencyPoint:
        p50_ms, p95_ms = np.quantile(self.took_ms, (0.5, 0.95)).tolist() if self.took_ms else (None, None)
        age_s = now_s - self.second
        return LatencyPoint(
            age_s=age_s, answers=self.answers, refusals=self.refusals, p50_ms=p50_ms, p95_ms=p95_ms
        )


class Activity:
    """What happened lately. `model` names what is served in the rows of the console."""

    def __init__(self, model: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._model, self._clock = model, clock
        self._numbers = itertools.count(1)
        self.open: dict[str, tuple[float, LiveRequest]] = {}  # by id, and from when
        self._done: deque[tuple[float, LiveRequest]] = deque(maxlen=_REQUESTS)
        self._seconds: deque[_Second] = deque(maxlen=_SECONDS)
        self._verdicts: deque[tuple[float, VerdictRow]] = deque(maxlen=_VERDICTS)
        # As text: an exception keeps its frames alive, and with them the message that was refused.
        self._refusals: deque[tuple[float, RefusalRow]] = deque(maxlen=_REQUESTS)
        self.allowed = self.stopped = 0

    def begin(self, key: Key, body: str, route: str) -> str:
        """The request's id."""
        row = LiveRequest(
            id=str(next(self._numbers)), key_id=key.id, key_name=key.name, model=self._model, body=body,
            route=route, state="waiting", age_s=0.0,
        )  # fmt: skip
        self.open[row.id] = self._clock(), row
        return row.id

    def end(self, id_: str, result: Answer | Refusal | None) -> None:
        """`None`: the client went away before there was an answer."""
        now = self._clock()
        began_s, row = self.open.pop(id_)
        took_ms, second = 1e3 * (now - began_s), self._second(int(now))
        state: Literal["done", "refused", "failed"] = "failed"
        if isinstance(result, Answer):
            state = "done"
            second.answers += 1
            if len(second.took_ms) < _SAMPLES:
                second.took_ms.append(took_ms)
            if result.chunk.verdict is not None:
                self._judged(now, row, result.chunk.verdict)
        else:
            second.refusals += 1
            if isinstance(result, Refusal) and (result.status < 500 or result.status == 503):
                state = "refused"
        self._done.append((began_s, replace(row, state=state, took_ms=took_ms)))

    def refused(self, route: str, refusal: Refusal, key: Key, address: str) -> None:
        """Any refusal, those before a question was read and those of strangers included."""
        row = RefusalRow(
            age_s=0.0, route=route, key_id=key.id, key_name=key.name, address=address, code=refusal.code,
            reason=str(refusal)[:300],
        )  # fmt: skip
        self._refusals.append((self._clock(), row))

    def requests(self) -> tuple[LiveRequest, ...]:
        """Newest first: those under way, then those that ended."""
        return self._aged([*reversed(self.open.values()), *reversed(self._done)][:_REQUESTS])

    def refusals(self) -> tuple[RefusalRow, ...]:
        """Newest first."""
        return self._aged(reversed(self._refusals))

    def verdicts(self) -> tuple[VerdictRow, ...]:
        """Newest first."""
        return self._aged(reversed(self._verdicts))

    def latency(self) -> tuple[LatencyPoint, ...]:
        """One point for each second in which something ended, oldest first."""
        now = self._clock()
        return tuple(second.point(now) for second in self._seconds if now - second.second <= _SECONDS)

    def _aged(self, rows: Iterable[tuple[float, Any]]) -> tuple[Any, ...]:
        now = self._clock()
        return tuple(replace(row, age_s=now - when_s) for when_s, row in rows)

    def _second(self, second: int) -> _Second:
        if not self._seconds or self._seconds[-1].second != second:
            self._seconds.append(_Second(second))
        return self._seconds[-1]

    def _judged(self, now: float, row: LiveRequest, verdict: Verdict) -> None:
        self._verdicts.append((now, VerdictRow(age_s=0.0, key_id=row.key_id, body=row.body, verdict=verdict)))
        self.allowed += verdict.allowed
        self.stopped += not verdict.allowed
