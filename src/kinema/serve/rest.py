"""The server over plain HTTP: one question in one request, and what is there to know about the server.

`/v1/act` takes JSON, where pictures are base64 of PNG or JPEG, or msgpack, where they may be arrays: the
body of an `infer` message of `/v1/stream` without its id.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Query, Request
from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, PlainTextResponse, Response

from kinema.runtime.messages import chunk_message, verdict_to_wire
from kinema.runtime.wire import pack
from kinema.schema import Question
from kinema.serve import metrics
from kinema.serve.auth import Authenticator
from kinema.serve.booking import DayUsage, is_day
from kinema.serve.decode import Decoder, message_of
from kinema.serve.describe import card_facts
from kinema.serve.gateway import Gateway
from kinema.serve.keys import Key
from kinema.serve.question import question_of
from kinema.serve.refusal import Refusal
from kinema.serve.service import Answer
from kinema.serve.stream import deadline_of

ROUTE = "act"
MSGPACK = "application/msgpack"
_Numbers = Annotated[list[float], Field(max_length=256)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ActObservation(_Strict):
    """What the body senses now."""

    images: dict[str, Base64Bytes] = Field(description="base64 of PNG or JPEG, by camera name")
    state: _Numbers = Field(description="native values in the order of the card's states")
    instruction: str
    time_s: float = 0.0


class ActCommitted(_Strict):
    """Actions that will be played whatever the answer is; the answer begins with them."""

    values: Annotated[list[_Numbers], Field(max_length=256)]
    times_s: _Numbers


class ActBody(_Strict):
    """One question."""

    card: str = Field(description="the body, one of /v1/robots")
    observation: ActObservation
    noise_seed: int = Field(default=0, ge=0, lt=2**63, description="what decides the answer's randomness")
    committed: ActCommitted | None = None
    deadline_s: float | None = Field(default=None, gt=0, description="refuse rather than answer later")


class ActVerdict(BaseModel):
    """What the gate says. Where `allowed` is false the chunk must not be executed: the body holds."""

    allowed: bool
    risk: dict[str, float]
    limit: dict[str, float]
    horizon_s: float
    reason: str


class ActTiming(BaseModel):
    waited_ms: float
    infer_ms: float
    batch: int


class ActAnswer(BaseModel):
    """Native actions (T, D) in the order of the card's actions, and when each is due."""

    card: str
    values: list[list[float]]
    times_s: list[float]
    verdict: ActVerdict | None
    timing: ActTiming


class Problem(BaseModel):
    """Why there is no answer."""

    code: str
    message: str
    retry_after_s: float | None = None


_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        400: "the request is no HTTP or no JSON",
        401: "a key is needed, or this one is unknown",
        403: "asked from another site than this machine",
        422: "a part of the question is missing or wrong",
        429: "this key asks too often or too much; see Retry-After",
        503: "too many are waiting, or usage cannot be written down; see Retry-After",
    }.items()
}
_ACT_PROBLEMS = _PROBLEMS | {
    408: {"model": Problem, "description": "the body came too slowly"},
    413: {"model": Problem, "description": "the body or a picture is too large"},
    415: {"model": Problem, "description": "neither JSON nor msgpack"},
}


