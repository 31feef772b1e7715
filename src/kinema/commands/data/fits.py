"""`kinema data fits`, `convert` and `bags`: whether a set fits a card, the set as the card's, and as bags."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kinema.commands.terminal import examples, pairs, positive
from kinema.schema import KinemaError

if TYPE_CHECKING:
    from kinema.card.card import EmbodimentCard
    from kinema.data.formats.source import Source as Recordings
    from kinema.data.set_map import SetMap

EXAMPLES = examples(
    "kinema data fits data/mine --card so101",
    "kinema data fits data/mine --card so101 --map so101_in_degrees.yaml",
    "kinema data fits recordings/act --card aloha --map front=cam_high,wrist=cam_left_wrist --rate 50 "
    '--task "hand the cup over"',
)
CONVERT_EXAMPLES = examples(
    "kinema data convert data/mine --card panda --out data/tabletop/mine",
    "kinema data convert recordings/act --card aloha --map front=cam_high,wrist=cam_left_wrist --rate 50 "
    '--task "hand the cup over" --out data/tabletop/aloha',
)
BAGS_EXAMPLES = examples("kinema data bags data/tabletop/panda --out bags/panda")
Source = Annotated[
    Path,
    typer.Argument(
        help="A LeRobot set of any version, HDF5 of ACT or robomimic, a Zarr replay buffer (UMI), "
        "ROS bags or MCAP, an RLDS folder."
    ),
]
Told = Annotated[
    str,
    typer.Option(
        "--map",
        help="What you say of it: a YAML file, or NAME=THEIRS with commas, where NAME is a camera or channel "
        "of the card, action or observation.state, and THEIRS one of theirs, or several with +. "
        "Default: the kinema.yaml in its folder.",
    ),
]
Rate = Annotated[
    float | None,
    typer.Option(help="Rows per second, where the format does not say it.", callback=positive),
]
Task = Annotated[str, typer.Option(help="The instruction of episodes that have none.")]


def fits(
    folder: Source,
    card: Annotated[str, typer.Option(help="Name or file of the card. Default: what the set says.")] = "",
    mapped: Told = "",
    rate: Rate = None,
    task: Task = "",
) -> None:
    """Compare a set with a card: rate, channels, units, values, cameras. Exit code 1 if it does not fit."""
    from kinema.data.formats.fitting import source_findings

    source, body, said = _opened(folder, card, mapped, rate, task)
    found = source_findings(source, body, said)
    print(f"{folder} and card {body.name}")
    for finding in found:
        print(f"{finding.verdict:>10}  {finding}")
    if any(finding.verdict == "refused" for finding in found):
        raise typer.Exit(1)


def convert(
    folder: Source,
    out: Annotated[Path, typer.Option(help="Folder of the new data set.")],
    card: Annotated[str, typer.Option(help="Name or file of the card. Default: what the set says.")] = "",
    mapped: Told = "",
    rate: Rate = None,
    task: Task = "",
    image_size: Annotated[int, typer.Option(help="Pixels of a side.", min=16, max=1024)] = 96,
) -> None:
    """Write recordings anew as a card's data set: its rate, channels, units and camera names."""
    from kinema.data.convert import convert as conversion
    from kinema.data.index import Index

    source, body, said = _opened(folder, card, mapped, rate, task)
    left_out = conversion(source, body, out, image_size=image_size, told=said)
    for episode in left_out:
        print(f"{episode.name} was left out: {episode.why}")
    count = Index.open(out).num_episodes if len(left_out) < len(source) else 0
    print(f"{out}: {count} episodes for card {body.name} at {body.control_hz:g} Hz")
    if left_out:
        raise typer.Exit(1)


def bags(
    folder: Annotated[Path, typer.Argument(help="A LeRobot set of any version.")],
    out: Annotated[Path, typer.Option(help="Folder for the bags; empty, or not there yet.")],
) -> None:
    """Write every episode of a set as a ROS 2 bag in MCAP, pictures without loss (needs the extra `ros`)."""
    from kinema.data.fits import open_set
    from kinema.data.formats.bag_write import write_bags
    from kinema.data.formats.lerobot import LeRobot
    from kinema.data.set_map import set_map_of

    said = set_map_of(folder)
    count = write_bags(LeRobot(open_set(folder, said), said.rate_hz), out)
    print(f"{out}: {count} bags")


def _opened(
    folder: Path, card: str, mapped: str, rate: float | None, task: str
) -> tuple[Recordings, EmbodimentCard, SetMap]:
    """The source under the names that the map gives, and the card it is compared with."""
    from kinema.card.load import load_card
    from kinema.data.fits import card_of, open_set
    from kinema.data.formats.opened import open_source
    from kinema.data.metadata import INFO
    from kinema.data.set_map import read_set_map, set_map_of

    inline = "=" in mapped
    said = read_set_map(Path(mapped)) if mapped and not inline else set_map_of(folder)
    if card or said.card:
        body = load_card(card or str(said.card))
    elif (folder / INFO).is_file():
        body = card_of(open_set(folder, said), said)
    else:
        raise KinemaError(f"{folder} does not say whose recordings these are; say --card NAME")
    if inline:
        said = with_names(said, sources(mapped), body)
    return open_source(folder, body, said, rate_hz=rate, task=task), body, said


def sources(text: str) -> dict[str, tuple[str, ...]]:
    """`action=actions,observation.state=shoulder+elbow` as the sources of each name."""
    found = {}
    for name, columns in pairs("--map", text, "COLUMN, or NAME=COLUMN+COLUMN").items():
        found[name] = tuple(map(str.strip, columns.split("+")))
        if not all(found[name]):
            raise KinemaError(f"--map {name}={columns}: write NAME=COLUMN+COLUMN, a column beside every +")
    return found


def with_names(said: SetMap, names: Mapping[str, tuple[str, ...]], card: EmbodimentCard) -> SetMap:
    """A map that says these names as well: of cameras and channels of the card, else of columns.

    Raises KinemaError where one camera or channel would be several.
    """
    from kinema.data.metadata import ACTION, EXECUTED, STATE, SUCCESS
    from kinema.data.set_map import ChannelMap

    cameras, columns, channels = dict(said.cameras), dict(said.columns), dict(said.channels)
    of_card = [channel.name for channel in (*card.states, *card.actions)]
    for name, sources in names.items():
        if name in (ACTION, STATE, EXECUTED, SUCCESS):
            columns[name] = sources
            continue
        if name not in card.camera_names and name not in of_card:
            choices = [ACTION, STATE, *card.camera_names, *dict.fromkeys(of_card)]
            raise KinemaError(f"--map {name}=…: {name!r} is nothing of card {card.name}; choices: {choices}")
        if len(sources) > 1:
            raise KinemaError(f"--map {name}={'+'.join(sources)}: {name!r} is one, not several")
        if name in card.camera_names:
            cameras[name] = sources[0]
        else:
            known = channels.get(name, ChannelMap())
            channels[name] = known.model_copy(update={"key": sources[0]})
    return said.model_copy(update={"cameras": cameras, "columns": columns, "channels": channels})
