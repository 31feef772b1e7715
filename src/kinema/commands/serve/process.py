"""The process of a server: its socket, its open files, its memory, until a signal ends it."""

from __future__ import annotations

import gc
import logging
import socket
import ssl
import sys
from collections.abc import Callable

from fastapi import FastAPI

from kinema.schema import KinemaError
from kinema.serve.app import Listening, Server, uvicorn_config

log = logging.getLogger("kinema.serve")


def bound_socket(listening: Listening) -> socket.socket:
    """A listening socket. Raises KinemaError, as when the port is in use."""
    family = socket.AF_INET6 if ":" in listening.host else socket.AF_INET
    address = (listening.host.strip("[]"), listening.port)
    try:
        return socket.create_server(address, family=family, backlog=1024)
    except OSError as error:
        raise KinemaError(f"cannot listen on {listening.host}:{listening.port}: {error.strerror}") from None


def check_certificate(listening: Listening) -> None:
    """Raises KinemaError for files that are no certificate and its key."""
    if listening.tls_cert is None or listening.tls_key is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(listening.tls_cert, listening.tls_key)
    except ssl.SSLError as error:
        raise KinemaError(
            f"--tls-cert {listening.tls_cert} and --tls-key {listening.tls_key} are no certificate in PEM "
            f"and its key ({error.reason or error})"
        ) from None


def url_of(listening: Listening, bound: socket.socket) -> str:
    host = f"[{listening.host}]" if ":" in listening.host else listening.host
    return f"{'https' if listening.tls_cert else 'http'}://{host}:{bound.getsockname()[1]}"


def run(
    app: FastAPI, listening: Listening, bound: socket.socket, started: Callable[[], None] = lambda: None
) -> None:
    """Serve until a signal ends it; `started` is called when it listens. Raises KinemaError if it cannot."""
    _raise_file_limit()
    app.state.begin()  # here and not in the lifespan, whose faults end in a trace
    gc.collect()
    gc.freeze()  # what is loaded stays: walking through it again and again would delay answers
    sys.setswitchinterval(1e-4)  # the policy asks for the lock at every step, while others have long work
    server = _TellingServer(uvicorn_config(app, listening))
    server.started_hook = started
    server.run(sockets=[bound])


class _TellingServer(Server):
    """Tells when it listens."""

    started_hook: Callable[[], None] = staticmethod(lambda: None)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.started_hook()


def _raise_file_limit() -> None:
    """As many open files as this process may have: each connection is one."""
    try:
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ImportError, OSError, ValueError):  # a system without such limits, or that keeps them
        log.info("the number of open files is left as it is")
