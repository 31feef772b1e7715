"""`kinema data fits` and `convert`: whether a data set fits a card, and the set as the card's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kinema.commands.terminal import examples

EXAMPLES = examples(
    "kinema data fits data/mine --card so101",
    "kinema data fits data/mine --card so101 --map so101_in_degrees.yaml",
)
CONVERT_EXAMPLES = examples("kinema data convert data/mine --card panda --out data/tabletop/mine")


def fits(
    folder: Annotated[Path, typer.Argument(help="Folder of a LeRobot data set.")],
    card: Annotated[str, typer.Option(help="Name or file of the card. Default: what the set says.")] = "",
    told: Annotated[
        Path | None,
        typer.Option(
            "--map", help="What you say of the set: channels, units, cameras. Default: its kinema.yaml."
        ),
    ] = None,
) -> None:
    """Compare a set with a card: rate, channels, units, values, cameras. Exit code 1 if it does not fit."""
    from kinema.card.load import load_card
    from kinema.data.fits import card_of, findings, open_set
    from kinema.data.set_map import read_set_map, set_map_of

    said = read_set_map(told) if told is not None else set_map_of(folder)
    dataset = open_set(folder, said)
    body = load_card(card) if card else card_of(dataset, said)
    found = findings(dataset, body, said)
    print(f"{folder} and card {body.name}")
    for finding in found:
        print(f"{finding.verdict:>10}  {finding}")
    if any(finding.verdict == "refused" for finding in found):
        raise typer.Exit(1)


def convert(
    folder: Annotated[Path, typer.Argument(help="Folder of a LeRobot data set.")],
    out: Annotated[Path, typer.Option(help="Folder of the new data set.")],
    card: Annotated[str, typer.Option(help="Name or file of the card. Default: what the set says.")] = "",
    told: Annotated[
        Path | None,
        typer.Option("--map", help="What you say of the set. Default: the kinema.yaml in its folder."),
    ] = None,
    image_size: Annotated[int, typer.Option(help="Pixels of a side.", min=16, max=1024)] = 96,
) -> None:
    """Write a data set anew as a card's: its rate, channels, units and camera names."""
    from kinema.card.load import load_card
    from kinema.data import convert as conversion
    from kinema.data.fits import card_of, open_set
    from kinema.data.set_map import read_set_map, set_map_of

    said = read_set_map(told) if told is not None else set_map_of(folder)
    dataset = open_set(folder, said)
    body = load_card(card) if card else card_of(dataset, said)
    conversion.convert(dataset, body, out, image_size=image_size, told=said)
    print(f"{out}: {dataset.num_episodes} episodes for card {body.name} at {body.control_hz:g} Hz")
