"""API keys: made, listed, revoked and checked.

A secret reads `kin_<id>_<random>`; it is shown once, when it is made, and kept as an argon2 hash. The id
finds the row, then the hash is verified; for an id that does not exist a hash of nothing is verified, so
that both take the same time. Because argon2 is slow on purpose, a verified secret is remembered by a keyed
digest for `verified_s`; its row is read again every `fresh_s`, and that is how long a revoked key may still
be served.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from kinema.schema import KinemaError
from kinema.serve.store import Store


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


LOCAL = Key(id="local", name="this machine", admin=True)  # a client on localhost, where no key is asked


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
        verified_s: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None: ...

    def make(
        self,
        name: str,
        *,
        rate_hz: float | None = None,
        quota_per_day: int | None = None,
        admin: bool = False,
    ) -> tuple[Key, str]:
        """A new key and its secret, which is not kept and cannot be shown again."""
        raise NotImplementedError

    def list(self) -> list[Key]:
        """All keys, revoked ones too, oldest first."""
        raise NotImplementedError

    def revoke(self, id_or_name: str) -> Key:
        """Takes effect in every server within its `fresh_s`. Raises KinemaError for an unknown key."""
        raise NotImplementedError

    def recall(self, secret: str) -> Key | None:
        """The key if this secret was checked less than `fresh_s` ago. No database, no argon2."""
        raise NotImplementedError

    def check(self, secret: str) -> Key | None:
        """The key that this secret opens, or None. Raises StoreError or KeysBusyError (both: 503)."""
        raise NotImplementedError
