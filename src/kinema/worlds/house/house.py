"""What a house is: rooms, doors between them and the things that stand in them.

Metres and radians in the plan's axes, x to the right and y up; z is the height. Rooms have straight walls
along the axes. Axes: N corners.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from kinema.schema import KinemaError

WALL_M, WALL_HEIGHT_M = 0.10, 2.5  # of the two rooms' sides together
DOOR_M, DOOR_HEIGHT_M = 1.0, 2.1
ROOM_WORDS = {
    "Kitchen": "kitchen",
    "LivingRoom": "living room",
    "Bedroom": "bedroom",
    "Bathroom": "bathroom",
}
Place = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Rectangle:
    """Along the axes."""

    low: Place
    high: Place

    def grown(self, margin_m: float) -> Rectangle:
        (x0, y0), (x1, y1) = self.low, self.high
        return Rectangle(low=(x0 - margin_m, y0 - margin_m), high=(x1 + margin_m, y1 + margin_m))

    def overlaps(self, other: Rectangle) -> bool:
        return all(
            a < d and c < b for a, b, c, d in zip(self.low, self.high, other.low, other.high, strict=True)
        )

    @property
    def center(self) -> Place:
        return (self.low[0] + self.high[0]) / 2, (self.low[1] + self.high[1]) / 2

    @property
    def size(self) -> Place:
        return self.high[0] - self.low[0], self.high[1] - self.low[1]

    def gap_m(self, place: np.ndarray) -> float:
        """How far a place (2,) lies from it; 0 inside."""
        return float(np.linalg.norm(np.maximum(np.maximum(self.low - place, place - self.high), 0.0)))


@dataclass(frozen=True, kw_only=True)
class Room:
    """kind: of ROOM_WORDS; corners: in order around it, counter-clockwise"""

    kind: str
    corners: tuple[Place, ...]

    def __post_init__(self) -> None:
        if self.kind not in ROOM_WORDS:
            raise KinemaError(f"unknown kind of room {self.kind!r}; choices: {', '.join(ROOM_WORDS)}")
        if len(self.corners) < 4 or any(
            abs(a[0] - b[0]) > 1e-6 and abs(a[1] - b[1]) > 1e-6 for a, b in self.edges
        ):
            raise KinemaError(
                f"a {self.kind} needs 4 corners or more and walls along the axes: {self.corners}"
            )

    @property
    def word(self) -> str:
        return ROOM_WORDS[self.kind]

    @property
    def edges(self) -> list[tuple[Place, Place]]:
        return list(zip(self.corners, (*self.corners[1:], self.corners[0])))

    def tiles(self) -> list[Rectangle]:
        """Rectangles that cover it and do not overlap."""
        xs, ys = (sorted({corner[axis] for corner in self.corners}) for axis in (0, 1))
        cells = [Rectangle(low=(x0, y0), high=(x1, y1)) for x0, x1 in pairwise(xs) for y0, y1 in pairwise(ys)]
        return [cell for cell in cells if self.holds(np.array(cell.center))]

    def holds(self, place: np.ndarray) -> bool:
        """Whether a place (2,) is inside: a ray to the right crosses its walls an odd number of times."""
        x, y = place
        crossed = (max(a[0], b[0]) > x and (a[1] > y) != (b[1] > y) for a, b in self.edges)
        return sum(crossed) % 2 == 1


@dataclass(frozen=True, kw_only=True)
class Door:
    """An opening between two rooms, given by their numbers, from one end of it to the other."""

    rooms: tuple[int, int]
    ends: tuple[Place, Place]

    @property
    def center(self) -> np.ndarray:
        return np.mean(self.ends, axis=0)

    def opening(self, deep_m: float) -> Rectangle:
        """The floor before and behind it, `deep_m` on each side."""
        low, high = np.min(self.ends, axis=0), np.max(self.ends, axis=0)
        across = np.array([deep_m, 0.0]) if high[0] - low[0] < high[1] - low[1] else np.array([0.0, deep_m])
        return Rectangle(low=tuple(low - across), high=tuple(high + across))


@dataclass(frozen=True, kw_only=True)
class Thing:
    """A piece of furniture.

    kind:  as `furniture.CATALOGUE` knows it
    turn:  quarter turns counter-clockwise from standing with its back to +y
    size_m: width along its back, depth, height
    """

    kind: str
    word: str
    color: str
    rgb: tuple[float, float, float]
    room: int
    place: Place
    turn: int
    size_m: tuple[float, float, float]

    @property
    def name(self) -> str:
        return f"{self.color} {self.word}"

    @property
    def footprint(self) -> Rectangle:
        wide, deep, _ = self.size_m
        half = np.array([wide, deep] if self.turn % 2 == 0 else [deep, wide]) / 2
        return Rectangle(low=tuple(self.place - half), high=tuple(self.place + half))


@dataclass(frozen=True, kw_only=True)
class House:
    rooms: tuple[Room, ...]
    doors: tuple[Door, ...]
    things: tuple[Thing, ...]

    def __post_init__(self) -> None:
        for door in self.doors:
            if not all(0 <= room < len(self.rooms) for room in door.rooms):
                raise KinemaError(f"a door joins rooms {door.rooms}, but there are {len(self.rooms)}")

    @property
    def extent(self) -> Rectangle:
        corners = np.concatenate([room.corners for room in self.rooms])
        return Rectangle(low=tuple(corners.min(0)), high=tuple(corners.max(0)))

    def room_at(self, place: np.ndarray) -> int | None:
        """The number of the room in which a place (2,) is."""
        return next((number for number, room in enumerate(self.rooms) if room.holds(place)), None)

    def walls(self) -> list[tuple[int, Rectangle]]:
        """Every room's own side of its walls, with gaps at doors: the room's number and the floor below."""
        return [
            (number, _side(room, a, b))
            for number, room in enumerate(self.rooms)
            for edge in room.edges
            for a, b in self._without_doors(number, *edge)
        ]

    def _without_doors(self, room: int, a: Place, b: Place) -> list[tuple[Place, Place]]:
        """The parts of a wall from a to b between its doors."""
        axis = 0 if abs(b[0] - a[0]) > abs(b[1] - a[1]) else 1
        low, high = sorted((a[axis], b[axis]))
        gaps = sorted(
            tuple(sorted(end[axis] for end in door.ends))
            for door in self.doors
            if room in door.rooms and all(abs(end[1 - axis] - a[1 - axis]) < 1e-6 for end in door.ends)
        )
        edges = [low, *(end for gap in gaps for end in gap if low - 1e-6 <= end <= high + 1e-6), high]
        parts = []
        for start, end in zip(edges[::2], edges[1::2]):
            if end - start > 1e-6:
                ends = ([start, a[1]], [end, a[1]]) if axis == 0 else ([a[0], start], [a[0], end])
                parts.append((tuple(ends[0]), tuple(ends[1])))
        return parts  # type: ignore[return-value]


def _side(room: Room, a: Place, b: Place) -> Rectangle:
    """Half a wall's thickness, on the room's side of the line from a to b."""
    low, high = np.minimum(a, b), np.maximum(a, b)
    across = (
        np.array([0.0, WALL_M / 2]) if high[0] - low[0] > high[1] - low[1] else np.array([WALL_M / 2, 0.0])
    )
    if room.holds((low + high) / 2 + across):
        return Rectangle(low=tuple(low), high=tuple(high + across))
    return Rectangle(low=tuple(low - across), high=tuple(high))
