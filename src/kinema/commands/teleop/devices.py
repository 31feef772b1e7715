"""`--with`: what a person holds, from a word on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kinema.commands.driver import LEROBOT, settings_of
from kinema.schema import KinemaError

if TYPE_CHECKING:
    from kinema.card.card import EmbodimentCard
    from kinema.card.values import Side
    from kinema.runtime.teleop.operator import Operator
    from kinema.runtime.wiring import Wiring

With = Annotated[
    str,
    typer.Option(
        "--with",
        help="What moves the body: keyboard, gamepad (or gamepad:/dev/input/js1), or lerobot:TYPE, an arm "
        "that is led (so101_leader).",
    ),
]
WithConfig = Annotated[
    Path | None, typer.Option("--with-config", help="YAML with the settings of lerobot:TYPE: port, id, ...")
]
WithSettings = Annotated[
    list[str] | None, typer.Option("--with-set", help="One of these settings, key=value. May be repeated.")
]
Arm = Annotated[str, typer.Option(help="The arm to begin with, left or right. Default: the right one.")]
Speed = Annotated[float, typer.Option(help="Of the tool at full deflection, in m/s.", min=0.001, max=1.0)]
_TURNS_RAD_PER_M = 6.0  # a tool at 0.1 m/s turns at 0.6 rad/s


def operator_of(
    card: EmbodimentCard, wiring: Wiring, word: str, config: Path | None, settings: Sequence[str], *,
    side: str, speed_m_s: float, engaged: bool,
) -> Operator:  # fmt: skip
    """The person with their device. engaged: whether they have the body from the beginning

    Raises KinemaError when there is no such device, or the body is not moved by it."""
    from kinema.runtime.teleop.gamepad import DEFAULT, Gamepad
    from kinema.runtime.teleop.intent import Device, Together
    from kinema.runtime.teleop.jog import Jog, Speeds
    from kinema.runtime.teleop.keyboard import Keyboard
    from kinema.runtime.teleop.leader import Leader
    from kinema.runtime.teleop.operator import Operator

    kind, _, rest = word.partition(":")
    if kind == LEROBOT:
        from kinema.runtime.lerobot_robots import made

        led = made("teleoperator", rest, settings_of(config, settings))
        return Operator(card, Together(Leader(card, led, wiring), Keyboard()), None, engaged=engaged)
    if config or settings:
        raise KinemaError(f"--with-config and --with-set are settings of lerobot:TYPE; --with is {word}")
    speeds = Speeds(linear_m_s=speed_m_s, angular_rad_s=_TURNS_RAD_PER_M * speed_m_s)
    jog = Jog(card, speeds, _side(side))
    device: Device
    if kind == "gamepad":
        device = Gamepad(Path(rest) if rest else DEFAULT)
    elif word == "keyboard":
        device = Keyboard()
    else:
        raise KinemaError(f"--with {word!r}: choices: keyboard, gamepad, gamepad:PATH, {LEROBOT}:TYPE")
    return Operator(card, device, jog, engaged=engaged)


def _side(word: str) -> Side | None:
    if word not in ("", "left", "right"):
        raise KinemaError(f"--arm is left or right, not {word!r}")
    return word or None  # type: ignore[return-value]
