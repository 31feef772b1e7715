"""From a robot's own names and units to its card's channels and back.

A number without a unit moves a robot wrongly, so no unit is ever assumed: a driver declares its units
(`units`, by key), or a wiring file does (`wiring_file.py`). What is not known stops a run before it begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kinema.card.card import Channel, EmbodimentCard
from kinema.schema import KinemaError
from kinema.space.units import UNITS as UNITS
from kinema.space.units import Unit as Unit

if TYPE_CHECKING:
    from kinema.runtime.robot import Robot


@dataclass(frozen=True, kw_only=True)
class Wire:
    """One number of the robot: native value = scale * value + offset, in the unit of the card's channel."""

    key: str
    scale: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and np.isfinite(self.offset)) or self.scale == 0:
            raise KinemaError(f"wire {self.key!r}: scale must be finite and not 0, offset finite; got {self}")

    def native(self, value: float) -> float:
        return self.scale * value + self.offset

    def raw(self, native: float) -> float:
        return (native - self.offset) / self.scale


@dataclass(frozen=True, kw_only=True)
class Line:
    """What is told about one channel or torque; None where nothing is told.

    unit:     of the robot's number: a name of UNITS; None takes the driver's word for it
    reversed: whether the robot counts the other way round than the card
    zero:     the robot's number, in its own unit, where the card's channel is 0
    wire:     scale and offset outright, in place of unit, reversed and zero
    """

    key: str | None = None
    unit: str | None = None
    reversed: bool = False
    zero: float = 0.0
    wire: Wire | None = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a wiring file tells, before it is compared with a robot.

    channels: lines by the card's names, for readings and commands alike
    actions:  lines for commands alone, where they go by another key or unit
    cameras:  the robot's keys by the card's names
    also:     the channel whose command a further key of the robot is given, by that key (shadow motors)
    fixed:    commands that never change, by the robot's key (a base that stays where it is)
    where:    the file, for messages
    """

    channels: Mapping[str, Line] = field(default_factory=dict)
    actions: Mapping[str, Line] = field(default_factory=dict)
    cameras: Mapping[str, str] = field(default_factory=dict)
    torques: Mapping[str, Line] = field(default_factory=dict)
    also: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, float] = field(default_factory=dict)
    where: str = ""


@dataclass(frozen=True, kw_only=True)
class Wiring:
    """Where each channel, camera and torque of a card is found on a robot. Names of the card on the left.

    torques: joint torques [N m or N] by "side.joint", where the robot measures them
    also:    further keys of the robot that get a channel's command, by channel
    fixed:   commands that never change, by the robot's key
    """

    actions: Mapping[str, Wire]
    states: Mapping[str, Wire]
    cameras: Mapping[str, str]
    torques: Mapping[str, Wire] = field(default_factory=dict)
    also: Mapping[str, tuple[Wire, ...]] = field(default_factory=dict)
    fixed: Mapping[str, float] = field(default_factory=dict)


def wiring_for(card: EmbodimentCard, robot: Robot, told: Plan | Mapping[str, Wire] | None = None) -> Wiring:
    """The wiring of a robot: by the card's names, with or without lerobot's ".pos", and what is told besides.

    told: a wiring file's plan, or wires by channel name for other keys or units

    Raises KinemaError when a channel or camera is not found, a unit is not known or does not fit, or the
    robot wants commands that no channel gives.
    """
    plan = _as_plan(told)
    seen, driven = _keys(robot, "observation_features"), _keys(robot, "action_features")
    _names_exist(card, robot, plan, set(seen), set(driven))
    units = declared_units(robot)
    find = _Finder(card=card, robot=robot, plan=plan, units=units)
    actions = {c.name: find.wire(c, driven, "action") for c in card.actions}
    states = {c.name: find.wire(c, seen, "state") for c in card.states}
    channels = {c.name: c for c in card.actions}
    also: dict[str, tuple[Wire, ...]] = {}
    for key, name in plan.also.items():
        also[name] = (*also.get(name, ()), find.follower(channels[name], key))
    served = {wire.key for wire in actions.values()} | set(plan.also) | set(plan.fixed)
    if left := sorted(set(driven) - served):
        raise KinemaError(
            f"robot {robot.name!r} wants commands for {left} too, which no channel of {card.name} gives; "
            f"say in a wiring file what they are sent: `fixed: {{{left[0]}: 0.0}}`, or `also: {{{left[0]}: "
            f"{card.actions[0].name}}}` for a motor that follows a channel"
        )
    _each_key_once(card, robot, actions, states)
    return Wiring(
        actions=actions,
        states=states,
        cameras=_cameras(card, robot, plan, seen),
        torques={j: wire for j in joint_names(card) if (wire := find.torque(j, seen)) is not None},
        also=also,
        fixed=dict(plan.fixed),
    )


def declared_units(robot: Robot) -> dict[str, Unit]:
    """The units that a driver declares, by key; empty when it declares none. Raises KinemaError."""
    told = getattr(robot, "units", None)
    if told is None:
        return {}
    if not isinstance(told, Mapping):
        raise KinemaError(f"robot {robot.name!r}: units is a mapping of keys to units, not {told!r}")
    units = {}
    for key, unit in told.items():
        if not isinstance(unit, Unit) and unit not in UNITS:
            raise KinemaError(
                f"robot {robot.name!r}: unknown unit {unit!r} of {key!r}; choices: {', '.join(UNITS)}"
            )
        units[key] = unit if isinstance(unit, Unit) else UNITS[unit]
    return units


def card_units(card: EmbodimentCard) -> dict[str, str]:
    """`units` of a driver whose keys are the card's names and whose numbers are in the card's units."""
    return {f"{channel.name}.pos": channel.unit for channel in (*card.actions, *card.states)}


def joint_names(card: EmbodimentCard) -> list[str]:
    """ "side.joint" of every arm joint, in the card's order."""
    return [f"{arm.side}.{joint.name}" for arm in card.arms for joint in arm.joints]


