"""The console: one page without outside resources, and the numbers it asks for every second.

The page itself (`/console`) holds nothing secret. Its numbers (`/console/data`) need a key, which the page
asks for, unless the server lets localhost in without one. A key that is not an admin's sees its own rows.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from kinema.schema import Verdict
from kinema.serve.booking import KeyRow
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
    """One verdict of the gate."""

    age_s: float
    key_id: str
    body: str
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class RefusalRow:
    """One refusal. `key_id` is empty for who was not let in."""

    age_s: float
    route: str
    key_id: str
    key_name: str
    address: str
    code: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class RobotRow:
    """One open websocket. mode: the body's own word; last: what was last said to it, so long ago."""

    key_id: str
    key_name: str
    address: str
    route: str
    body: str
    mode: str
    last: str
    last_age_s: float
    age_s: float


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
    robots: tuple[RobotRow, ...] = ()
    refusals: tuple[RefusalRow, ...] = ()


def console_router(
    snapshot: Callable[[], Awaitable[ConsoleData]], key_of: Callable[[Request], Awaitable[Key]]
) -> APIRouter:
    """`/console` and `/console/data`.

    snapshot: everything, for all keys; rows of others are taken out here for a key that is not an admin's
    key_of:   the request's key, LOCAL where localhost needs none; raises Refusal
    """
    router = APIRouter()

    @router.get("/console", include_in_schema=False)
    async def console() -> HTMLResponse:
        return HTMLResponse(_PAGE, headers=_HEADERS)

    @router.get("/console/data", responses={401: {"description": "no key, or not a known one"}})
    async def console_data(request: Request, response: Response) -> ConsoleData:
        """What the console shows: requests, latency, verdicts, usage and health of the last minutes."""
        key = await key_of(request)
        response.headers["Cache-Control"] = "no-store"
        return seen_by(key, await snapshot())

    return router


def seen_by(key: Key, data: ConsoleData) -> ConsoleData:
    """What this key may see: an admin all, others their own requests, verdicts and usage."""
    if key.admin:
        return data
    rows: dict[str, Any] = {
        name: tuple(row for row in getattr(data, name) if row.key_id == key.id)
        for name in ("requests", "verdicts", "usage", "robots", "refusals")
    }
    allowed = sum(row.verdict.allowed for row in rows["verdicts"])
    return replace(data, **rows, latency=(), allowed=allowed, stopped=len(rows["verdicts"]) - allowed)


def _sources(page: str, tag: str) -> str:
    """The Content-Security-Policy's words for the page's own blocks of this tag, and no others."""
    blocks = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    hashes = (base64.b64encode(hashlib.sha256(block.encode()).digest()).decode() for block in blocks)
    return " ".join(f"'sha256-{value}'" for value in hashes) or "'none'"


def headers_of(page: str) -> dict[str, str]:
    """What keeps a page to itself: its own blocks run, its own server is asked, and nothing else."""
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; script-src {_sources(page, 'script')}; "
            f"style-src {_sources(page, 'style')}; connect-src 'self'; img-src data:; base-uri 'none'; "
            "form-action 'none'; frame-ancestors 'none'"
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": "no-cache",
    }


_PAGE = (files("kinema.serve") / "console.html").read_text(encoding="utf-8")
_HEADERS = headers_of(_PAGE)
