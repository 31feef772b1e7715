"""`kinema serve`: a policy for bodies elsewhere, over websockets and HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kinema.commands import loading, policies
from kinema.commands.terminal import above_zero, examples, positive

if TYPE_CHECKING:
    from kinema.serve.app import Accounts

EXAMPLES = examples(
    "kinema serve nano",
    "kinema serve nano --port 8001 --keys",
    "kinema serve nano --host 0.0.0.0 --keys --tls-cert server.pem --tls-key server.key",
)

ARTIFACT_HELP = "A shipped artifact, the folder of one, `hold`, or module:callable (see `kinema run --help`)."


def serve(
    artifact: Annotated[str, typer.Argument(help=ARTIFACT_HELP)] = policies.DEFAULT,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)
    ] = 8000,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="The certificate's private key, PEM.")] = None,
    keys: Annotated[bool, typer.Option("--keys", help="Ask every client for a key (`kinema keys`).")] = False,
    database: Annotated[
        str | None,
        typer.Option(help="Keys and usage: sqlite:///file or postgresql://user@host/name. Default as keys."),
    ] = None,
    prices: Annotated[Path | None, typer.Option(help="What an action costs, YAML. Default: nothing.")] = None,
    keep_usage: Annotated[
        int | None,
        typer.Option(
            help="Days for which the row of each answer is kept; sums by day always are. Default: for ever.",
            min=1,
        ),
    ] = None,
    rate: Annotated[
        float,
        typer.Option(help="Requests per second of a key that has no rate of its own.", callback=positive),
    ] = 50.0,
    key_connections: Annotated[int, typer.Option(help="Websockets that one key may hold open.", min=1)] = 32,
    key_in_flight: Annotated[int, typer.Option(help="Unanswered questions of one key.", min=1)] = 32,
    idle: Annotated[
        float,
        typer.Option(
            help="Seconds for which a websocket may be silent. Default: while it answers pings.",
            callback=above_zero,
        ),
    ] = float("inf"),
    openpi_hz: Annotated[
        float,
        typer.Option(
            help="Actions per second that an openpi client plays whose address has no ?hz=.",
            callback=positive,
        ),
    ] = 50.0,
    openpi_guard: Annotated[
        bool, typer.Option(help="Hold the card's ranges and speeds in what openpi clients get.")
    ] = True,
    batch: Annotated[int, typer.Option(help="Questions answered together at most.", min=1)] = 16,
    queue: Annotated[int, typer.Option(help="Questions that may wait; more are refused.", min=1)] = 64,
    deadline: Annotated[
        float, typer.Option(help="Seconds within which an answer must come.", callback=positive)
    ] = 5.0,
    message_rate: Annotated[
        float, typer.Option(help="Messages per second of one connection.", callback=positive)
    ] = 200.0,
    gate: Annotated[
        bool, typer.Option(help="Judge every chunk by the shipped gate, for the bodies that it knows.")
    ] = True,
    threads: Annotated[int, typer.Option(help="CPU threads for the policy.", min=1)] = 1,
    device: loading.Device = "cpu",
    dtype: loading.Dtype = "fp32",
    quantise: loading.Quantise = None,
    compile: loading.Compile = False,
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure-beyond-localhost", help="Listen beyond localhost although keys or TLS are missing."
        ),
    ] = False,
) -> None:
    """Answer observations with actions: openpi's protocol on /, our own on /v1/stream, HTTP on /v1/act."""
    from kinema.commands.serve.process import bound_socket, check_certificate, run, url_of
    from kinema.commands.serve.served import served
    from kinema.serve.app import Listening, make_app
    from kinema.serve.limits import Limits
    from kinema.serve.openpi import OpenpiOptions
    from kinema.serve.service import Queueing

    listening = Listening(
        host=host, port=port, tls_cert=tls_cert, tls_key=tls_key, needs_key=keys, forced=insecure
    )
    held = loading.loading_of(device, dtype, quantise, compile)
    check_certificate(listening)
    socket = bound_socket(listening)  # before the policy is loaded: a port in use is told at once
    limits = Limits(
        message_hz=message_rate, key_connections=key_connections, key_in_flight=key_in_flight, idle_s=idle
    )
    kept = keys or database or prices or keep_usage  # else nothing is asked for that would have to be kept
    accounts = _accounts(database, prices, rate, keep_usage) if kept else None
    app = make_app(
        served(artifact, gate=gate, threads=threads, loading=held),
        listening=listening,
        limits=limits,
        queueing=Queueing(largest_batch=batch, largest_queue=queue, deadline_s=deadline),
        accounts=accounts,
        openpi_options=OpenpiOptions(hz=openpi_hz, guard=openpi_guard),
    )
    run(
        app,
        listening,
        socket,
        lambda: print(f"kinema serves {artifact} on {url_of(listening, socket)}", flush=True),
    )


def _accounts(
    database: str | None, prices: Path | None, rate_hz: float | None, keep_days: int | None
) -> Accounts:
    from kinema.schema import KinemaError
    from kinema.serve.app import Accounts
    from kinema.serve.keys import Keys
    from kinema.serve.prices import FREE, load_prices
    from kinema.serve.store import open_store
    from kinema.serve.usage import Usage

    store = open_store(database)
    table: Any = load_prices(prices) if prices else FREE
    try:
        usage = Usage(store, prices=table, keep_days=keep_days)
    except OSError as error:
        raise KinemaError(f"the server cannot begin: {error.filename or ''} {error.strerror}") from None
    return Accounts(keys=Keys(store), usage=usage, rate_hz=rate_hz)
