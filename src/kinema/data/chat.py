"""One question to any OpenAI-compatible chat endpoint, within limits of time, size and tries."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kinema.schema import KinemaError

_AGAIN = (408, 409, 425, 429, 500, 502, 503, 504)
_PATIENCE_S = 60.0  # the longest pause that a server may ask for


class UnansweredError(KinemaError):
    """The endpoint gave no usable answer to one question."""


@dataclass(frozen=True, kw_only=True)
class ChatEndpoint:
    """Where to ask, and how much at most.

    url:   the base of the API, such as http://localhost:8000/v1
    tries: of one request that fails or is put off
    """

    url: str
    model: str
    key: str = ""
    timeout_s: float = 60.0
    tries: int = 4
    max_tokens: int = 800
    max_bytes: int = 8_000_000
    max_answer_bytes: int = 1_000_000

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise KinemaError(f"the endpoint must be an http or https URL; got {self.url!r}")
        if not self.model:
            raise KinemaError(f"the endpoint {self.url} needs the name of a model")
        if min(self.tries, self.timeout_s, self.max_tokens) <= 0:
            told = f"{self.tries}, {self.timeout_s} and {self.max_tokens}"
            raise KinemaError(f"tries, timeout_s and max_tokens must be above 0; got {told}")


class Chat:
    """Asks an endpoint. Close it, or use it in a `with`."""

    def __init__(
        self, endpoint: ChatEndpoint, *, sleep: Callable[[float], None] = time.sleep, seed: int = 0
    ) -> None:
        import httpx

        headers = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
        self._client = httpx.Client(timeout=endpoint.timeout_s, headers=headers, follow_redirects=False)
        self._endpoint, self._sleep, self._random = endpoint, sleep, random.Random(seed)

    def close(self) -> None:
        self._client.close()

    def complete(self, content: Any, temperature: float = 0.2) -> str:
        """The answer to one message; tried again when the server is busy, slow or gone.

        content: text, or parts as the protocol has them. Raises UnansweredError.
        """
        body = json.dumps(
            {
                "model": self._endpoint.model,
                "messages": [{"role": "user", "content": content}],
                "max_tokens": self._endpoint.max_tokens,
                "temperature": temperature,
            }
        ).encode()
        if len(body) > self._endpoint.max_bytes:
            raise UnansweredError(
                f"a request of {len(body)} bytes is above the limit of {self._endpoint.max_bytes}"
            )
        fault = ""
        for number in range(self._endpoint.tries):
            status, answer, wait_s = self._post(body)
            if status == 200:
                return _content_of(answer)
            fault = f"{answer[:200]}" if status == 0 else f"status {status}: {answer[:200]}"
            if status not in (0, *_AGAIN):
                raise UnansweredError(f"the endpoint refused: {fault}")
            if number + 1 < self._endpoint.tries:
                pause_s = 2.0**number * (0.5 + self._random.random())
                self._sleep(min(max(wait_s, pause_s), _PATIENCE_S))
        raise UnansweredError(f"no answer after {self._endpoint.tries} tries: {fault}")

    def _post(self, body: bytes) -> tuple[int, str, float]:
        """Status (0 when there was no answer), text within the limits of size and time, and Retry-After."""
        import httpx

        url = f"{self._endpoint.url.rstrip('/')}/chat/completions"
        deadline, parts, size = time.monotonic() + self._endpoint.timeout_s, [], 0
        try:
            headers = {"Content-Type": "application/json"}
            with self._client.stream("POST", url, content=body, headers=headers) as response:
                for part in response.iter_bytes():
                    parts.append(part)
                    size += len(part)
                    if size > self._endpoint.max_answer_bytes:
                        raise UnansweredError(
                            f"the answer is larger than {self._endpoint.max_answer_bytes} bytes"
                        )
                    if time.monotonic() > deadline:
                        return 0, f"the answer took longer than {self._endpoint.timeout_s:g} s", 0.0
                wait = response.headers.get("retry-after", "")
                text = b"".join(parts).decode("utf-8", "replace")
                return response.status_code, text, float(wait) if wait.isdigit() else 0.0
        except httpx.HTTPError as error:
            return 0, f"{type(error).__name__}: {error}", 0.0


def _content_of(answer: str) -> str:
    """The text of a chat completion; UnansweredError when it is none."""
    try:
        text = json.loads(answer)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        raise UnansweredError(f"the answer is no chat completion: {answer[:120]!r}") from None
    if not isinstance(text, str):
        raise UnansweredError(f"the answer's content is no text: {type(text).__name__}")
    return text


def json_in(text: str) -> dict[str, Any]:
    """The JSON object in a text, which may stand in a code fence. Raises ValueError."""
    start, end = text.find("{"), text.rfind("}")
    try:
        value = json.loads(text[start : end + 1]) if 0 <= start < end else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ValueError(f"the answer holds no JSON object: {text[:80]!r}")
    return value
