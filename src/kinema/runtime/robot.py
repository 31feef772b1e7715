"""The robot as the loop sees it: a driver with lerobot's interface, and the body that it moves.

`Robot` has the members of lerobot's robots, dictionaries of numbers and pictures by name. `Body` speaks the
card's language to it, and takes nothing from it on trust.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Protocol, TypeVar

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.runtime.cameras import PICTURE_TIMES, TAKEN
from kinema.runtime.policy import hold_action
from kinema.runtime.wiring import Wire, Wiring, joint_names, wiring_for
from kinema.schema import KinemaError, Observation

FIRST_READS = 3  # tries for the first reading: one failed read of a bus is nothing
T = TypeVar("T")
_log = logging.getLogger(__name__)


class Robot(Protocol):
    """A body behind a driver. Keys and units are its own; `Wiring` says what they are on the card.

    It may have further members:

    units:          the unit of each key (a name of `wiring.UNITS` or a `Unit`); without it a wiring file is
                    needed
    command_hz:     how often it takes a target, where that is more often than the card's control rate
    keep_torque: set before the robot connects and again before it disconnects, to what the card says:
                    whether the motors keep their torque when the driver lets go
    """

    name: str

    @property
    def observation_features(self) -> Mapping[str, Any]:
        """`float` for a number, (H, W, 3) for a picture, by key."""
        ...

    @property
    def action_features(self) -> Mapping[str, Any]: ...

    @property
    def is_connected(self) -> bool: ...

    def connect(self, calibrate: bool = True) -> None: ...

    def get_observation(self) -> dict[str, Any]:
        """A reading. OSError (ConnectionError, TimeoutError) when it failed: the next one is tried.

        "<camera>.taken_s", when a picture was taken on any clock, lets a camera that has stopped be noticed;
        without it, only one whose picture stays the same while the body moves is.
        """
        ...

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        """Move towards the action; what was really sent, after the driver's own clipping."""
        ...

    def disconnect(self) -> None: ...


class ReadingError(KinemaError, ConnectionError):
    """A reading that cannot be used: a key is missing or holds no number. The next one may be right again."""


