"""The server put together: a policy, its limits, keys and usage, and the routes that lead to them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from socket import socket

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse
from starlette.websockets import WebSocket

from kinema.schema import KinemaError
from kinema.serve import VERSION, docs, rest
from kinema.serve.activity import Activity
from kinema.serve.auth import Authenticator, is_this_machine
from kinema.serve.connection import ConnectionLimiter, address_of
from kinema.serve.console import console_router, headers_of
from kinema.serve.gateway import Asker, Gateway, metered_by
from kinema.serve.keys import STRANGER, Keys
from kinema.serve.limits import Limits
from kinema.serve.metrics import Metrics
from kinema.serve.openpi import OpenpiOptions, OpenpiSession
from kinema.serve.protocols import protocols
from kinema.serve.rates import RateLimiter
from kinema.serve.refusal import Refusal
from kinema.serve.service import Queueing, Served, Service
from kinema.serve.snapshot import Snapshot
from kinema.serve.store import StoreError
from kinema.serve.stream import StreamSession
from kinema.serve.usage import Usage

log = logging.getLogger("kinema.serve")
FORCE_FLAG = "--insecure-beyond-localhost"


@dataclass(frozen=True, kw_only=True)
class Listening:
    """Where and how. Beyond this machine a key and TLS are needed, unless that is forced by name."""

    host: str = "127.0.0.1"
    port: int = 8000
    tls_cert: Path | None = None
    tls_key: Path | None = None
    needs_key: bool = False
    forced: bool = False

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise KinemaError("TLS needs both a certificate and its key: --tls-cert and --tls-key")
        for path in (self.tls_cert, self.tls_key):
            if path is not None and not path.is_file():
                raise KinemaError(f"no file at {path}")
        missing = [
            what for what, there in (("keys (--keys)", self.needs_key), ("TLS (--tls-cert)", self.tls_cert))
            if not there
        ]  # fmt: skip
        if missing and not self.is_local and not self.forced:
            raise KinemaError(
                f"listening on {self.host} lets others move the robot; add {' and '.join(missing)}, "
                f"or force it with {FORCE_FLAG}"
            )

    @property
    def is_local(self) -> bool:
        return is_this_machine(self.host)


@dataclass(frozen=True, kw_only=True)
class Accounts:
    """Keys and usage of one database."""

    keys: Keys
    usage: Usage
    rate_hz: float | None = None  # of keys that have none of their own


def make_app(
    served: Served, *, listening: Listening | None = None, limits: Limits | None = None,
    queueing: Queueing | None = None, accounts: Accounts | None = None,
    openpi_options: OpenpiOptions | None = None,
) -> FastAPI:  # fmt: skip
    """The ASGI application; its lifespan starts and stops the inference thread and the booking of usage."""
    listening, limits = listening or Listening(), limits or Limits()
    meter = metered_by(accounts.usage, served.name) if accounts else None
    service = Service(served, queueing, meter=meter)
    gateway = Gateway(
        service=service,
        limits=limits,
        metrics=Metrics(lambda: service.waiting),
        activity=Activity(served.name),
        usage=accounts.usage if accounts else None,
        rates=RateLimiter(accounts.usage.spent, default_rate_hz=accounts.rate_hz) if accounts else None,
    )
    keys = accounts.keys if accounts else None
    auth = Authenticator(keys, needs_key=listening.needs_key, this_machine_only=listening.is_local)
    connections = ConnectionLimiter(gateway, auth)

    def begin() -> None:
        """Once. Raises StoreError."""
        if service.alive:
            return
        if accounts:
            accounts.usage.start()
            accounts.keys.watch()
        service.start()

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        begin()
        try:
            yield
        finally:
            service.stop()
            gateway.decoder.close()
            auth.close()
            if accounts:
                accounts.keys.close()
                accounts.usage.close()

    app = FastAPI(
        title="kinema", version=VERSION, lifespan=lifespan, description=rest.__doc__ or "",
        redoc_url=None, docs_url=None,
    )  # fmt: skip
    app.include_router(rest.router(gateway, auth))
    snapshot = Snapshot(gateway, connections)
    app.include_router(console_router(snapshot.take, auth.key_of))

    @app.get("/docs", include_in_schema=False)
    async def _docs() -> HTMLResponse:
        page = docs.page(app.openapi())
        return HTMLResponse(page, headers=headers_of(page))

    @app.websocket("/")
    async def _openpi(websocket: WebSocket) -> None:
        session = partial(OpenpiSession, options=openpi_options or OpenpiOptions())
        await connections.serve(websocket, "openpi", session)

    @app.websocket("/v1/stream")
    async def _stream(websocket: WebSocket) -> None:
        await connections.serve(websocket, "stream", StreamSession)

    _tell_problems(app, connections)
    app.state.gateway, app.state.begin = gateway, begin
    # The body of /v1/act is read by hand, to bound its size.
    app.openapi()["components"]["schemas"] |= rest.body_schemas()
    return app


class Server(uvicorn.Server):
    """Gives a silent TLS peer as little time as a silent HTTP peer."""

    async def startup(self, sockets: list[socket] | None = None) -> None:
        if self.config.ssl_certfile:
            loop, limits = asyncio.get_running_loop(), self.config.app.state.gateway.limits  # type: ignore[union-attr]
            loop.create_server = partial(  # type: ignore[method-assign]
                loop.create_server, ssl_handshake_timeout=limits.handshake_s
            )
        await super().startup(sockets)


def uvicorn_config(app: FastAPI, listening: Listening) -> uvicorn.Config:
    limits: Limits = app.state.gateway.limits
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    return uvicorn.Config(
        app,
        host=listening.host,
        port=listening.port,
        ssl_certfile=listening.tls_cert,
        ssl_keyfile=listening.tls_key,
        ws_max_size=limits.frame_bytes,
        ws_per_message_deflate=False,  # pictures do not shrink, and small messages may grow large
        ws_ping_interval=20.0,
        ws_ping_timeout=20.0,
        timeout_graceful_shutdown=10,
        access_log=False,
        server_header=False,
        log_level="warning",
        **protocols(limits),
    )


def _is_news(record: logging.LogRecord) -> bool:
    """Not what uvicorn says of every refused websocket, without who or why: the gateway's log says that."""
    return "without completing handshake" not in str(record.msg)


def _tell_problems(app: FastAPI, connections: ConnectionLimiter) -> None:
    """Every fault as {code, message}; ours without a trace."""

    async def told(request: Request, error: Exception) -> JSONResponse:
        refusal = _refusal_of(error)
        key = getattr(request.state, "key", STRANGER)
        asker = Asker(key=key, address=address_of(request))
        connections.gateway.record_refusal(rest.ROUTE, refusal, asker)
        await connections.hold(key)
        return refusal.response()

    for kind in (Refusal, StoreError, RequestValidationError):
        app.add_exception_handler(kind, told)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        message = str(error.detail)[:200]
        return JSONResponse({"code": "http", "message": message}, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def _fault(request: Request, error: Exception) -> JSONResponse:
        log.error("a fault of the server at %s", request.url.path, exc_info=error)
        return JSONResponse({"code": "fault", "message": "a fault of the server; its log says which"}, 500)


def _refusal_of(error: Exception) -> Refusal:
    if isinstance(error, Refusal):
        return error
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        where = ".".join(str(part)[:40] for part in first["loc"])
        return Refusal("bad_request", f"{where}: {first['msg'][:200]}")
    log.warning("%s", error)
    return Refusal("overloaded", "the database does not answer", retry_after_s=1.0)
