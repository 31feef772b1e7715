"""`lerobot-kinema`: writes the folder that lerobot's `--policy.path` names."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from kinema.commands.driver import DriverConfig, Settings, make_driver
from kinema.commands.policies import artifact_folder
from kinema.commands.terminal import say_error
from kinema.runtime.wiring_file import read_wiring
from kinema.schema import KinemaError
from lerobot_policy_kinema.folder import card_of, write


def folder(
    artifact: Annotated[str, typer.Argument(help="A shipped artifact's name, or the folder of one.")],
    out: Annotated[Path, typer.Argument(help="The folder to write.")],
    robot: Annotated[
        str | None, typer.Option(help="The body, by its card's name. Default: the artifact's only one.")
    ] = None,
    driver: Annotated[
        str | None,
        typer.Option(
            help="lerobot:TYPE, whose keys and units lerobot will use. Default: an environment whose numbers "
            "are the card's channels, in the card's order and units."
        ),
    ] = None,
    driver_config: DriverConfig = None,
    settings: Settings = None,
    wiring: Annotated[
        Path | None, typer.Option(help="YAML with keys, units, signs and zeros, as for `kinema client`.")
    ] = None,
) -> None:
    """Write the folder that lerobot runs with --policy.path. No robot is connected for it."""
    source = artifact_folder(artifact)
    card = card_of(source, robot)
    if driver is None and (driver_config or settings):
        raise KinemaError("--driver-config and --set say something of a robot; name it with --driver")
    body = make_driver(driver, driver_config, settings or ()) if driver else None
    write(source, out, card, robot=body, told=read_wiring(wiring, card) if wiring else None)
    whom = body.name if body is not None else f"an environment with the channels of {card.name}"
    print(f"{out}: {source.name} for {whom}; lerobot-rollout and lerobot-eval take it as --policy.path={out}")


def main() -> None:
    """The console script. Exit code 2 and one line for what the user can mend."""
    try:
        typer.run(folder)
    except KinemaError as error:
        say_error(str(error))
        sys.exit(2)
