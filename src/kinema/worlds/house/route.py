"""A way through a house as somebody would tell it: rooms, doors, turns, and what one passes.

Axes: N points of the way, one cell apart.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kinema.worlds.house.house import House, Thing

Turn = Literal["straight", "left", "right", "back"]
_STRAIGHT_RAD, _BACK_RAD = np.radians(35), np.radians(130)
_PASSED_M = 1.3  # no further from the way
_AHEAD_M = 1.0  # so far ahead the way has turned


@dataclass(frozen=True, kw_only=True)
class Leg:
    """The way within one room.

    turn:   at its beginning, seen from how one came
    room:   in words
    passed: a thing, and on which side it is
    """

    turn: Turn
    room: str
    passed: tuple[Thing, Literal["left", "right"]] | None = None


@dataclass(frozen=True, kw_only=True)
class Route:
    """legs: one for each room; target: what stands where it ends"""

    legs: tuple[Leg, ...]
    target: Thing


def told(house: House, way: np.ndarray, heading_rad: float, target: Thing) -> Route:
    """The route along a way (N, 2) that begins with this heading and ends at a thing."""
    legs = []
    parts = _by_room(house, way)
    for number, (room, first, last) in enumerate(parts):
        start = way[first]
        ahead = way[min(first + max(1, round(_AHEAD_M / _spacing(way))), len(way) - 1)]
        goal = ahead if number == 0 else way[last] if last - first > 1 else ahead
        came = heading_rad if number == 0 else _bearing(way[max(first - 5, 0)], way[first])
        leg = Leg(
            turn=turn_of(_bearing(start, goal) - came),
            room=house.rooms[room].word,
            passed=_passed(house, room, way[first : last + 1], target),
        )
        legs.append(leg)
    return Route(legs=tuple(legs), target=target)


def turn_of(angle_rad: float) -> Turn:
    """The word for a change of direction; counter-clockwise is left."""
    angle = (angle_rad + np.pi) % (2 * np.pi) - np.pi
    if abs(angle) < _STRAIGHT_RAD:
        return "straight"
    if abs(angle) > _BACK_RAD:
        return "back"
    return "left" if angle > 0 else "right"


def unique(house: House, room: int) -> list[Thing]:
    """The things of a room whose names are no other's there."""
    things = [thing for thing in house.things if thing.room == room]
    count = Counter(thing.name for thing in things)
    return [thing for thing in things if count[thing.name] == 1]


def _by_room(house: House, way: np.ndarray) -> list[tuple[int, int, int]]:
    """Number of the room, first and last point of each stretch of the way that lies in one room."""
    parts: list[tuple[int, int, int]] = []
    for i, place in enumerate(way):
        room = house.room_at(place)
        if room is None or (parts and parts[-1][0] == room):
            room = parts[-1][0] if parts else 0
        if parts and parts[-1][0] == room:
            parts[-1] = (room, parts[-1][1], i)
        else:
            parts.append((room, i, i))
    return parts


def _passed(
    house: House, room: int, part: np.ndarray, target: Thing
) -> tuple[Thing, Literal["left", "right"]] | None:
    """What is nearest to the middle of a stretch, and on which side of it."""
    if len(part) < 8:
        return None
    inner = part[len(part) // 5 : -len(part) // 5 or None]
    near = []
    for thing in unique(house, room):
        gaps = [thing.footprint.gap_m(place) for place in inner]
        if thing is not target and min(gaps) < _PASSED_M:
            near.append((min(gaps), int(np.argmin(gaps)), thing))
    if not near:
        return None
    _, i, thing = min(near, key=lambda found: found[0])
    along = inner[min(i + 3, len(inner) - 1)] - inner[max(i - 3, 0)]
    aside = np.array(thing.footprint.center) - inner[i]
    return thing, "left" if along[0] * aside[1] - along[1] * aside[0] > 0 else "right"


def _bearing(start: np.ndarray, end: np.ndarray) -> float:
    return float(np.arctan2(end[1] - start[1], end[0] - start[0]))


def _spacing(way: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(way, axis=0), axis=1).mean()) if len(way) > 1 else 1.0
