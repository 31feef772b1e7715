"""`kinema bench`: speed and memory, measured side by side in one run and reported as ratios."""

from __future__ import annotations

from typing import Annotated

import typer

from kinema.commands import policies
from kinema.commands.terminal import examples

app = typer.Typer(help="Speed and memory of the parts, measured here and now.", no_args_is_help=False)


@app.command(
    "policy", epilog=examples("kinema bench policy", "kinema bench policy --robot ur5e --rounds 200")
)
def policy(
    policy: Annotated[str, typer.Option(help="A shipped artifact, or the folder of one.")] = policies.DEFAULT,
    robot: Annotated[str, typer.Option(help="The body.")] = "panda",
    rounds: Annotated[int, typer.Option(help="Observations per row.", min=1)] = 100,
) -> None:
    """Time from one observation to one chunk, median and p95."""
    from kinema.commands.measure import policy_table

    print(policy_table(policies.artifact_folder(policy), robot, rounds=rounds))


@app.command("train", epilog=examples("kinema bench train", "kinema bench train --recipe nano_metaworld"))
def train(
    recipe: Annotated[str, typer.Option(help="Whose network to train.")] = "nano_tabletop",
    steps: Annotated[int, typer.Option(help="Steps per row.", min=1)] = 20,
) -> None:
    """Training samples per second and memory, on made-up data."""
    from kinema.commands.measure import train_table

    print(train_table(recipe, steps=steps))
