"""From bytes to questions: messages at once, pictures in a thread, by turns of those who sent them."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import msgspec

from kinema.runtime.messages import Asked
from kinema.runtime.wire import WireError, array_hook, decode, unpack
from kinema.serve.refusal import Refusal
from kinema.serve.turns import Turns

T = TypeVar("T")
_MOST_JSON_ITEMS, _PART_BYTES = 20_000, 2**16
_JSON = msgspec.json.Decoder(Asked, dec_hook=array_hook)


def message_of(data: bytes | str, kind: Any) -> Any:
    """The message of this type in one websocket message. Raises Refusal."""
    return _read(data, partial(decode, kind=kind))


def map_of(data: bytes | str) -> dict[Any, Any]:
    """The map of whatever it may be, arrays included, in one websocket message. Raises Refusal."""
    message = _read(data, unpack)
    if not isinstance(message, dict):
        raise Refusal("bad_request", "a message must be a map")
    return message


def _read(data: bytes | str, read: Callable[[bytes], Any]) -> Any:
    if isinstance(data, str):
        raise Refusal("bad_request", "messages are binary msgpack, this one is text")
    try:
        return read(data)
    except WireError as error:
        raise Refusal("bad_request", str(error)) from None


def asked_in_json(data: bytes) -> Asked:
    """The question in a request body; its pictures are bytes then. Raises Refusal.

    Every value of JSON but the first of a list or map stands behind a comma, and base64 has none: so they
    are counted before any is made, and only until they are too many.
    """
    items = 0
    for at in range(0, len(data), _PART_BYTES):
        items += sum(data.count(mark, at, at + _PART_BYTES) for mark in b",[{")
        if items > _MOST_JSON_ITEMS:
            raise Refusal("bad_request", f"a question has at most {_MOST_JSON_ITEMS} values")
    try:
        asked = _JSON.decode(data)
        images = asked.observation.images
        asked.observation.images = {name: base64.b64decode(images[name], validate=True) for name in images}
    except (msgspec.MsgspecError, WireError, RecursionError, OverflowError) as error:
        raise Refusal("bad_request", f"no question in JSON: {str(error)[:200]}") from None
    except (binascii.Error, TypeError, ValueError) as error:
        raise Refusal("bad_request", f"observation.images: no base64 ({str(error)[:80]})") from None
    return asked


class Decoder:
    """One thread; at most `largest_queue` observations wait for it, and those of different askers by turns.

    What one observation can cost is bounded (`pictures`), so nobody waits longer than for one of each other.
    """

    def __init__(self, largest_queue: int = 32) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="kinema-decode")
        self._busy = False
        self._waiting: Turns[tuple[Callable[[], Any], asyncio.Future[Any]]] = Turns(largest_queue)

    async def run(self, make: Callable[[], T], asker: str = "") -> T:
        """`make()` in the thread. Raises Refusal where too many wait."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        left_out = self._waiting.add(asker, (make, done))
        if left_out is not None and not left_out[1].done():
            full = "too many observations wait to be decoded"
            left_out[1].set_exception(Refusal("overloaded", full, retry_after_s=1.0))
        self._go_on()
        return await done

    def _go_on(self) -> None:
        while self._waiting and not self._busy:
            make, done = self._waiting.take()
            if not done.done():  # else nobody waits for it any more
                self._busy = True
                work = asyncio.get_running_loop().run_in_executor(self._pool, make)
                work.add_done_callback(partial(self._hand_out, done))

    def _hand_out(self, done: asyncio.Future[Any], work: asyncio.Future[Any]) -> None:
        self._busy = False
        error = None if work.cancelled() else work.exception()
        if not done.done() and error is not None:
            done.set_exception(error)
        elif not done.done() and not work.cancelled():
            done.set_result(work.result())
        self._go_on()

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
