"""The console's numbers, gathered from where they are kept. The database is read every few seconds only."""

from __future__ import annotations

import math
import os
import sys
import time
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from kinema.serve import VERSION
from kinema.serve.connection import ConnectionLimiter
from kinema.serve.console import ConsoleData, Health, KeyRow
from kinema.serve.gateway import Gateway
from kinema.serve.store import StoreError

_USAGE_S = 5.0  # how old the usage on the console may be


class Snapshot:
    """`take` is the console's source."""

    def __init__(self, gateway: Gateway, connections: ConnectionLimiter) -> None:
        self._gateway, self._connections = gateway, connections
        self._began_s, self._read_s = gateway.clock(), -math.inf
        self._usage: tuple[KeyRow, ...] = ()
        self._database_fault = ""

    async def take(self) -> ConsoleData:
        activity = self._gateway.activity
        await self._read_usage()
        return ConsoleData(
            time_s=time.time(),
            health=self._health(),
            requests=activity.requests(),
            latency=activity.latency(),
            verdicts=activity.verdicts(),
            allowed=activity.allowed,
            stopped=activity.stopped,
            usage=self._usage,
            robots=tuple(each.row() for each in self._connections.open),
            refusals=activity.refusals(),
        )

    def _health(self) -> Health:
        gateway, usage, service = self._gateway, self._gateway.usage, self._gateway.service
        refusing, degraded = gateway.troubles()
        if self._database_fault and not degraded:
            degraded.append(self._database_fault)
        return Health(
            state="refusing" if refusing else "degraded" if degraded else "ok",
            reasons=(*refusing, *degraded),
            uptime_s=gateway.clock() - self._began_s,
            version=VERSION,
            models=(gateway.served.name,),
            waiting=service.waiting,
            running=service.answering,
            connections=len(self._connections.open),
            backlog=usage.backlog if usage is not None else 0,
            memory_mb=memory_mb(),
        )

    async def _read_usage(self) -> None:
        usage, now = self._gateway.usage, self._gateway.clock()
        if usage is None or now - self._read_s < _USAGE_S:
            return
        self._read_s = now
        try:
            self._usage, self._database_fault = await run_in_threadpool(usage.today), ""
        except StoreError as error:
            self._database_fault = str(error)


def memory_mb() -> float:
    """What this process holds in memory now; at its largest where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    except (OSError, ValueError):
        import resource

        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return largest / (2**20 if sys.platform == "darwin" else 2**10)
