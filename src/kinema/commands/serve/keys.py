"""`kinema keys`: who may ask a server, and how much."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from kinema.commands.terminal import examples, positive, table

if TYPE_CHECKING:
    from kinema.serve.keys import Keys

app = typer.Typer(help="API keys of the server: make, list and revoke them.", no_args_is_help=True)

Database = Annotated[
    str | None,
    typer.Option(
        help="The server's database as a URL (sqlite:///file or postgresql://user@host/name). "
        "Default: $KINEMA_DATABASE, else a file in $KINEMA_HOME or the user's data folder."
    ),
]


@app.command(
    "make",
    epilog=examples(
        "kinema keys make arm-in-the-lab", "kinema keys make demo --rate 10 --quota 100000 --out demo.key"
    ),
)
def make(
    name: Annotated[str, typer.Argument(help="What the key is for; one key in use has it.")],
    rate: Annotated[
        float | None,
        typer.Option(help="Requests per second. Default: the server's own limit.", callback=positive),
    ] = None,
    quota: Annotated[int | None, typer.Option(help="Actions per UTC day. Default: no end.", min=0)] = None,
    admin: Annotated[bool, typer.Option("--admin", help="May see the usage of every key.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write the secret into this new file, which only you may read.")
    ] = None,
    database: Database = None,
) -> None:
    """Make a key. Its secret is told once, on standard output or in a file, and kept nowhere else."""
    from kinema.serve.keys import Key

    Key(id="", name=name, rate_hz=rate, quota_per_day=quota)  # what it refuses leaves no database behind
    file = _new_file(out) if out is not None else None  # before the key is made: none is lost
    try:
        key, secret = _keys(database).make(name, rate_hz=rate, quota_per_day=quota, admin=admin)
    except BaseException:
        if out is not None:
            out.unlink()
        raise
    print(secret, file=file)
    if file is not None:
        file.close()
    print(f"This is the secret of key {key.id} ({key.name}); it cannot be shown again.", file=sys.stderr)


@app.command("list", epilog=examples("kinema keys list"))
def list_keys(database: Database = None) -> None:
    """List all keys, revoked ones too."""
    rows = [
        (
            key.id,
            key.name,
            "server's" if key.rate_hz is None else f"{key.rate_hz:g}",
            "no end" if key.quota_per_day is None else key.quota_per_day,
            "yes" if key.admin else "",
            _when(key.made_s),
            _when(key.revoked_s),
        )
        for key in _keys(database, there=True).list()
    ]
    print(table(rows, ("id", "name", "requests/s", "actions/day", "admin", "made", "revoked")))


@app.command("revoke", epilog=examples("kinema keys revoke arm-in-the-lab"))
def revoke(
    key: Annotated[str, typer.Argument(help="Name or id of the key.")], database: Database = None
) -> None:
    """Revoke a key. A running server refuses it within 5 seconds (60 while its database does not answer)."""
    revoked = _keys(database, there=True).revoke(key)
    print(f"key {revoked.id} ({revoked.name}) is revoked")


def _new_file(path: Path) -> TextIO:
    from kinema.schema import KinemaError

    try:
        return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w")
    except OSError as error:
        raise KinemaError(f"--out {path}: {error.strerror}") from None


def _keys(database: str | None, *, there: bool = False) -> Keys:
    """there: a file that is missing is no database, and is not made one."""
    from kinema.schema import KinemaError
    from kinema.serve.keys import Keys
    from kinema.serve.store import default_url, open_store

    file = (database or default_url()).partition("sqlite:///")[2]
    if there and file and not Path(file).exists():
        raise KinemaError(f"no database {file}: no key was ever made in it; make one with `kinema keys make`")
    return Keys(open_store(database))


def _when(time_s: float | None) -> str:
    return "" if time_s is None else datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
