"""`kinema data`: make demonstrations, look at them, check them, mend them."""

from __future__ import annotations

import typer

from kinema.commands.terminal import examples

app = typer.Typer(help="Data sets: make, inspect, verify, repair, stats.", no_args_is_help=False)
