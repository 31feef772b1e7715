"""`kinema robots`: the bodies this installation knows, and the check of a new card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kinema.commands.driver import DriverConfig, Settings
from kinema.commands.terminal import examples, finite, table, words
from kinema.schema import KinemaError

if TYPE_CHECKING:
    from kinema.card.card import Channel

app = typer.Typer(help="The bodies: list them, show one, check a new card.", no_args_is_help=False)

Name = Annotated[str, typer.Argument(help="Name of a shipped card, or the path of a YAML card.")]


@app.command("list", epilog=examples("kinema robots list"))
def list_robots() -> None:
    """List the shipped cards."""
    from kinema.card.load import card_names, load_card

    rows = []
    for name in card_names():
        card = load_card(name)
        joints = " + ".join(str(len(arm.joints)) for arm in card.arms)
        rows.append(
            (name, card.robot_tag, joints, card.control, f"{card.control_hz:g}", ", ".join(card.camera_names))
        )
    print(table(rows, ("name", "body", "joints", "control", "Hz", "cameras")))


@app.command("show", epilog=examples("kinema robots show panda"))
def show(name: Name) -> None:
    """Print one body: its channels with units, limits and slots, its cameras, and its prompt."""
    from kinema.card.load import load_card
    from kinema.card.prompt import prompt

    card = load_card(name)
    print(
        f"{card.name}: {card.robot_tag}, {card.control} at {card.control_hz:g} Hz in chunks of {card.chunk}"
    )
    print(f"source: {card.source}\n")
    _print_channels("action", card.actions)
    _print_channels("state", card.states)
    rows = [(camera.name, f"<{camera.tag}>", camera.mount) for camera in card.cameras]
    print(table(rows, ("camera", "tag", "mounted on")), end="\n\n")
    print(f"holds: {card.hold.action}, stops after {card.hold.stop_after_s:g} s")
    print(f"prompt: {prompt(card, '{instruction}', card.chunk)}")


@app.command("check", epilog=examples("kinema robots check panda", "kinema robots check my_robot.yaml"))
def check(name: Name) -> None:
    """Read a card strictly, check what its numbers mean together, compile its body, try its codec."""
    from kinema.card.check import check_card
    from kinema.commands.robots.card_check import MORE_CHECKS

    report = check_card(name, MORE_CHECKS)
    if report.card is None:
        raise KinemaError(report.rows[0].detail)
    for row in report.rows:
        print(f"{'ok' if row.ok else 'FAULT':6}{row.name:10}{row.detail}")
    if not report.ok:
        raise typer.Exit(1)


@app.command(
    "from-urdf",
    epilog=examples("kinema robots from-urdf my_arm.urdf --name my_arm --out my_arm.yaml"),
)
def from_urdf(
    urdf: Annotated[Path, typer.Argument(help="The maker's URDF; expand xacro first.")],
    name: Annotated[str, typer.Option(help="What the body shall be called: small letters, digits, _.")],
    out: Annotated[Path, typer.Option(help="The card to write.")],
    tip: Annotated[
        list[str] | None,
        typer.Option(
            help="The link that carries the gripper or hand; twice for two arms, the left one's first. "
            "Default: the arm's last."
        ),
    ] = None,
    base: Annotated[
        str, typer.Option(help="What the arms are fixed to; joints before it, as a waist, stand still at 0.")
    ] = "",
    hand: Annotated[
        str, typer.Option(help="A hand's values in place of a gripper, with commas: thumb,index,middle.")
    ] = "",
) -> None:
    """Write a first card: what the URDF says, and TODO behind what it does not."""
    from kinema.commands.robots.urdf_card import card_from_urdf

    if out.exists():
        raise KinemaError(f"{out} exists already; give another --out")
    text = card_from_urdf(urdf, name, tip or (), base=base, hand=words(hand))
    out.write_text(text)
    print(f"{out}: {text.count('TODO')} lines to look at (TODO); then: kinema robots check {out}")


@app.command("home", epilog=examples("kinema robots home my_robot.yaml --at 0.4 0 0.3"))
def home(
    name: Name,
    at: Annotated[
        tuple[float, float, float], typer.Option(help="Where the tool shall be, x y z [m].", callback=finite)
    ],
    side: Annotated[str, typer.Option(help="Which arm: right or left.")] = "right",
) -> None:
    """Print the joints' `home` that points the tool straight down at a place in the robot's frame."""
    from kinema.card.load import card_names, load_card, read_card
    from kinema.commands.robots.urdf_card import home_lines
    from kinema.commands.terminal import choose

    card = load_card(name) if name in card_names() else read_card(name)
    choose("side", side, [arm.side for arm in card.arms])
    arm = next(arm for arm in card.arms if arm.side == side)
    for joint, value in home_lines(card, at, arm.side).items():
        print(f"{joint}: home: {value:.5f}")


@app.command(
    "wiring",
    epilog=examples(
        "kinema robots wiring so101 my_robots:follower_arm --out wiring.yaml",
        "kinema robots wiring so101 lerobot:so101_follower --driver-config arm.yaml --out wiring.yaml",
    ),
)
def wiring(
    name: Name,
    driver: Annotated[str, typer.Argument(help="lerobot:TYPE, or module:callable that makes a robot.")],
    driver_config: DriverConfig = None,
    settings: Settings = None,
    out: Annotated[Path | None, typer.Option(help="Where to write it. Default: printed.")] = None,
) -> None:
    """Connect to a robot, read it once, and write a first wiring file with what is likely and why.

    Nothing is moved. Bring the body into a pose away from its zero first, within its ranges.
    """
    from kinema.card.load import load_card
    from kinema.commands.driver import make_driver
    from kinema.runtime.robot import read_once
    from kinema.runtime.wiring_guess import first_wiring

    if out is not None and out.exists():
        raise KinemaError(f"{out} exists already; name another file")
    card = load_card(name)
    robot = make_driver(driver, driver_config, settings or ())
    text = first_wiring(card, robot, read_once(card, robot))
    if out is None:
        print(text, end="")
        return
    out.write_text(text)
    marks = sum(line.count("?") for line in text.splitlines() if not line.lstrip().startswith("#"))
    print(f"{out}: {marks} question marks to settle before `kinema client --wiring {out}` takes it")


def _print_channels(what: str, channels: tuple[Channel, ...]) -> None:
    rows = [(c.name, c.slot, c.unit, _range(c), c.reference.replace("_", " ")) for c in channels]
    print(table(rows, (what, "slot", "unit", "range", "reference")), end="\n\n")


def _range(channel: Channel) -> str:
    low, high = channel.range
    return f"{low:g} … {high:g}" + ("" if channel.open is None else f", open at {channel.open:g}")


@app.command("conventions", epilog=examples("kinema robots conventions"))
def show_conventions() -> None:
    """Print units, orders and signs, and a table of the bodies, read off the code."""
    from kinema.commands.robots.conventions import bodies, conventions

    print(conventions(), bodies(), sep="\n\n")