def router(gateway: Gateway, auth: Authenticator, decoder: Decoder) -> APIRouter:
    """All HTTP routes but the console's."""
    api = APIRouter()

    async def entered(request: Request) -> Key:
        return await auth.key_of(request.headers)

    body_schema = {"application/json": {"schema": {"$ref": "#/components/schemas/ActBody"}}}

    @api.post(
        "/v1/act",
        response_model=ActAnswer,
        responses=_ACT_PROBLEMS,
        openapi_extra={"requestBody": {"required": True, "content": body_schema}},
        summary="One question, one chunk of actions",
    )
    async def act(request: Request, key: Key = Depends(entered)) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in ("application/json", MSGPACK):
            raise Refusal("bad_type", f"content type {kind[:40]!r}; choices: application/json, {MSGPACK}")
        data = await _body(request, gateway)
        if kind == MSGPACK:
            message = message_of(data)
            question = await decoder.question(message, gateway)
        else:
            message, question = await decoder.run(partial(_asked_in_json, data, gateway))
        deadline_s = deadline_of(message.get("deadline_s"))
        answer = await gateway.ask(question, key=key, route=ROUTE, deadline_s=deadline_s)
        if kind == MSGPACK:
            return Response(pack(chunk_message(0, answer.chunk, _timing(answer))), media_type=MSGPACK)
        return Response(_answer_of(answer).model_dump_json(), media_type="application/json")

    @api.get("/v1/robots", responses=_PROBLEMS, summary="The bodies served: what to send, what comes back")
    async def robots(key: Key = Depends(entered)) -> dict[str, Any]:
        return {name: card_facts(card) for name, card in gateway.served.cards.items()}

    @api.get("/v1/models", responses=_PROBLEMS, summary="What is served, and what it was made from")
    async def models(key: Key = Depends(entered)) -> list[dict[str, Any]]:
        served = gateway.served
        return [{"name": served.name, "cards": list(served.cards), "provenance": dict(served.provenance)}]

    @api.get("/v1/usage", responses=_PROBLEMS, summary="What was used, by day; an admin's key sees all keys")
    async def usage(
        key: Key = Depends(entered), day: Annotated[str | None, Query(max_length=10)] = None
    ) -> list[DayUsage]:
        if day is not None and not is_day(day):
            raise Refusal("bad_request", "day must read like 2026-01-31")
        if gateway.usage is None:
            return []
        return await run_in_threadpool(gateway.usage.report, None if key.admin else key.id, day)

    @api.get("/healthz", response_class=PlainTextResponse, summary="OK while questions can be answered")
    async def healthz() -> Response:
        if not gateway.service.alive:
            return PlainTextResponse("the inference thread has ended\n", 503)
        return PlainTextResponse("OK\n")

    @api.get("/metrics", response_class=PlainTextResponse, responses=_PROBLEMS, summary="For Prometheus")
    async def prometheus(key: Key = Depends(entered)) -> Response:
        return Response(gateway.metrics.page(), headers={"Content-Type": metrics.CONTENT_TYPE})

    return api


def problem(refusal: Refusal) -> JSONResponse:
    return JSONResponse(refusal.to_wire(), refusal.status, refusal.headers)


async def _body(request: Request, gateway: Gateway) -> bytes:
    """The whole body, within its size and time limits."""
    limits = gateway.limits
    declared = request.headers.get("content-length", "0")
    if declared.isascii() and declared.isdigit() and int(declared[:12]) > limits.frame_bytes:
        raise Refusal("too_large", f"the body has {declared[:12]} bytes; at most {limits.frame_bytes}")
    parts, size = [], 0
    try:
        async with asyncio.timeout(limits.handshake_s):
            async for part in request.stream():
                size += len(part)
                if size > limits.frame_bytes:
                    raise Refusal("too_large", f"the body has more than {limits.frame_bytes} bytes")
                parts.append(part)
    except TimeoutError:
        raise Refusal("too_slow", f"the body did not arrive within {limits.handshake_s:g} s") from None
    return b"".join(parts)


def _asked_in_json(data: bytes, gateway: Gateway) -> tuple[dict[str, Any], Question]:
    message = _message_of_json(data)
    return message, question_of(message, gateway.served.cards, gateway.limits)


def _message_of_json(data: bytes) -> dict[str, Any]:
    try:
        body = ActBody.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part)[:40] for part in first["loc"][:6])
        raise Refusal("bad_request", f"{where or 'body'}: {first['msg'][:200]}") from None
    seen = body.observation
    message: dict[str, Any] = {
        "card": body.card,
        "noise_seed": body.noise_seed,
        "deadline_s": body.deadline_s,
        "observation": {
            "images": seen.images,
            "state": seen.state,
            "instruction": seen.instruction,
            "time_s": seen.time_s,
        },
    }
    if body.committed is not None:
        message["committed"] = {"values": _matrix(body.committed.values), "times_s": body.committed.times_s}
    return message


def _matrix(rows: list[list[float]]) -> np.ndarray:
    if len({len(row) for row in rows}) > 1:
        raise Refusal("bad_request", "committed values must be rows of the same length")
    return np.array(rows, np.float64).reshape(len(rows), len(rows[0]) if rows else 0)


def _timing(answer: Answer) -> dict[str, float]:
    return {
        "waited_ms": 1e3 * answer.waited_s,
        "infer_ms": 1e3 * answer.infer_s,
        "batch": answer.batch,
    }


def _answer_of(answer: Answer) -> ActAnswer:
    chunk = answer.chunk
    return ActAnswer(
        card=chunk.card,
        values=chunk.values.tolist(),
        times_s=chunk.times_s.tolist(),
        verdict=None if chunk.verdict is None else ActVerdict(**verdict_to_wire(chunk.verdict)),
        timing=ActTiming(**_timing(answer)),  # type: ignore[arg-type]
    )
