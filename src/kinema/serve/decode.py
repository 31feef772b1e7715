"""Messages to questions: at once where pictures are arrays, in a thread where they must be decoded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from kinema.runtime.wire import WireError, unpack
from kinema.schema import Question
from kinema.serve.gateway import Gateway
from kinema.serve.limits import is_encoded
from kinema.serve.question import question_of
from kinema.serve.refusal import Refusal

T = TypeVar("T")


def message_of(data: bytes | str) -> Mapping[str, Any]:
    """The map in one websocket message. Raises Refusal."""
    if isinstance(data, str):
        raise Refusal("bad_request", "messages are binary msgpack, this one is text")
    try:
        message = unpack(data)
    except WireError as error:
        raise Refusal("bad_request", str(error)) from None
    if not isinstance(message, dict):
        raise Refusal("bad_request", "a message must be a map")
    return message


class Decoder:
    """One thread decodes; at most `largest_queue` observations wait for it."""

    def __init__(self, largest_queue: int = 32) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="kinema-decode")
        self._largest_queue, self._waiting = largest_queue, 0

    async def question(self, message: Mapping[str, Any], gateway: Gateway, session: str = "") -> Question:
        """Raises Refusal."""
        observation = message.get("observation")
        images = observation.get("images") if isinstance(observation, Mapping) else None
        make = partial(question_of, message, gateway.served.cards, gateway.limits, session)
        return await self.run(make) if is_encoded(images) else make()

    async def run(self, make: Callable[[], T]) -> T:
        """`make()` in the thread. Raises Refusal where too many wait."""
        if self._waiting >= self._largest_queue:
            raise Refusal("overloaded", f"{self._waiting} observations wait to be decoded", retry_after_s=1.0)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, make)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
