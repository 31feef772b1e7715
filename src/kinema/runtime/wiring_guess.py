"""A first wiring file from one observation: what the driver says, and what its numbers make likely.

A guess carries its reason as a comment and a question mark, so that `wiring_file` refuses it until a person
has looked. One observation shows units; it can never show signs and zeros.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kinema.card.card import Channel, EmbodimentCard
from kinema.runtime.robot import Robot
from kinema.runtime.wiring import UNITS, Unit, declared_units, joint_names

NEAR_ZERO = 0.02  # of the range: values within it fit any unit
MARGIN = 0.05  # of the range: how far outside it a sound body may stand

HEAD = """\
# Wiring of {robot} for the card {card}, written from one observation. Before it is used:
# 1. What ends with a question mark is a guess: compare it with the robot, correct it, take the mark away.
# 2. zero: the robot's own number where the card's channel is 0. Move the joint there by hand and read it off.
# 3. reversed: true where the robot counts the other way than the card. Move the joint by hand and compare.
version: 1
card: {card}
"""


def first_wiring(card: EmbodimentCard, robot: Robot, seen: Mapping[str, Any]) -> str:
    """The text of a wiring file for a robot that reported `seen`, one observation."""
    units = declared_units(robot)
    numbers = {k: float(v) for k, v in seen.items() if isinstance(v, float | int | np.number)}
    pictures = sorted(k for k, v in seen.items() if np.ndim(v) == 3)
    channels = {channel.name: channel for channel in (*card.actions, *card.states)}
    keys = {name: _key_of(name, list(numbers)) for name in channels}
    unknown = {n: numbers[k] for n, k in keys.items() if k in numbers and k not in units}
    guesses = _guessed_units(channels, unknown)
    lines = [HEAD.format(robot=robot.name, card=card.name), "channels:"]
    if not all(keys.values()):
        lines.append(f"  # the robot's numbers: {', '.join(f'{k} {v:.4g}' for k, v in numbers.items())}")
    lines += [f"  # {reason}" for reason in dict.fromkeys(reason for _, reason in guesses.values())]
    for name, channel in channels.items():
        line, note = _channel_line(channel, keys[name], units, guesses)
        reads = f"reads {numbers[keys[name]]:.4g}" if keys[name] else "no key of the robot has this name"
        low, high = channel.range
        lines.append(f"  {name}: {line}  # {reads}{note}; {low:g} to {high:g} {channel.unit} on the card")
    apart = [
        c
        for c in card.actions
        if c.unit != channels[c.name].unit or keys[c.name] not in robot.action_features
    ]
    if apart:
        lines += ["# commands that go by another key or unit than the readings of the same name", "actions:"]
        lines += [
            f'  {c.name}: {{key: "?", unit: "?"}}  # {c.range[0]:g} to {c.range[1]:g} {c.unit}' for c in apart
        ]
    lines += ["cameras:", *_camera_lines(card.camera_names, pictures)]
    lines += _more_lines(card, robot, set(keys.values()))
    return "\n".join(lines) + "\n"


def _channel_line(
    channel: Channel,
    key: str,
    units: Mapping[str, Unit],
    guesses: Mapping[str, tuple[str, str]],
) -> tuple[str, str]:
    """The line of a channel, and what is to be said of its unit."""
    if not key:
        return '{key: "?", unit: "?"}', ""
    if key not in units:
        guess, _ = guesses[channel.name]
        unit = f'"{guess}?"'
        return f"{{key: {key}, unit: {unit}, reversed: false, zero: 0}}", ""
    declared = units[key]
    if declared.of != channel.unit:
        note = f" {declared.name}, which is no {channel.unit}: give scale and offset"
        return f'{{key: {key}, unit: "?"}}', note
    return (
        f"{{key: {key}, unit: driver, reversed: false, zero: 0}}",
        f" {declared.name}, as the driver declares",
    )


def _guessed_units(
    channels: Mapping[str, Channel], values: Mapping[str, float]
) -> dict[str, tuple[str, str]]:
    """A unit and its reason by channel, "" where none is likely; channels of one unit are judged together."""
    guesses: dict[str, tuple[str, str]] = {}
    for of in dict.fromkeys(channels[name].unit for name in values):
        group = {name: value for name, value in values.items() if channels[name].unit == of}
        unit, reason = _likely(of, {n: (v, channels[n].range) for n, v in group.items()})
        guesses |= dict.fromkeys(group, (unit, reason))
    return guesses


def _likely(of: str, group: Mapping[str, tuple[float, tuple[float, float]]]) -> tuple[str, str]:
    candidates = [unit for unit in UNITS.values() if unit.of == of]
    fitting, spread = [], {}
    for unit in candidates:
        shares = [_share(unit.scale * value, limits) for value, limits in group.values()]
        spread[unit.name] = max(abs(unit.scale * v) / (h - lo) for v, (lo, h) in group.values())
        if max(shares) <= MARGIN:
            fitting.append(unit)
    if not fitting:
        whole = all(float(v).is_integer() and 0 <= v <= 4095 for v, _ in group.values())
        ticks = (
            " All are whole numbers up to 4095: encoder ticks? Then `scale: 0.0015340` (2 pi / 4096) and "
            "`offset: -3.1416`, for a zero at 2048"
        )
        return (
            "",
            f"In none of {', '.join(u.name for u in candidates)} do all of {', '.join(group)} lie within "
            + ("their ranges." + (ticks if whole and of == "rad" else "")),
        )
    telling = [unit for unit in fitting if spread[unit.name] > NEAR_ZERO]
    if not telling:
        return (
            "",
            f"All of {', '.join(group)} are near 0, which fits every unit; move the body and write it anew",
        )
    best = telling[0]
    others = [u for u in candidates if u is not best]
    out = [u.name for u in others if u not in fitting]
    small = [u.name for u in others if u in fitting and u not in telling]
    also = [u.name for u in telling[1:]]
    reason = f"{best.name} fits all of {', '.join(group)}"
    reason += f"; {' and '.join(out)} would leave a range" if out else ""
    reason += f"; in {' or '.join(small)} all would be within {NEAR_ZERO:.0%} of 0" if small else ""
    reason += f"; {' or '.join(also)} would fit too" if also else ""
    if best.name == "deg" and all(abs(value) <= 100 for value, _ in group.values()):
        reason += "; or is it lerobot's -100 to 100 (use_degrees: false)? `--driver lerobot:TYPE` knows"
    return best.name, reason


def _share(value: float, limits: tuple[float, float]) -> float:
    """How far outside the limits, as a share of their width; 0 inside."""
    low, high = limits
    return max(low - value, value - high, 0.0) / (high - low)


def _key_of(name: str, keys: Sequence[str]) -> str:
    """The key that has the channel's name, whatever stands around it; "" where there is none or several."""
    for exact in (f"{name}.pos", name):
        if exact in keys:
            return exact
    plain = {key: _plain(key) for key in keys}
    found = [key for key, text in plain.items() if text == _plain(name)]
    return found[0] if len(found) == 1 else ""


