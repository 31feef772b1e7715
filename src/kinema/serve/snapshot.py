"""The console's numbers, gathered from where they are kept. The database is read every few seconds only."""

from __future__ import annotations

import math
import os
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from kinema.serve import VERSION
from kinema.serve.booking import DayUsage, day_of
from kinema.serve.connection import ConnectionLimiter
from kinema.serve.console import ConsoleData, Health, KeyRow
from kinema.serve.gateway import Gateway
from kinema.serve.keys import Keys
from kinema.serve.store import StoreError

_USAGE_S = 5.0  # how old the usage on the console may be


class Snapshot:
    """`take` is the console's source. `keys` is None where the server keeps no accounts."""

    def __init__(self, gateway: Gateway, connections: ConnectionLimiter, keys: Keys | None) -> None:
        self._gateway, self._connections, self._keys = gateway, connections, keys
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
            robots=tuple(
                each.row() for each in sorted(self._connections.open, key=lambda each: each.began_s)
            ),
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
        now = self._gateway.clock()
        if now - self._read_s < _USAGE_S:
            return
        self._read_s = now
        try:
            self._usage, self._database_fault = await run_in_threadpool(self._rows), ""
        except StoreError as error:
            self._database_fault = str(error)

    def _rows(self) -> tuple[KeyRow, ...]:
        """Of today."""
        usage, keys = self._gateway.usage, self._keys
        if usage is None or keys is None:
            return ()
        quotas = {key.id: key.quota_per_day for key in keys.list()}
        return rows_of_keys(usage.report(None, day_of(time.time())), quotas)


def rows_of_keys(rows: Sequence[DayUsage], quotas: dict[str, int | None]) -> tuple[KeyRow, ...]:
    """Rows per key, model and body summed per key and currency; the largest first."""
    of_key: dict[tuple[str, str], list[DayUsage]] = defaultdict(list)
    for row in rows:
        of_key[row.key_id, row.currency].append(row)
    summed = [
        KeyRow(
            key_id=key_id,
            name=mine[0].key_name,
            requests=sum(row.requests for row in mine),
            actions=sum(row.actions for row in mine),
            milliseconds=sum(row.milliseconds for row in mine),
            cost=f"{sum((Decimal(row.cost) for row in mine), Decimal(0)):f}",
            currency=currency,
            quota_per_day=quotas.get(key_id),
        )
        for (key_id, currency), mine in of_key.items()
    ]
    return tuple(sorted(summed, key=lambda row: -row.actions))


def memory_mb() -> float:
    """What this process holds in memory now; at its largest where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    except (OSError, ValueError):
        import resource

        largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return largest / (2**20 if sys.platform == "darwin" else 2**10)
