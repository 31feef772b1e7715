"""Who may come in, decided from the headers, before a websocket is opened or a body is read.

Without keys a page in a browser is the stranger to keep out: it can reach localhost and the local network.
So a server on this machine takes only requests for this machine, and no server without keys takes one from a
page of another origin, nor from a page under a name, which its owner may have pointed here.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from kinema.schema import KinemaError
from kinema.serve.keys import LOCAL, Key, Keys
from kinema.serve.refusal import Refusal
from kinema.serve.store import StoreError

_SCHEMES = ("api-key", "bearer")  # openpi's clients say Api-Key
_LONGEST_SECRET = 200


def is_this_machine(host: str) -> bool:
    """Whether a name or an address can only mean the machine it is used on."""
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


class Authenticator:
    """keys None: everybody is LOCAL. needs_key: nobody is. this_machine_only: see the head of the file."""

    def __init__(self, keys: Keys | None, *, needs_key: bool, this_machine_only: bool) -> None:
        if needs_key and keys is None:
            raise KinemaError("a server that asks for keys needs a database of keys")
        self._keys, self.needs_key, self._this_machine_only = keys, needs_key, this_machine_only
        self._pool = ThreadPoolExecutor(1, "kinema-keys")

    async def key_of(self, connection: HTTPConnection) -> Key:
        """The key that the headers name, or LOCAL. Raises Refusal (unauthorised, forbidden, overloaded)."""
        headers = connection.headers
        if not self.needs_key:
            _check_origin(headers, this_machine_only=self._this_machine_only)
        secret = secret_of(headers)
        if secret is None or self._keys is None:
            if self.needs_key:
                raise Refusal("unauthorised", "an API key is needed: Authorization: Api-Key <secret>")
            return LOCAL
        key = self._keys.recall(secret)
        if key is None:  # unknown, or not read lately: what is known is read again in the background
            try:
                key = await asyncio.get_running_loop().run_in_executor(self._pool, self._keys.check, secret)
            except StoreError:
                raise Refusal("overloaded", "keys cannot be checked now", retry_after_s=1.0) from None
        if key is None:
            raise Refusal("unauthorised", "this API key is unknown or was revoked")
        return key

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


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


def _check_origin(headers: Mapping[str, str], *, this_machine_only: bool) -> None:
    host, origin = headers.get("host", ""), headers.get("origin")
    if this_machine_only:
        for name, url in (("Host", f"//{host}"), ("Origin", origin)):
            if url is not None and not is_this_machine(_host_in(url)):
                raise Refusal("forbidden", f"{name} must be this machine, because no key is asked for")
    elif origin is not None and not is_this_machine(_host_in(origin)):
        named = _host_in(origin)
        if origin.partition("//")[2] != host or not (_address(named) or named == socket.gethostname()):
            raise Refusal("forbidden", "no key is asked for, so a web page of another origin may not ask")


def _host_in(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host.strip("[]"))
    except ValueError:
        return None
