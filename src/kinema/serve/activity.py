"""The last minutes of a server, kept small in memory for the console: requests, latency, verdicts.

All of it belongs to the event loop; nothing here blocks.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kinema.schema import Verdict
from kinema.serve.console import LatencyPoint, LiveRequest, RefusalRow, VerdictRow
from kinema.serve.keys import Key
from kinema.serve.refusal import Refusal
from kinema.serve.service import Answer

_REQUESTS, _VERDICTS, _SECONDS, _SAMPLES = 100, 100, 120, 512

State = Literal["waiting", "done", "refused", "failed"]


@dataclass(eq=False)
class Entry:
    """One request, from when it came in."""

    id: str
    key: Key
    body: str
    route: str
    began_s: float
    state: State = "waiting"
    took_ms: float | None = None


@dataclass(eq=False)
class _Second:
    second: int
    answers: int
    refusals: int
    took_ms: list[float]


class Activity:
    """What happened lately. `model` names what is served in the rows of the console."""

    def __init__(self, model: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._model, self._clock = model, clock
        self._numbers = itertools.count(1)
        self._open: dict[str, Entry] = {}
        self._done: deque[Entry] = deque(maxlen=_REQUESTS)
        self._seconds: deque[_Second] = deque(maxlen=_SECONDS)
        self._verdicts: deque[tuple[float, Key, str, Verdict]] = deque(maxlen=_VERDICTS)
        # As text: an exception keeps its frames alive, and with them the message that was refused.
        self._refusals: deque[tuple[float, str, str, str, Key, str]] = deque(maxlen=_REQUESTS)
        self.allowed = self.stopped = 0

    def begin(self, key: Key, body: str, route: str) -> Entry:
        entry = Entry(str(next(self._numbers)), key, body, route, self._clock())
        self._open[entry.id] = entry
        return entry

    def end(self, entry: Entry, result: Answer | Refusal | None) -> None:
        """`None`: the client went away before there was an answer."""
        now = self._clock()
        self._open.pop(entry.id, None)
        entry.took_ms = 1e3 * (now - entry.began_s)
        second = self._second(int(now))
        if isinstance(result, Answer):
            entry.state = "done"
            second.answers += 1
            if len(second.took_ms) < _SAMPLES:
                second.took_ms.append(entry.took_ms)
            self._note_verdict(now, entry, result.chunk.verdict)
        else:
            entry.state = "refused" if isinstance(result, Refusal) and result.status < 500 else "failed"
            if isinstance(result, Refusal) and result.status == 503:
                entry.state = "refused"
            second.refusals += 1
        self._done.append(entry)

    def refused(self, route: str, refusal: Refusal, key: Key, address: str) -> None:
        """Any refusal, those before a question was read and those of strangers included."""
        self._refusals.append((self._clock(), route, refusal.code, str(refusal)[:300], key, address))

    def refusals(self) -> tuple[RefusalRow, ...]:
        """Newest first."""
        now = self._clock()
        return tuple(
            RefusalRow(
                age_s=now - when,
                route=route,
                key_id=key.id,
                key_name=key.name,
                address=address,
                code=code,
                reason=reason,
            )
            for when, route, code, reason, key, address in reversed(self._refusals)
        )

    @property
    def under_way(self) -> int:
        return len(self._open)

    def requests(self) -> tuple[LiveRequest, ...]:
        """Newest first: those under way, then those that ended."""
        now = self._clock()
        newest = [*reversed(self._open.values()), *reversed(self._done)][:_REQUESTS]
        return tuple(
            LiveRequest(
                id=entry.id,
                key_id=entry.key.id,
                key_name=entry.key.name,
                model=self._model,
                body=entry.body,
                route=entry.route,
                state=entry.state,
                age_s=now - entry.began_s,
                took_ms=entry.took_ms,
            )
            for entry in newest
        )

    def latency(self) -> tuple[LatencyPoint, ...]:
        """One point for each second in which something ended, oldest first."""
        now = self._clock()
        return tuple(
            LatencyPoint(
                age_s=now - second.second,
                answers=second.answers,
                refusals=second.refusals,
                p50_ms=float(np.quantile(second.took_ms, 0.5)) if second.took_ms else None,
                p95_ms=float(np.quantile(second.took_ms, 0.95)) if second.took_ms else None,
            )
            for second in self._seconds
            if now - second.second <= _SECONDS
        )

    def verdicts(self) -> tuple[VerdictRow, ...]:
        """Newest first."""
        now = self._clock()
        return tuple(
            VerdictRow(
                age_s=now - when,
                key_id=key.id,
                body=body,
                allowed=verdict.allowed,
                risk=dict(verdict.risk),
                limit=dict(verdict.limit),
                reason=verdict.reason,
            )
            for when, key, body, verdict in reversed(self._verdicts)
        )

    def _second(self, second: int) -> _Second:
        if not self._seconds or self._seconds[-1].second != second:
            self._seconds.append(_Second(second, 0, 0, []))
        return self._seconds[-1]

    def _note_verdict(self, now: float, entry: Entry, verdict: Verdict | None) -> None:
        if verdict is None:
            return
        self._verdicts.append((now, entry.key, entry.body, verdict))
        if verdict.allowed:
            self.allowed += 1
        else:
            self.stopped += 1
