"""API keys: made, listed, revoked and checked.

A secret reads `kin_<id>_<random>`; it is shown once, when it is made, and kept as an argon2 hash. The id
finds the row, then the hash is verified; for an id that does not exist a hash of nothing is verified, so
that both take the same time.

Because argon2 is slow on purpose, a verified secret is remembered, by a keyed digest, for `verified_s`. Its
row is read again every `fresh_s`: that is how long a revoked key may still be served. While the database
does not answer, keys verified before go on for `stale_s`, because a robot in motion should not stop for it.
"""

from __future__ import annotations

import hashlib
import math
import re
import secrets
import string
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from sqlalchemy import Row, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from kinema.schema import KinemaError
from kinema.serve.store import Store, StoreError, keys_table

PREFIX = "kin"
ID_BYTES = 6
RANDOM_LENGTH = 40  # of 62 letters and digits: 238 bits
_SECRET = re.compile(rf"{PREFIX}_([0-9a-f]{{{2 * ID_BYTES}}})_[0-9A-Za-z]{{{RANDOM_LENGTH}}}")
_LETTERS = string.ascii_letters + string.digits

MAX_REMEMBERED = 4096
MAX_VERIFYING = 2  # argon2 takes a core and 19 MiB for each
VERIFY_WAIT_S = 2.0


class KeysBusyError(KinemaError):
    """Too many unknown secrets are being verified at once. A server answers 503 with Retry-After."""


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


@dataclass(kw_only=True)
class _Verified:
    """A secret that opened `key`: when argon2 said so, when the row was last seen, and last looked for."""

    key: Key
    secret_hash: str
    verified_s: float
    seen_s: float
    sought_s: float


