"""Who may come in, decided from the headers, before a websocket is opened or a body is read.

Without keys the server listens on this machine only, and then a page in a browser is the stranger to keep
out: it can reach localhost, so the host that was asked for and the origin of the page must be this machine.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from urllib.parse import urlsplit

from kinema.schema import KinemaError
from kinema.serve.keys import LOCAL, Key, Keys, KeysBusyError
from kinema.serve.refusal import Refusal
from kinema.serve.store import StoreError

_SCHEMES = ("api-key", "bearer")  # openpi's clients say Api-Key
_LONGEST_SECRET = 200
_MOST_STRANGERS = 32  # secrets that wait for argon2 at the same time: about two seconds of it


def is_this_machine(host: str) -> bool:
    """Whether a name or an address can only mean the machine it is used on."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Authenticator:
    """keys None: everybody is LOCAL. needs_key: nobody is. this_machine_only: see the head of the file."""

    def __init__(self, keys: Keys | None, *, needs_key: bool, this_machine_only: bool) -> None:
        if needs_key and keys is None:
            raise KinemaError("a server that asks for keys needs a database of keys")
        self._keys, self.needs_key, self._this_machine_only = keys, needs_key, this_machine_only
        # Who is known never waits behind strangers, and argon2, slow on purpose, gives way to the policy.
        self._known = ThreadPoolExecutor(1, "kinema-keys")
        self._strangers = ThreadPoolExecutor(1, "kinema-strangers", initializer=_give_way)
        self._waiting = 0

    async def key_of(self, headers: Mapping[str, str]) -> Key:
        """The key that the headers name, or LOCAL. Raises Refusal (unauthorised, forbidden, overloaded)."""
        if self._this_machine_only:
            _check_is_here(headers)
        secret = secret_of(headers)
        if secret is None or self._keys is None:
            if self.needs_key:
                raise Refusal("unauthorised", "an API key is needed: Authorization: Api-Key <secret>")
            return LOCAL
        return await self._checked(secret)

    async def _checked(self, secret: str) -> Key:
        assert self._keys is not None
        key = self._keys.recall(secret)
        if key is None:
            try:
                key = await self._looked_up(self._keys, secret)
            except (StoreError, KeysBusyError):
                raise Refusal("overloaded", "keys cannot be checked now", retry_after_s=1.0) from None
        if key is None:
            raise Refusal("unauthorised", "this API key is unknown or was revoked")
        return key

    async def _looked_up(self, keys: Keys, secret: str) -> Key | None:
        loop = asyncio.get_running_loop()
        if keys.knows(secret):
            return await loop.run_in_executor(self._known, keys.check, secret)
        if self._waiting >= _MOST_STRANGERS:
            raise Refusal("overloaded", "too many unknown keys are being checked", retry_after_s=1.0)
        self._waiting += 1
        try:
            return await loop.run_in_executor(self._strangers, keys.check, secret)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        for pool in (self._known, self._strangers):
            pool.shutdown(wait=False, cancel_futures=True)


def _give_way() -> None:
    """This thread runs when others do not want to. Only Linux has priorities of threads."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


def secret_of(headers: Mapping[str, str]) -> str | None:
    """The secret in `Authorization: Api-Key ..` or `Bearer ..`; None where there is no such header."""
    given = headers.get("authorization")
    if given is None:
        return None
    scheme, _, secret = given.partition(" ")
    secret = secret.strip()
    if scheme.lower() not in _SCHEMES or not secret or len(secret) > _LONGEST_SECRET or not secret.isascii():
        raise Refusal("unauthorised", "the Authorization header must read: Api-Key <secret>")
    return secret


def _check_is_here(headers: Mapping[str, str]) -> None:
    for name, url in (("Host", f"//{headers.get('host', '')}"), ("Origin", headers.get("origin"))):
        if url is None:
            continue
        try:
            host = urlsplit(url).hostname or ""
        except ValueError:
            host = ""
        if not is_this_machine(host):
            raise Refusal("forbidden", f"{name} must be this machine, because no key is asked for")