def _plain(text: str) -> str:
    for part in (".pos", ".position", "_joint", "joint_"):
        text = text.lower().replace(part, "")
    return text.replace("_", "").replace(".", "")


def _camera_lines(names: Sequence[str], pictures: Sequence[str]) -> list[str]:
    lines = []
    for name in names:
        if name in pictures:
            lines.append(f"  {name}: {name}")
            continue
        near = [key for key in pictures if name in key or key in name]
        guess = f'"{near[0]}?"' if len(near) == 1 else '"?"'
        lines += [
            f"  # {name}: the robot's pictures are {', '.join(pictures) or 'none'}",
            f"  {name}: {guess}",
        ]
    return lines


def _more_lines(card: EmbodimentCard, robot: Robot, used: set[str]) -> list[str]:
    """What the robot has beside the card's channels: motors that follow, commands that stay, torques."""
    lines: list[str] = []
    left = sorted(set(robot.action_features) - used)
    shadows = {key: key.replace("_shadow", "") for key in left if "_shadow" in key}
    if shadows:
        lines += ["# a second motor of a joint gets the same command", "also:"]
        lines += [
            f"  {key}: {_plain_channel(master, card) or chr(34) + '?' + chr(34)}"
            for key, master in shadows.items()
        ]
    if rest := [key for key in left if key not in shadows]:
        lines += [
            "# commands that the robot wants and the card does not give; what are they always sent?",
            "fixed:",
        ]
        lines += [f'  {key}: "?"' for key in rest]
    if torques := sorted(key for key in robot.observation_features if "torque" in key or "effort" in key):
        lines.append(
            f"# torques: the robot reports {', '.join(torques)}. With N m said, the guard holds their"
        )
        lines.append(f"# limits: `torques: {{{joint_names(card)[0]}: {{key: {torques[0]}, unit: N m}}}}`")
    return lines


def _plain_channel(key: str, card: EmbodimentCard) -> str:
    return next((c.name for c in card.actions if key in (c.name, f"{c.name}.pos")), "")
