"""API keys: made, listed, revoked and checked.

A secret reads `kin_<id>_<random>`; it is shown once, when it is made, and kept as its SHA-256: of 238 random
bits nothing can be guessed, so a slow hash would only be slow. The id finds the row, then the digests are
compared in constant time.

All keys are held in memory and read again every `fresh_s`, by `watch` in the background: that is how long a
revoked key may still be served, and why a right key never waits for a wrong one. While the database does not
answer, keys that are known go on for `stale_s`, because a robot in motion should not stop for it. A key that
was made a moment ago is found because an unknown one makes the table be read again, at most every
`STRANGER_S`.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
import re
import secrets
import string
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Row, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from kinema.schema import KinemaError
from kinema.serve.store import Store, StoreError, keys_table

PREFIX = "kin"
ID_BYTES = 6
RANDOM_LENGTH = 40  # of 62 letters and digits: 238 bits
_SECRET = re.compile(rf"{PREFIX}_([0-9a-f]{{{2 * ID_BYTES}}})_[0-9A-Za-z]{{{RANDOM_LENGTH}}}")
_LETTERS = string.ascii_letters + string.digits

STRANGER_S = 0.2

log = logging.getLogger("kinema.serve")


@dataclass(frozen=True, kw_only=True)
class Key:
    """Who asks, and how much it may.

    rate_hz:       requests per second, None for the server's default
    quota_per_day: actions per UTC day, None for no end
    admin:         may see every key's usage on the console and in /v1/usage
    """

    id: str
    name: str
    rate_hz: float | None = None
    quota_per_day: int | None = None
    admin: bool = False
    made_s: float = 0.0
    revoked_s: float | None = None

    def __post_init__(self) -> None:
        if not (1 <= len(self.name) <= 100 and self.name.isprintable() and self.name == self.name.strip()):
            raise KinemaError(f"a key's name has 1 to 100 printable characters; got {self.name!r}")
        if self.rate_hz is not None and not (math.isfinite(self.rate_hz) and self.rate_hz > 0):
            raise KinemaError(f"a key's rate is above 0 requests per second; got {self.rate_hz}")
        if self.quota_per_day is not None and not 0 <= self.quota_per_day < 2**62:
            raise KinemaError(f"a key's quota is 0 or more actions per day; got {self.quota_per_day}")


LOCAL = Key(id="local", name="this machine", admin=True)  # a client on localhost, where no key is asked
STRANGER = Key(id="", name="not let in")


@dataclass(frozen=True, kw_only=True)
class _Table:
    """Every key in use and its secret's digest, by id; when it was read."""

    rows: Mapping[str, tuple[Key, str]]
    read_s: float


_UNREAD = _Table(rows={}, read_s=-math.inf)


@dataclass(kw_only=True, eq=False)
class Keys:
    """The keys of one store. Thread-safe.

    `recall` is instant. `check` may read the database: the event loop calls it in a thread, and only where
    `recall` gives None.
    """

    store: Store = field(kw_only=False)
    fresh_s: float = 5.0
    stale_s: float = 60.0
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    _table: _Table = _UNREAD
    _sought_s: float = -math.inf
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def make(
        self,
        name: str,
        *,
        rate_hz: float | None = None,
        quota_per_day: int | None = None,
        admin: bool = False,
    ) -> tuple[Key, str]:
        """A new key and its secret, which is not kept and cannot be shown again.

        Raises KinemaError where a number is out of range or a key of this name is in use.
        """
        key = Key(
            id=secrets.token_hex(ID_BYTES), name=name, rate_hz=rate_hz, quota_per_day=quota_per_day,
            admin=admin, made_s=self.wall(),
        )  # fmt: skip
        secret = f"{PREFIX}_{key.id}_" + "".join(secrets.choice(_LETTERS) for _ in range(RANDOM_LENGTH))
        try:
            with self.store.writing() as connection:
                connection.execute(insert(keys_table).values(**vars(key), secret_hash=digest_of(secret)))
        except StoreError as error:
            if not isinstance(error.__cause__, IntegrityError):
                raise
            told = f"a key {name!r} is in use; revoke it first, or take another name"
            raise KinemaError(told) from None
        return key, secret

    def list(self) -> tuple[Key, ...]:
        """All keys, revoked ones too, oldest first."""
        with self.store.reading() as connection:
            rows = connection.execute(select(keys_table).order_by(keys_table.c.made_s, keys_table.c.id))
            return tuple(_key(row) for row in rows)

    def revoke(self, id_or_name: str) -> Key:
        """Takes effect in every server within its `fresh_s`. Raises KinemaError for an unknown key."""
        columns = keys_table.c
        with self.store.writing() as connection:
            wanted = or_(columns.id == id_or_name, columns.name == id_or_name)
            row = connection.execute(select(keys_table).where(wanted, columns.revoked_s.is_(None))).first()
            if row is None:
                names = connection.execute(select(columns.name).where(columns.revoked_s.is_(None))).scalars()
                choices = ", ".join(sorted(names)) or "none"
                raise KinemaError(f"no key in use is called {id_or_name!r}; keys in use: {choices}")
            now_s = self.wall()
            connection.execute(update(keys_table).where(columns.id == row.id).values(revoked_s=now_s))
        with self._lock:
            self._table = _UNREAD
        return replace(_key(row), revoked_s=now_s)

    @property
    def _age_s(self) -> float:
        return self.clock() - self._table.read_s

    def recall(self, secret: str) -> Key | None:
        """The key, if its row was read less than `fresh_s` ago, or that was tried and failed. No database."""
        key = self._match(secret)
        tried = self.clock() - self._sought_s < self.fresh_s
        good = self._age_s < self.fresh_s or (self._age_s < self.stale_s and tried)
        return key if good else None

    def check(self, secret: str) -> Key | None:
        """The key that this secret opens, or None. Raises StoreError where that cannot be known (503)."""
        if known := self.recall(secret):
            return known
        if _SECRET.fullmatch(secret) and self._age_s >= min(STRANGER_S, self.fresh_s):
            try:
                self._read()
            except StoreError:
                if self._match(secret) is None or self._age_s >= self.stale_s:
                    raise
        return self._match(secret)

    def watch(self) -> None:
        """Read the keys again and again in the background, until `close`."""
        self._thread = threading.Thread(target=self._keep_fresh, name="kinema-keys-fresh", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _keep_fresh(self) -> None:
        while not self._stop.wait(max(self.fresh_s, 0.1) / 2):
            try:
                self._read()
            except StoreError as error:
                log.warning("keys cannot be read: %s", error)

    def _match(self, secret: str) -> Key | None:
        match = _SECRET.fullmatch(secret)
        nobody = (None, digest_of(""))  # so that both kinds of wrong secret take the same time
        key, digest = self._table.rows.get(match[1], nobody) if match else nobody
        return key if hmac.compare_digest(digest.encode(), digest_of(secret).encode()) else None

    def _read(self) -> None:
        """One thread reads; who comes meanwhile gets what it read."""
        came_s = self.clock()
        with self._lock:
            if self._table.read_s > came_s:
                return
            self._sought_s = now_s = self.clock()
            self._table = _Table(rows=self._rows(), read_s=now_s)

    def _rows(self) -> Mapping[str, tuple[Key, str]]:
        with self.store.reading() as connection:
            rows = connection.execute(select(keys_table).where(keys_table.c.revoked_s.is_(None)))
            return {row.id: (_key(row), row.secret_hash) for row in rows}


def digest_of(secret: str) -> str:
    return "sha256:" + hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _key(row: Row[Any]) -> Key:
    return Key(**{name: getattr(row, name) for name in Key.__dataclass_fields__})
