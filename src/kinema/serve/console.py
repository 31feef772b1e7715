"""The console: one page without outside resources, and the numbers it asks for every second.

The page itself (`/console`) holds nothing secret. Its numbers (`/console/data`) need a key, which the page
asks for, unless the server lets localhost in without one. A key that is not an admin's sees its own rows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from fastapi import APIRouter, Request

from kinema.serve.keys import Key


@dataclass(frozen=True, kw_only=True)
class LiveRequest:
    """One request under way or just finished. `state` is what became of it."""

    id: str
    key_id: str
    key_name: str
    model: str
    body: str
    route: str
    state: Literal["waiting", "running", "done", "refused", "failed"]
    age_s: float
    took_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class LatencyPoint:
    """One second of the recent past; the quantiles are None where nothing was answered."""

    age_s: float
    answers: int
    refusals: int
    p50_ms: float | None = None
    p95_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class VerdictRow:
    """One verdict of the gate. `risk` is by hazard, in [0, 1]."""

    age_s: float
    key_id: str
    body: str
    allowed: bool
    risk: Mapping[str, float] = field(default_factory=dict)
    limit: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class KeyRow:
    """What a key used today. `quota_per_day` is None where there is no end."""

    key_id: str
    name: str
    requests: int
    actions: int
    milliseconds: float
    cost: str
    currency: str
    quota_per_day: int | None = None


@dataclass(frozen=True, kw_only=True)
class Health:
    """`reasons` says why the state is not ok, in sentences."""

    state: Literal["ok", "degraded", "refusing"]
    reasons: tuple[str, ...]
    uptime_s: float
    version: str
    models: tuple[str, ...]
    waiting: int
    running: int
    connections: int
    backlog: int
    memory_mb: float


@dataclass(frozen=True, kw_only=True)
class ConsoleData:
    """All that the page shows. Requests and verdicts newest first, latency oldest first."""

    time_s: float
    health: Health
    requests: tuple[LiveRequest, ...] = ()
    latency: tuple[LatencyPoint, ...] = ()
    verdicts: tuple[VerdictRow, ...] = ()
    allowed: int = 0
    stopped: int = 0
    usage: tuple[KeyRow, ...] = ()


def console_router(
    snapshot: Callable[[], Awaitable[ConsoleData]],
    authorise: Callable[[Request], Awaitable[Key | None]],
) -> APIRouter:
    """`/console` and `/console/data`.

    snapshot:  everything, for all keys; rows of others are taken out here for a key that is not an admin's
    authorise: the request's key (LOCAL where localhost needs none), or None, which answers 401
    """
    raise NotImplementedError
