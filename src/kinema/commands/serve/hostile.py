"""Hostile clients, one of each kind, for `kinema bench hostile`: each does its worst until its time is over.

They speak to a server on this machine alone, and each stops by itself. A client on another computer would
take nothing of the server's processor; so these run at the lowest priority there is.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

LONGEST_S = 120.0  # no attack goes on for longer, whatever happens to the process that started it


@dataclass(frozen=True, kw_only=True)
class Target:
    """host: "address:port"; key: a right key, which some attackers have"""

    host: str
    key: str
    until_s: float  # on the machine's monotonic clock

    def goes_on(self) -> bool:
        return time.monotonic() < self.until_s


def attack(kind: str, host: str, key: str, seconds: float) -> None:
    """Attack in this process for so long."""
    if hasattr(os, "nice"):
        os.nice(19)
    target = Target(host=host, key=key, until_s=time.monotonic() + min(seconds, LONGEST_S))
    while target.goes_on():
        with contextlib.suppress(Exception):  # refused, cut off, told to wait: it comes again
            ATTACKS[kind](target)
        time.sleep(0.005)


# -- messages whose reading is work


def _arrays(item: bytes) -> bytes:
    inner = b"\xdc\x10\x00" + item * 4096
    count = 7 * 2**20 // len(inner)
    return b"\x82\xa2id\x01\xa1x\xdc" + count.to_bytes(2, "big") + inner * count


def _maps(target: Target) -> None:
    _send(target, _arrays(b"\x80"))


def _nils(target: Target) -> None:
    _send(target, _arrays(b"\xc0"))


def _json(target: Target) -> None:
    images = {f"{i:x}": 1 for i in range(600_000)}
    observation = {"images": images, "state": [0], "instruction": "x"}
    body = json.dumps({"card": "panda", "observation": observation}, separators=(",", ":")).encode()
    while target.goes_on():
        connection = HTTPConnection(target.host, timeout=10)
        headers = {"Authorization": f"Api-Key {target.key}", "Content-Type": "application/json"}
        with contextlib.suppress(OSError):
            connection.request("POST", "/v1/act", body, headers)
            connection.getresponse().read()
        connection.close()


def _scans(target: Target) -> None:
    """A progressive JPEG whose last scan comes again some ten thousand times."""
    from PIL import Image

    file = io.BytesIO()
    Image.new("L", (1900, 1900), 128).save(file, "JPEG", progressive=True)
    whole = file.getvalue()
    last = whole.rindex(b"\xff\xda")
    _ask(target, whole[:last] + whole[last:-2] * 10_000 + b"\xff\xd9")


def _pixels(target: Target) -> None:
    """A PNG of some kilobytes that says it holds a eighty-eight million pixels."""
    from PIL import Image

    file = io.BytesIO()
    Image.new("1", (9_400, 9_400)).save(file, "PNG")
    _ask(target, file.getvalue())


def _instructions(target: Target) -> None:
    with _stream(target) as connection:
        while target.goes_on():
            for words in ("x " * 200_000, "\u200b" * 300, "a\nb" * 90, "<|" * 150):
                connection.send(_question(1, b"", words))
                connection.recv(timeout=5)


# -- too many of everything


def _strangers(target: Target) -> None:
    """Well-formed keys that nobody was given."""
    while target.goes_on():
        connection = HTTPConnection(target.host, timeout=10)
        key = f"kin_{secrets.token_hex(6)}_{secrets.token_urlsafe(30)}"
        with contextlib.suppress(OSError):
            connection.request("GET", "/v1/models", headers={"Authorization": f"Api-Key {key}"})
            connection.getresponse().read()
        connection.close()


def _connections(target: Target) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(256):
            with contextlib.suppress(Exception):
                stack.enter_context(_stream(target))
        _wait(target)


def _questions(target: Target) -> None:
    """Sixty-four questions in flight, all the time."""
    with _stream(target) as connection:
        picture = _small_picture()
        for number in range(64):
            connection.send(_question(number, picture, "put the red block in the blue bowl"))
        number = 64
        while target.goes_on():
            connection.recv(timeout=5)
            connection.send(_question(number, picture, "put the red block in the blue bowl"))
            number += 1


def _silence(target: Target) -> None:
    """Connections on which nothing is ever said."""
    host, _, port = target.host.rpartition(":")
    with contextlib.ExitStack() as stack:
        for _ in range(600):
            with contextlib.suppress(OSError):
                stack.enter_context(socket.create_connection((host, int(port)), timeout=2))
        _wait(target)


def _drip(target: Target) -> None:
    """Bodies that come a byte at a time and never end."""
    host, _, port = target.host.rpartition(":")
    with contextlib.ExitStack() as stack:
        peers = []
        for _ in range(100):
            with contextlib.suppress(OSError):
                peer = stack.enter_context(socket.create_connection((host, int(port)), timeout=2))
                peer.sendall(b"POST /v1/act HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n")
                peers.append(peer)
        while target.goes_on():
            for peer in peers:
                with contextlib.suppress(OSError):
                    peer.sendall(b"x")
            time.sleep(0.5)


ATTACKS: dict[str, Callable[[Target], None]] = {
    "maps of nothing in arrays": _maps,
    "a million nils": _nils,
    "JSON of 600,000 wrong pictures": _json,
    "a JPEG of 10,000 scans": _scans,
    "a PNG of 88 million pixels": _pixels,
    "odd instructions": _instructions,
    "wrong keys": _strangers,
    "256 connections": _connections,
    "64 questions in flight": _questions,
    "600 silent connections": _silence,
    "bodies a byte at a time": _drip,
}


def _stream(target: Target) -> Any:
    from websockets.sync.client import connect

    from kinema.runtime.messages import PATH

    headers = {"Authorization": f"Api-Key {target.key}"}
    return connect(
        f"ws://{target.host}{PATH}",
        additional_headers=headers,
        compression=None,
        max_size=None,
        open_timeout=5,
    )


def _send(target: Target, message: bytes) -> None:
    with _stream(target) as connection:
        connection.recv(timeout=5)
        while target.goes_on():
            connection.send(message)
            connection.recv(timeout=5)


def _ask(target: Target, picture: bytes) -> None:
    with _stream(target) as connection:
        number = 0
        while target.goes_on():
            connection.send(_question(number, picture, "put the red block in the blue bowl"))
            connection.recv(timeout=5)
            number += 1


def _question(number: int, picture: bytes, instruction: str) -> bytes:
    import numpy as np

    from kinema.runtime.wire import pack

    observation = {
        "images": {"front": picture, "wrist": picture},
        "state": np.zeros(7, np.float32),
        "instruction": instruction,
        "time_s": 0.0,
    }
    return pack({"type": "infer", "id": number, "card": "panda", "noise_seed": 0, "observation": observation})


def _small_picture() -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (96, 96)).save(file, "PNG")
    return file.getvalue()


def _wait(target: Target) -> None:
    while target.goes_on():
        time.sleep(0.1)
