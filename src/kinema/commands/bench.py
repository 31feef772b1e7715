"""`kinema bench`: speed and memory, measured side by side in one run and reported as ratios."""

from __future__ import annotations

import typer

from kinema.commands.terminal import examples

app = typer.Typer(help="Speed and memory of the parts, measured here and now.", no_args_is_help=False)


@app.command("world", epilog=examples("kinema bench world"))
def world() -> None:
    """Control steps per second of the tabletop world, with and without pictures."""


@app.command("data", epilog=examples("kinema bench data"))
def data() -> None:
    """Samples per second of the loader, from video and from the frame cache."""


@app.command("policy", epilog=examples("kinema bench policy"))
def policy() -> None:
    """Time from one observation to one chunk, median and p95."""


@app.command("train", epilog=examples("kinema bench train"))
def train() -> None:
    """Training samples per second and memory of the nano preset."""