@dataclass(frozen=True, kw_only=True)
class _Finder:
    """Finds one number at a time on a robot."""

    card: EmbodimentCard
    robot: Robot
    plan: Plan
    units: Mapping[str, Unit]

    def wire(self, channel: Channel, features: Mapping[str, Any], what: str) -> Wire:
        line = self.plan.channels.get(channel.name, Line())
        if what == "action":
            line = self.plan.actions.get(channel.name, line)
        names = [line.key] if line.key else [f"{channel.name}.pos", channel.name]
        for name in names:
            if name in features:
                self._is_number(name, features[name])
                return self._scaled(line, name, channel.name, channel.unit, channel.range)
        raise KinemaError(
            f"{what} {channel.name!r} of {self.card.name}: robot {self.robot.name!r} has none of {names}; "
            f"its keys: {sorted(features)}; wiring file: `{channel.name}: {{key: ..., unit: ...}}`"
        )

    def follower(self, channel: Channel, key: str) -> Wire:
        line = self.plan.channels.get(channel.name, Line())
        return self._scaled(line, key, channel.name, channel.unit, channel.range)

    def torque(self, joint: str, features: Mapping[str, Any]) -> Wire | None:
        line = self.plan.torques.get(joint)
        key = f"{joint}.torque" if line is None or line.key is None else line.key
        if key not in features:
            return None
        self._is_number(key, features[key])
        slides = {f"{arm.side}.{j.name}" for arm in self.card.arms for j in arm.joints if j.type == "slide"}
        return self._scaled(line or Line(), key, joint, "N" if joint in slides else "N m", None)

    def _is_number(self, key: str, feature: Any) -> None:
        if feature not in (float, int):
            raise KinemaError(
                f"robot {self.robot.name!r}: {key!r} must be a number (float); its features say {feature!r}"
            )

    def _scaled(self, line: Line, key: str, name: str, of: str, limits: tuple[float, float] | None) -> Wire:
        if line.wire is not None:
            return Wire(key=key, scale=line.wire.scale, offset=line.wire.offset)
        declared = self.units.get(key)
        unit = UNITS[line.unit] if line.unit else declared
        range_ = f", {limits[0]:g} to {limits[1]:g}" if limits else ""
        if unit is None:
            raise KinemaError(
                f"{self.card.name}: nobody says in which unit {key!r} of robot {self.robot.name!r} is; "
                f"{name!r} of the card is in {of}{range_}. Say it in a wiring file (--wiring): `{name}: "
                f"{{key: {key}, unit: {_example(of)}}}`; `kinema robots wiring` writes a first one"
            )
        if declared is not None and line.unit and declared != unit:
            raise KinemaError(
                f"{self.plan.where or 'wiring'}: {name!r}: the file says {key!r} is in {unit.name}, robot "
                f"{self.robot.name!r} says it is in {declared.name}; strike one of them"
            )
        if unit.of != of:
            fitting = [u.name for u in UNITS.values() if u.of == of]
            raise KinemaError(
                f"{self.card.name}: {key!r} of robot {self.robot.name!r} is in {unit.name}, which cannot "
                f"become the {of} of {name!r}; units that can: {', '.join(fitting)}. Or say scale and offset "
                f"in a wiring file: `{name}: {{key: {key}, scale: ..., offset: ...}}`"
            )
        scale = -unit.scale if line.reversed else unit.scale
        return Wire(key=key, scale=scale, offset=-scale * line.zero + 0.0)


