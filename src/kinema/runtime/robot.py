"""The robot as the loop sees it, and the way from a robot's own names and units to its card's channels.

`Robot` has the members of lerobot's robots (the 2026-08 interface), so that one of those can be driven
without being wrapped: dictionaries of numbers and pictures by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from kinema.card.card import Channel, EmbodimentCard
from kinema.schema import KinemaError, Observation


class Robot(Protocol):
    """A body behind a driver. Keys and units are its own; `Wiring` says what they are on the card."""

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

    def get_observation(self) -> dict[str, Any]: ...

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        """Move towards the action; what was really sent, after the driver's own clipping."""
        ...

    def disconnect(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Wire:
    """One number of the robot: native value = scale * value + offset, in the unit of the card's channel."""

    key: str
    scale: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and np.isfinite(self.offset)) or self.scale == 0:
            raise KinemaError(f"wire {self.key!r}: scale must be finite and not 0, offset finite; got {self}")


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """Where each channel, camera and torque of a card is found on a robot. Names of the card on the left.

    torques: joint torques [N m or N] by "side.joint", where the robot measures them
    """

    actions: Mapping[str, Wire]
    states: Mapping[str, Wire]
    cameras: Mapping[str, str]
    torques: Mapping[str, str] = field(default_factory=dict)


def wiring_for(card: EmbodimentCard, robot: Robot, wires: Mapping[str, Wire] | None = None) -> Wiring:
    """The wiring of a robot whose keys are the card's names, with or without lerobot's ".pos".

    wires: by channel name, for keys that are called otherwise or have another unit (degrees, percent).
    Raises KinemaError naming the channel or camera that is not found and the keys that there are.
    """
    special = dict(wires or {})
    seen, driven = set(robot.observation_features), set(robot.action_features)
    known = {channel.name for channel in (*card.actions, *card.states)}
    if unknown := sorted(set(special) - known):
        raise KinemaError(f"wires for {unknown}, but {card.name} has the channels {sorted(known)}")

    def find(channel: Channel, keys: set[str], what: str) -> Wire:
        wire = special.get(channel.name)
        names = [wire.key] if wire else [f"{channel.name}.pos", channel.name]
        for name in names:
            if name in keys:
                return wire or Wire(key=name)
        raise KinemaError(
            f"{what} {channel.name!r} of {card.name}: robot {robot.name!r} has none of {names}; "
            f"its keys: {sorted(keys)}"
        )

    missing = sorted(set(card.camera_names) - seen)
    if missing:
        raise KinemaError(
            f"robot {robot.name!r} lacks the cameras {missing} of {card.name}; has {sorted(seen)}"
        )
    return Wiring(
        actions={c.name: find(c, driven, "action") for c in card.actions},
        states={c.name: find(c, seen, "state") for c in card.states},
        cameras={name: name for name in card.camera_names},
        torques={joint: f"{joint}.torque" for joint in joint_names(card) if f"{joint}.torque" in seen},
    )


def joint_names(card: EmbodimentCard) -> list[str]:
    """ "side.joint" of every arm joint, in the card's order."""
    return [f"{arm.side}.{joint.name}" for arm in card.arms for joint in arm.joints]


class Body:
    """A robot in the terms of its card: observations and native actions as arrays, sent and taken whole.

    A context manager: connects on entry when the robot is not connected yet, disconnects on the way out.
    """

    def __init__(self, card: EmbodimentCard, robot: Robot, wiring: Wiring | None = None) -> None:
        self.card, self.robot = card, robot
        self.wiring = wiring or wiring_for(card, robot)
        self._actions = [self.wiring.actions[channel.name] for channel in card.actions]
        self._states = [self.wiring.states[channel.name] for channel in card.states]

    def __enter__(self) -> Body:
        if not self.robot.is_connected:
            self.robot.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.robot.is_connected:
            self.robot.disconnect()

    def observe(self, instruction: str, time_s: float) -> Observation:
        """What the body senses now. Values that are not finite are passed on: the guard deals with them."""
        raw = self.robot.get_observation()
        lacking = [w.key for w in self._states if w.key not in raw]
        lacking += [key for key in self.wiring.cameras.values() if key not in raw]
        if lacking:
            raise KinemaError(f"robot {self.robot.name!r} did not report {lacking}; it sent {sorted(raw)}")
        state = np.array(
            [wire.scale * float(raw[wire.key]) + wire.offset for wire in self._states], np.float32
        )
        sensors = {}
        if self.wiring.torques:
            keys = [self.wiring.torques.get(joint, "") for joint in joint_names(self.card)]
            sensors["torque"] = np.array([float(raw.get(key, np.nan)) for key in keys])
        return Observation(
            images={name: np.asarray(raw[key]) for name, key in self.wiring.cameras.items()},
            state=state,
            instruction=instruction,
            time_s=time_s,
            sensors=sensors,
        )

    def send(self, action: np.ndarray) -> np.ndarray:
        """Send a native action (D,); the native action (D,) that the robot says it took."""
        values = {wire.key: float((v - wire.offset) / wire.scale) for wire, v in zip(self._actions, action)}
        taken = self.robot.send_action(values)
        return np.array([wire.scale * float(taken[wire.key]) + wire.offset for wire in self._actions])