class Body:
    """A robot in the terms of its card: observations and native actions as arrays, sent and taken whole.

    A context manager: on entry it connects when the robot is not connected yet, reads once and tells the
    robot to stay where it is, so that whatever does not fit is found before anything moves; on the way out
    it disconnects, the motors' torque as the card says.
    """

    def __init__(self, card: EmbodimentCard, robot: Robot, wiring: Wiring | None = None) -> None:
        self.card, self.robot = card, robot
        self.wiring = wiring or wiring_for(card, robot)
        self._actions = [self.wiring.actions[channel.name] for channel in card.actions]
        self._states = [self.wiring.states[channel.name] for channel in card.states]

    def __enter__(self) -> Body:
        self._say_torque()
        try:
            if not self.robot.is_connected:
                self.robot.connect()
            self.greet()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._leave()
            return
        try:
            self._leave()
        except Exception as second:  # what went wrong first says more
            _log.warning("robot %r could not be disconnected: %s", self.robot.name, second)

    def greet(self) -> Observation:
        """Read once and tell the robot to stay where it is: nothing moves, and its answers are checked.

        Raises KinemaError, or the driver's OSError when it cannot be read.
        """
        seen = _tried(lambda: self.observe("", 0.0))
        self._within_reach(seen)
        rest = hold_action(self.card, seen.state)
        if np.isfinite(rest).all():
            self.send(rest)
        return seen

    def observe(self, instruction: str, time_s: float) -> Observation:
        """What the body senses now. Values that are not finite are passed on: the guard deals with them.

        Raises ReadingError, which is a KinemaError and a ConnectionError, for a reading that lacks something.
        """
        raw = self.robot.get_observation()
        self._has(raw, [w.key for w in self._states] + list(self.wiring.cameras.values()), "get_observation")
        state = np.array(
            [
                wire.native(self._number(raw, wire, channel.name, "get_observation"))
                for wire, channel in zip(self._states, self.card.states)
            ],
            np.float32,
        )
        sensors = {}
        if self.wiring.torques:
            sensors["torque"] = np.array([self._torque(raw, joint) for joint in joint_names(self.card)])
        taken_s = [raw.get(f"{self.wiring.cameras[name]}.{TAKEN}") for name in self.card.camera_names]
        if any(time_s is not None for time_s in taken_s):
            sensors[PICTURE_TIMES] = np.array([np.nan if t is None else float(t) for t in taken_s])
        return Observation(
            images={name: self._picture(raw[key], name, key) for name, key in self.wiring.cameras.items()},
            state=state,
            instruction=instruction,
            time_s=time_s,
            sensors=sensors,
        )

    def send(self, action: np.ndarray) -> np.ndarray:
        """Send a native action (D,); the native action (D,) that the robot says it took.

        Raises ReadingError when the robot does not say what it took.
        """
        values = dict(self.wiring.fixed)
        for wire, channel, value in zip(self._actions, self.card.actions, action):
            for each in (wire, *self.wiring.also.get(channel.name, ())):
                values[each.key] = float(each.raw(value))
        taken = self.robot.send_action(values)
        self._has(taken, [wire.key for wire in self._actions], "send_action")
        return np.array(
            [
                wire.native(self._number(taken, wire, channel.name, "send_action"))
                for wire, channel in zip(self._actions, self.card.actions)
            ]
        )

    # -- nothing is taken on trust

    def _has(self, raw: object, keys: list[str], method: str) -> None:
        if not isinstance(raw, Mapping):
            raise ReadingError(
                f"robot {self.robot.name!r}: {method} must return a mapping with {keys}; "
                f"it returned {_shown(raw)}"
            )
        if lacking := [key for key in keys if key not in raw]:
            raise ReadingError(
                f"robot {self.robot.name!r}: {method} did not report {lacking}; "
                f"it returned {sorted(map(str, raw))}"
            )

    def _number(self, raw: Mapping[str, Any], wire: Wire, name: str, method: str) -> float:
        value = raw[wire.key]
        if not isinstance(value, str | bytes | bool | None):
            with contextlib.suppress(TypeError, ValueError):
                return float(value)
        raise ReadingError(
            f"robot {self.robot.name!r}: {method} gave {_shown(value)} for {wire.key!r} "
            f"({name!r} of {self.card.name}); it must be a number"
        )

    def _torque(self, raw: Mapping[str, Any], joint: str) -> float:
        wire = self.wiring.torques.get(joint)
        if wire is None or raw.get(wire.key) is None:
            return np.nan
        return wire.native(self._number(raw, wire, joint, "get_observation"))

    def _picture(self, value: object, name: str, key: str) -> np.ndarray:
        picture = np.asarray(value) if value is not None else np.empty(0)
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
            got = f"{picture.dtype} {picture.shape}" if value is not None else "None"
            raise ReadingError(
                f"robot {self.robot.name!r}: camera {name!r} ({key!r}) must be uint8 (height, width, 3), "
                f"RGB; got {got}"
            )
        return picture

    def _within_reach(self, seen: Observation) -> None:
        """A state far outside the card's range is most likely in another unit."""
        for wire, channel, value in zip(self._states, self.card.states, seen.state):
            low, high = channel.range
            if np.isfinite(value) and not low - (high - low) <= value <= high + (high - low):
                raise KinemaError(
                    f"{self.card.name}: {channel.name} reads {value:.4g} {channel.unit} ({wire.key!r} is "
                    f"{wire.raw(value):.4g}), far outside {low:g} to {high:g}; another unit, or another zero "
                    f"than the card's? The line `{channel.name}: {{key: {wire.key}, unit: ..., zero: ...}}` "
                    "of a wiring file says both"
                )

    def _say_torque(self) -> None:
        say_torque(self.robot, self.card.hold.torque_on_exit == "hold")

    def _leave(self) -> None:
        if self.robot.is_connected:
            self._say_torque()
            self.robot.disconnect()


def read_once(card: EmbodimentCard, robot: Robot) -> Mapping[str, Any]:
    """What a robot reports, raw. It is connected for it where it is not, and nothing is sent.

    Raises KinemaError when it reports no mapping, or the driver's OSError when it cannot be read.
    """
    say_torque(robot, card.hold.torque_on_exit == "hold")
    connected = robot.is_connected
    if not connected:
        robot.connect()
    try:
        seen = _tried(robot.get_observation)
    finally:
        if not connected and robot.is_connected:
            robot.disconnect()
    if not isinstance(seen, Mapping):
        raise KinemaError(
            f"robot {robot.name!r}: get_observation must return a mapping; it is {_shown(seen)}"
        )
    return seen


def say_torque(robot: Any, keep: bool) -> bool:
    """Tell a driver whether its motors keep their torque when it lets go. Returns whether it can choose."""
    if hasattr(robot, "keep_torque"):
        robot.keep_torque = keep
        return True
    told = False
    for _, part in parts_of(robot):
        config: Any = getattr(part, "config", None)
        if hasattr(config, "disable_torque_on_disconnect"):  # one of lerobot's, handed over as it is
            config.disable_torque_on_disconnect = not keep
            told = True
    return told


def parts_of(robot: Any) -> list[tuple[str, Any]]:
    """A robot of lerobot's with the prefix of its keys: itself, or its two arms."""
    arms = [(f"{side}_", getattr(robot, f"{side}_arm", None)) for side in ("left", "right")]
    return arms if all(arm is not None for _, arm in arms) else [("", robot)]


def _tried(read: Callable[[], T]) -> T:
    """A first reading: one that fails is tried again."""
    for _ in range(FIRST_READS - 1):
        with contextlib.suppress(OSError):
            return read()
    return read()


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."