def _example(of: str) -> str:
    """A unit that is likely for this unit of cards, for messages."""
    return {"rad": "deg", "fraction": "percent"}.get(of, of)


def _as_plan(told: Plan | Mapping[str, Wire] | None) -> Plan:
    if isinstance(told, Plan):
        return told
    return Plan(channels={name: Line(key=wire.key, wire=wire) for name, wire in (told or {}).items()})


def _keys(robot: Robot, what: str) -> Mapping[str, Any]:
    features = getattr(robot, what, None)
    if not isinstance(features, Mapping) or not all(isinstance(key, str) for key in features):
        raise KinemaError(
            f"robot {getattr(robot, 'name', robot)!r}: {what} must map keys to float or to a picture's "
            f"(height, width, 3); it is {_shown(features)}"
        )
    return features


def _names_exist(card: EmbodimentCard, robot: Robot, plan: Plan, seen: set[str], driven: set[str]) -> None:
    """Every name on the left is the card's, every key on the right the robot's."""
    where = f"{plan.where}: " if plan.where else ""
    channels = {channel.name for channel in (*card.actions, *card.states)}
    for what, names, choices in (
        ("wires for", plan.channels, channels),
        ("actions", plan.actions, {c.name for c in card.actions}),
        ("cameras", plan.cameras, set(card.camera_names)),
        ("torques of", plan.torques, set(joint_names(card))),
        ("also: followers of", plan.also.values(), {c.name for c in card.actions}),
    ):
        if unknown := sorted(set(names) - choices):
            kind = {"cameras": "cameras", "torques of": "joints"}.get(what, "channels")
            raise KinemaError(f"{where}{what} {unknown}, but {card.name} has the {kind} {sorted(choices)}")
    torques = {line.key for line in plan.torques.values() if line.key}
    for what, keys, choices in (
        ("torques", torques, seen),
        ("also", set(plan.also), driven),
        ("fixed", set(plan.fixed), driven),
    ):
        if unknown := sorted(keys - choices):
            raise KinemaError(
                f"{where}{what}: robot {robot.name!r} has no {unknown}; its keys: {sorted(choices)}"
            )


def _each_key_once(
    card: EmbodimentCard, robot: Robot, actions: Mapping[str, Wire], states: Mapping[str, Wire]
) -> None:
    for what, wires in (("action", actions), ("state", states)):
        keys = [wire.key for wire in wires.values()]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            names = [name for name, wire in wires.items() if wire.key in twice]
            raise KinemaError(
                f"{card.name}: the {what} channels {names} are all wired to {twice} of robot {robot.name!r}"
            )


def _cameras(card: EmbodimentCard, robot: Robot, plan: Plan, seen: Mapping[str, Any]) -> dict[str, str]:
    cameras = {name: plan.cameras.get(name, name) for name in card.camera_names}
    pictures = sorted(key for key, feature in seen.items() if isinstance(feature, tuple | list))
    if missing := {name: key for name, key in cameras.items() if key not in seen}:
        raise KinemaError(
            f"robot {robot.name!r} lacks the cameras {sorted(missing.values())} of {card.name}; "
            f"it has {pictures}. A wiring file says which is which: `cameras: {{{next(iter(missing))}: ...}}`"
        )
    for name, key in cameras.items():
        shape = seen[key]
        if not isinstance(shape, tuple | list) or len(shape) != 3 or shape[2] != 3:
            raise KinemaError(
                f"robot {robot.name!r}: camera {name!r} ({key!r}) must be (height, width, 3); "
                f"its features say {shape!r}"
            )
    return cameras


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."