class Keys:
    """The keys of one store. Thread-safe.

    `recall` is instant. `check` may take 50 ms: the event loop calls it in a thread, and only where `recall`
    gives None.
    """

    def __init__(
        self,
        store: Store,
        *,
        fresh_s: float = 5.0,
        stale_s: float = 60.0,
        verified_s: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._clock, self._wall = store, clock, wall
        self._fresh_s, self._stale_s, self._verified_s = fresh_s, stale_s, verified_s
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
        self._hash_of_nothing = self._hasher.hash(secrets.token_hex())
        self._digest_key = secrets.token_bytes(32)
        self._remembered: OrderedDict[bytes, _Verified] = OrderedDict()
        self._lock = threading.Lock()
        self._verifying = threading.BoundedSemaphore(MAX_VERIFYING)

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
            id=secrets.token_hex(ID_BYTES),
            name=name,
            rate_hz=rate_hz,
            quota_per_day=quota_per_day,
            admin=admin,
            made_s=self._wall(),
        )
        secret = f"{PREFIX}_{key.id}_" + "".join(secrets.choice(_LETTERS) for _ in range(RANDOM_LENGTH))
        row = {field: getattr(key, field) for field in key.__dataclass_fields__}
        try:
            with self._store.writing() as connection:
                connection.execute(insert(keys_table).values(**row, secret_hash=self._hasher.hash(secret)))
        except StoreError as error:
            if isinstance(error.__cause__, IntegrityError):
                raise KinemaError(
                    f"a key {name!r} is in use; revoke it first, or take another name"
                ) from None
            raise
        return key, secret

    def list(self) -> tuple[Key, ...]:
        """All keys, revoked ones too, oldest first."""
        with self._store.reading() as connection:
            rows = connection.execute(select(keys_table).order_by(keys_table.c.made_s, keys_table.c.id))
            return tuple(_key(row) for row in rows)

    def revoke(self, id_or_name: str) -> Key:
        """Takes effect in every server within its `fresh_s`. Raises KinemaError for an unknown key."""
        columns = keys_table.c
        with self._store.writing() as connection:
            wanted = or_(columns.id == id_or_name, columns.name == id_or_name)
            row = connection.execute(select(keys_table).where(wanted, columns.revoked_s.is_(None))).first()
            if row is None:
                names = connection.execute(select(columns.name).where(columns.revoked_s.is_(None))).scalars()
                choices = ", ".join(sorted(names)) or "none"
                raise KinemaError(f"no key in use is called {id_or_name!r}; keys in use: {choices}")
            now_s = self._wall()
            connection.execute(update(keys_table).where(columns.id == row.id).values(revoked_s=now_s))
        with self._lock:
            self._remembered.clear()
        return replace(_key(row), revoked_s=now_s)

    def recall(self, secret: str) -> Key | None:
        """The key if this secret's row was read less than `fresh_s` ago. No database, no argon2."""
        found, now_s = self._find(secret), self._clock()
        return found.key if found is not None and now_s - found.seen_s < self._fresh_s else None

    def knows(self, secret: str) -> bool:
        """Whether `check` will do without argon2, because this secret was verified not long ago."""
        return self._find(secret) is not None

    def check(self, secret: str) -> Key | None:
        """The key that this secret opens, or None. Raises StoreError or KeysBusyError (both: 503)."""
        match = _SECRET.fullmatch(secret)
        if match is None:
            return None
        known = self._find(secret)
        if known is not None:
            return self._look_again(secret, known)
        return self._verify(secret, match[1])

    def _verify(self, secret: str, key_id: str) -> Key | None:
        now_s = self._clock()
        row = self._row(key_id)
        if not self._verifying.acquire(timeout=VERIFY_WAIT_S):
            raise KeysBusyError("too many unknown keys are being checked")
        try:
            self._hasher.verify(row.secret_hash if row is not None else self._hash_of_nothing, secret)
        except VerificationError:
            return None
        finally:
            self._verifying.release()
        if row is None or row.revoked_s is not None:
            return None
        verified = _Verified(
            key=_key(row), secret_hash=row.secret_hash, verified_s=now_s, seen_s=now_s, sought_s=now_s
        )
        with self._lock:
            self._remembered[self._digest(secret)] = verified
            while len(self._remembered) > MAX_REMEMBERED:
                self._remembered.popitem(last=False)
        return verified.key

    def _look_again(self, secret: str, known: _Verified) -> Key | None:
        """Read the row of a verified secret again where that is due; one thread reads, others go on."""
        now_s = self._clock()
        with self._lock:
            due = now_s - known.sought_s >= self._fresh_s
            if due:
                known.sought_s = now_s
        too_old = now_s - known.seen_s >= self._stale_s
        if not due and not too_old:
            return known.key
        try:
            row = self._row(known.key.id)
        except StoreError:
            if too_old:
                raise
            return known.key
        if row is None or row.revoked_s is not None or row.secret_hash != known.secret_hash:
            with self._lock:
                self._remembered.pop(self._digest(secret), None)
            return None
        known.key, known.seen_s = _key(row), now_s
        return known.key

    def _find(self, secret: str) -> _Verified | None:
        digest = self._digest(secret)
        with self._lock:
            found = self._remembered.get(digest)
            if found is None:
                return None
            if not 0 <= self._clock() - found.verified_s < self._verified_s:
                del self._remembered[digest]
                return None
            self._remembered.move_to_end(digest)
            return found

    def _digest(self, secret: str) -> bytes:
        return hashlib.blake2b(secret.encode("utf-8", "surrogatepass"), key=self._digest_key).digest()

    def _row(self, key_id: str) -> Row[Any] | None:
        with self._store.reading() as connection:
            return connection.execute(select(keys_table).where(keys_table.c.id == key_id)).first()


def _key(row: Row[Any]) -> Key:
    return Key(
        id=row.id,
        name=row.name,
        rate_hz=row.rate_hz,
        quota_per_day=row.quota_per_day,
        admin=row.admin,
        made_s=row.made_s,
        revoked_s=row.revoked_s,
    )
