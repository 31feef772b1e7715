"""The server over plain HTTP: one question in one request, and what is there to know about the server.

`/v1/act` takes JSON, where pictures are base64 of PNG or JPEG, or msgpack, where they may be arrays: the
body of an `infer` message of `/v1/stream` without its id.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, Response

from kinema.runtime.messages import NUMBERS, Asked, Packed, card_to_wire, chunk_message
from kinema.runtime.wire import pack
from kinema.schema import Verdict
from kinema.serve.auth import Authenticator
from kinema.serve.booking import DayUsage, is_day
from kinema.serve.connection import address_of
from kinema.serve.decode import asked_in_json, message_of
from kinema.serve.gateway import Asker, Gateway
from kinema.serve.keys import Key
from kinema.serve.refusal import Refusal

ROUTE = "act"
MSGPACK = "application/msgpack"


class ActAnswer(BaseModel):
    """Native actions (T, D) in the order of the card's actions, and when each is due.

    Where `verdict.allowed` is false the chunk must not be executed: the body holds.
    timing: waited_ms, infer_ms, and in `batch` with how many it was answered
    """

    card: str
    values: list[list[float]]
    times_s: list[float]
    verdict: Verdict | None
    timing: dict[str, float | int]


class Problem(BaseModel):
    """Why there is no answer."""

    code: str
    message: str
    retry_after_s: float | None = None


_ACT_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        400: "the request is no HTTP or no JSON",
        401: "a key is needed, or this one is unknown",
        403: "asked from another site than this machine",
        408: "the body came too slowly",
        413: "the body or a picture is too large",
        415: "neither JSON nor msgpack",
        422: "a part of the question is missing or wrong",
        429: "this key asks too often or too much; see Retry-After",
        503: "too many are waiting, or usage cannot be written down; see Retry-After",
    }.items()
}
_PROBLEMS = {status: told for status, told in _ACT_PROBLEMS.items() if status not in (408, 413, 415)}


def body_schemas() -> dict[str, Any]:
    """What a body of /v1/act is, by name, for the OpenAPI document: it is read by hand to bound its size."""
    template = "#/components/schemas/{name}"
    return msgspec.json.schema_components([Asked], schema_hook=lambda _: NUMBERS, ref_template=template)[1]


def router(gateway: Gateway, auth: Authenticator) -> APIRouter:
    """All HTTP routes but the console's."""
    api = APIRouter()

    async def entered(request: Request) -> Key:
        request.state.key = await auth.key_of(request)
        return request.state.key

    body_schema = {"application/json": {"schema": {"$ref": "#/components/schemas/Asked"}}}

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
        asked = message_of(data, Packed) if kind == MSGPACK else asked_in_json(data)
        asker = Asker(key=key, name=key.id, address=address_of(request))
        answer = await gateway.answer(asked, asker, ROUTE)
        if kind == MSGPACK:
            return Response(pack(chunk_message(0, answer.chunk, answer.timing)), media_type=MSGPACK)
        chunk = answer.chunk
        told = ActAnswer(
            card=chunk.card, values=chunk.values.tolist(), times_s=chunk.times_s.tolist(),
            verdict=chunk.verdict, timing=answer.timing,
        )  # fmt: skip
        return Response(told.model_dump_json(), media_type="application/json")

    @api.get("/v1/robots", responses=_PROBLEMS, summary="The bodies served: what to send, what comes back")
    async def robots(key: Key = Depends(entered)) -> dict[str, Any]:
        return {name: card_to_wire(card) for name, card in gateway.served.cards.items()}

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

    @api.get(
        "/healthz",
        response_class=PlainTextResponse,
        summary="OK, or what is wrong; 503 while questions are not answered",
        responses={503: {"content": {"text/plain": {}}, "description": "questions are not answered now"}},
    )
    async def healthz() -> Response:
        refusing, degraded = gateway.troubles()
        told = "".join(f"{reason}\n" for reason in (*refusing, *degraded))
        return PlainTextResponse(told or "OK\n", 503 if refusing else 200)

    @api.get("/metrics", response_class=PlainTextResponse, responses=_PROBLEMS, summary="For Prometheus")
    async def prometheus(key: Key = Depends(entered)) -> Response:
        return Response(
            generate_latest(gateway.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    return api


async def _body(request: Request, gateway: Gateway) -> bytes:
    """The whole body, within its size and time limits."""
    limits = gateway.limits
    declared = request.headers.get("content-length", "0")
    if declared.isascii() and declared.isdigit() and int(declared[:12]) > limits.frame_bytes:
        raise Refusal("too_large", f"the body has {declared[:12]} bytes; at most {limits.frame_bytes}")
    data = bytearray()
    try:
        async with asyncio.timeout(limits.handshake_s):
            async for part in request.stream():
                data += part
                if len(data) > limits.frame_bytes:
                    raise Refusal("too_large", f"the body has more than {limits.frame_bytes} bytes")
    except ClientDisconnect:
        raise Refusal("bad_request", "the body broke off") from None
    except TimeoutError:
        raise Refusal("too_slow", f"the body did not arrive within {limits.handshake_s:g} s") from None
    return bytes(data)
