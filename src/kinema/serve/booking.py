"""Usage in the database: a batch of rows is booked once, and days are summed up as it is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from msgspec.structs import asdict
from sqlalchemy import Connection, case, delete, func, insert, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from kinema.schema import KinemaError
from kinema.serve.keys import LOCAL
from kinema.serve.outbox import Row
from kinema.serve.prices import amount
from kinema.serve.store import Store, days_table, events_table, keys_table

_SUMMED = ("requests", "actions", "milliseconds", "cost_nano")
_OF_KEY = keys_table.c.id == days_table.c.key_id
_NAME = func.coalesce(
    keys_table.c.name, case({LOCAL.id: LOCAL.name}, value=days_table.c.key_id, else_=days_table.c.key_id)
)
_INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


@dataclass(frozen=True, kw_only=True)
class DayUsage:
    """What one key used on one UTC day of one model on one body. `cost` is a decimal number as text."""

    day: str
    key_id: str
    key_name: str
    model: str
    body: str
    requests: int
    actions: int
    milliseconds: float
    cost: str
    currency: str


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


def day_of(time_s: float) -> str:
    """The UTC day of a time in seconds since 1970, as 2026-01-31."""
    return datetime.fromtimestamp(time_s, UTC).date().isoformat()


def is_day(text: str) -> bool:
    """Whether this is a date in the calendar, written like 2026-01-31."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def book_rows(connection: Connection, segment: str, rows: Sequence[Row]) -> None:
    """Book what is not booked yet. Rows of a segment come in the order of their sequence numbers, so the
    highest one in the database says where a batch that was cut short has to go on."""
    booked = select(func.max(events_table.c.sequence)).where(events_table.c.segment == segment)
    last = connection.execute(booked).scalar()
    new = [row for row in rows if last is None or row.sequence > last]
    if not new:
        return
    events = [{**asdict(row), "segment": segment, "day": day_of(row.time_s)} for row in new]
    connection.execute(insert(events_table), events)
    _add_to_days(connection, events)


def prune_rows(connection: Connection, before: str, most: int) -> int:
    """Delete rows of days before this one, at most so many; returns how many. The sums of days stay.

    The newest row of each segment stays too: it says how far a segment is booked, should it turn up again.
    """
    old, newer = events_table.alias("old"), events_table.alias("newer")
    newest = select(func.max(newer.c.sequence)).where(newer.c.segment == old.c.segment).scalar_subquery()
    places = select(old.c.segment, old.c.sequence).where(old.c.day < before, old.c.sequence < newest)
    # In one order, so that two servers that prune never wait for each other in a circle.
    places = places.order_by(old.c.segment, old.c.sequence).limit(most)
    place = tuple_(events_table.c.segment, events_table.c.sequence)
    return connection.execute(delete(events_table).where(place.in_(places))).rowcount


def sums_of_days(connection: Connection, days: Iterable[str]) -> dict[str, dict[str, int]]:
    """Actions by day and key id; every day that was asked for is there."""
    columns = days_table.c
    found: dict[str, dict[str, int]] = {day: {} for day in days}
    total = func.sum(columns.actions)
    query = select(columns.day, columns.key_id, total).where(columns.day.in_(list(found)))
    for day, key_id, actions in connection.execute(query.group_by(columns.day, columns.key_id)):
        found[day][key_id] = int(actions)
    return found


def report(store: Store, key_id: str | None = None, day: str | None = None) -> list[DayUsage]:
    """Usage by day, key, model and body, newest day first, of one key or day where these are given."""
    if day is not None and not is_day(day):
        raise KinemaError(f"day {day!r} is not a date like 2026-01-31")
    columns = days_table.c
    query = select(days_table, _NAME.label("key_name")).outerjoin(keys_table, _OF_KEY)
    for column, wanted in ((columns.key_id, key_id), (columns.day, day)):
        query = query if wanted is None else query.where(column == wanted)
    query = query.order_by(columns.day.desc(), columns.key_id, columns.model, columns.body, columns.currency)
    with store.reading() as connection:
        return [DayUsage(**_told(row)) for row in connection.execute(query)]


def used_by_key(store: Store, day: str) -> tuple[KeyRow, ...]:
    """What each key used on one day in each currency, the most actions first."""
    columns = days_table.c
    sums = [func.sum(columns[name]).label(name) for name in _SUMMED]
    quota = func.max(keys_table.c.quota_per_day).label("quota_per_day")
    query = select(columns.key_id, columns.currency, func.max(_NAME).label("name"), quota, *sums)
    query = query.outerjoin_from(days_table, keys_table, _OF_KEY).where(columns.day == day)
    query = query.group_by(columns.key_id, columns.currency).order_by(func.sum(columns.actions).desc())
    with store.reading() as connection:
        return tuple(KeyRow(**_told(row)) for row in connection.execute(query))


def _add_to_days(connection: Connection, events: Sequence[dict[str, Any]]) -> None:
    names = [column.name for column in days_table.primary_key]
    sums: dict[tuple[str, ...], dict[str, Any]] = defaultdict(lambda: dict.fromkeys(_SUMMED, 0))
    for event in events:
        total = sums[tuple(event[name] for name in names)]
        for name in _SUMMED:
            total[name] += event.get(name, 1)  # an event is one request
    upsert = _INSERT[connection.dialect.name](days_table)
    upsert = upsert.on_conflict_do_update(
        index_elements=names, set_={name: days_table.c[name] + upsert.excluded[name] for name in _SUMMED}
    )
    # In one order, so that two servers on one database never wait for each other in a circle.
    connection.execute(upsert, [dict(zip(names, key)) | sums[key] for key in sorted(sums)])


def _told(row: Any) -> dict[str, Any]:
    told = dict(row._mapping)
    told |= {name: int(told[name]) for name in ("requests", "actions")}  # PostgreSQL's sums are decimals
    return told | {"cost": amount(int(told.pop("cost_nano")))}
