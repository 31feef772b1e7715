"""`--driver`: a robot made from a name on the command line, with its settings."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kinema.schema import KinemaError

if TYPE_CHECKING:
    from kinema.card.card import EmbodimentCard
    from kinema.runtime.robot import Robot

LEROBOT = "lerobot"
MEMBERS = (
    "name", "observation_features", "action_features", "is_connected", "connect", "get_observation",
    "send_action", "disconnect",
)  # fmt: skip

DriverConfig = Annotated[
    Path | None,
    typer.Option(help="YAML with the driver's settings: port, id, cameras, ... as lerobot's configuration."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="One setting of the driver, key=value; a dot goes deeper. May be repeated."),
]


def make_driver(name: str, config: Path | None = None, settings: Sequence[str] = ()) -> Robot:
    """`lerobot:TYPE`, or `module:callable` from the current folder or an installed package.

    config, settings: of lerobot's configuration, or keyword arguments of the callable.
    Raises KinemaError when there is no such driver or it refuses them.
    """
    module, _, attribute = name.partition(":")
    given = settings_of(config, settings)
    if module == LEROBOT:
        from kinema.runtime.lerobot_robots import make

        return make(attribute, given)
    robot = _called(name, _found(name, module, attribute), given)
    if lacking := [member for member in MEMBERS if not hasattr(robot, member)]:
        raise KinemaError(
            f"driver {name!r} made a {type(robot).__name__} without {', '.join(lacking)}; a driver has the "
            "members of kinema.runtime.robot.Robot"
        )
    return robot  # type: ignore[no-any-return]


def connecting(
    card: EmbodimentCard, name: str, config: Path | None = None, settings: Sequence[str] = ()
) -> Robot:
    """As `make_driver`, and told whether its motors are to keep their torque, where it can choose."""
    from kinema.runtime.robot import say_torque

    robot = make_driver(name, config, settings)
    if not say_torque(robot, card.hold.torque_on_exit == "hold"):
        print(f"{robot.name} does not say whether its motors stay on at the end; see `keep_torque`")
    return robot


def require_driver(
    driver: str | None, config: Path | None, settings: Sequence[str] | None, wiring: Path | None
) -> None:
    """Raises KinemaError for what says something of a driver where none is named."""
    if driver is None and (config or settings or wiring):
        raise KinemaError(
            "--driver-config, --set and --wiring say something of a driver; name it with --driver "
            "(without one the body is simulated)"
        )


def settings_of(config: Path | None, settings: Sequence[str]) -> dict[str, Any]:
    """A file's settings with single ones put in. Raises KinemaError for what is none."""
    return _merged(_read(config) if config else {}, settings)


def _found(name: str, module: str, attribute: str) -> Any:
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last, so that a file here hides no package
    try:
        made = import_module(module)
        for part in attribute.split("."):
            made = getattr(made, part)
    except (ImportError, AttributeError, ValueError, SyntaxError) as error:
        raise KinemaError(
            f"no driver {name!r} ({error}); write module:callable of a file in the current folder or of an "
            f"installed package, or {LEROBOT}:TYPE"
        ) from None
    return made


def _called(name: str, make: Any, given: Mapping[str, Any]) -> Any:
    if not callable(make):
        raise KinemaError(f"driver {name!r} is a {type(make).__name__}, nothing that makes a robot")
    try:
        with suppress(ValueError):  # what is built in may have no signature
            signature(make).bind(**given)
    except TypeError as error:
        raise KinemaError(
            f"driver {name!r} cannot be made with the settings {dict(given)}: {error}"
        ) from None
    return make(**given)


def _read(path: Path) -> dict[str, Any]:
    from kinema.card.strict_yaml import StrictYamlError, read_bytes, read_mapping

    try:
        return read_mapping(read_bytes(path), "driver's configuration", str(path))
    except StrictYamlError as error:
        raise KinemaError(str(error)) from None


def _merged(tree: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """The configuration with each `a.b=value` put in; a value is YAML: a number, true, text, [a, list]."""
    from kinema.card.strict_yaml import StrictYamlError, read_mapping

    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not all(path.split(".")):
            raise KinemaError(f"--set {setting!r}: write key=value, or outer.inner=value")
        try:
            value = read_mapping(f"value: {text}".encode(), "setting")["value"]
        except StrictYamlError as error:
            raise KinemaError(f"--set {setting!r}: {error}") from None
        *outer, last = path.split(".")
        node = tree
        for part in outer:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise KinemaError(f"--set {setting!r}: {part!r} is {node!r} already, nothing with parts")
        node[last] = value
    return tree
