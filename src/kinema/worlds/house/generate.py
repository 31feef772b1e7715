"""A house from a seed: a rectangle split again and again, doors on a spanning tree and some more, furniture.

The rules of thumb are ProcTHOR's (Deitke et al. 2022, arXiv 2206.06994): four kinds of rooms, furniture by
kind of room, at walls or in the middle, doors wide enough to pass.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from kinema.schema import KinemaError
from kinema.worlds.house.free_space import FreeSpace
from kinema.worlds.house.furniture import ALWAYS, CATALOGUE, SOMETIMES, Piece
from kinema.worlds.house.house import DOOR_M, WALL_M, Door, House, Rectangle, Room, Thing
from kinema.worlds.variation import draw_shade

SIDE_M = (9.0, 14.0)
ROOMS = (5, 8)
NARROWEST_M = 2.6
COLORS = ("red", "yellow", "green", "blue", "purple", "orange", "white", "black")
_MORE_DOORS = 0.3  # of the walls without one that are long enough
_CLEAR_M = 0.9  # on both sides of a door
_MOST_SOMETIMES = 3
_TRIES = 20


def generate(seed: int, *, held_out_shades: bool = False) -> House:
    """The house of this seed; from all its doors one can walk to all others."""
    rng = np.random.default_rng([seed, 0x686F757365])
    for _ in range(_TRIES):
        house = _draw(rng, held_out_shades)
        if _hangs_together(house):
            return house
    raise KinemaError(f"no house of seed {seed} hangs together in {_TRIES} tries")


def _draw(rng: np.random.Generator, held_out_shades: bool) -> House:
    floors = _split(rng)
    kinds = _kinds(rng, floors)
    rooms = tuple(Room(kind=kind, corners=_corners(floor)) for kind, floor in zip(kinds, floors))
    doors = _doors(rng, floors)
    things: list[Thing] = []
    for number, floor in enumerate(floors):
        things += _furnish(rng, number, kinds[number], floor, doors, held_out_shades)
    return House(rooms=rooms, doors=doors, things=tuple(things))


def _split(rng: np.random.Generator) -> list[Rectangle]:
    """Always the largest floor is cut, across its longer side."""
    size = np.round(rng.uniform(*SIDE_M, 2), 1)
    floors = [Rectangle(low=(0.0, 0.0), high=(float(size[0]), float(size[1])))]
    for _ in range(int(rng.integers(ROOMS[0], ROOMS[1] + 1)) - 1):
        largest = max(floors, key=lambda floor: floor.size[0] * floor.size[1])
        axis = 0 if largest.size[0] >= largest.size[1] else 1
        if largest.size[axis] < 2 * NARROWEST_M:
            break
        most = 1 - NARROWEST_M / largest.size[axis]
        share = rng.uniform(max(0.35, 1 - most), min(0.65, most))
        cut = round(largest.low[axis] + share * largest.size[axis], 1)
        floors.remove(largest)
        corner = list(largest.high)
        corner[axis] = cut
        floors.append(Rectangle(low=largest.low, high=(corner[0], corner[1])))
        corner = list(largest.low)
        corner[axis] = cut
        floors.append(Rectangle(low=(corner[0], corner[1]), high=largest.high))
    return floors


def _kinds(rng: np.random.Generator, floors: list[Rectangle]) -> list[str]:
    """The largest is the living room and the smallest a bathroom; one kitchen, and mostly bedrooms."""
    by_size = sorted(range(len(floors)), key=lambda i: -floors[i].size[0] * floors[i].size[1])
    others = rng.choice(["Bedroom", "Bathroom", "LivingRoom"], len(floors) - 3, p=[0.7, 0.15, 0.15])
    middle = ["Kitchen", *others]
    kinds = dict(zip(by_size, ["LivingRoom", *rng.permutation(middle), "Bathroom"]))
    return [str(kinds[number]) for number in range(len(floors))]


def _corners(floor: Rectangle) -> tuple[tuple[float, float], ...]:
    (x0, y0), (x1, y1) = floor.low, floor.high
    return (x0, y0), (x1, y0), (x1, y1), (x0, y1)


def _doors(rng: np.random.Generator, floors: list[Rectangle]) -> tuple[Door, ...]:
    """A spanning tree over walls in a random order (Kruskal 1956), and some of the others."""
    shared = {pair: wall for pair in combinations(range(len(floors)), 2)
              if (wall := _shared_wall(floors[pair[0]], floors[pair[1]])) is not None}  # fmt: skip
    joined = list(range(len(floors)))
    doors = []
    for i in rng.permutation(len(shared)):
        (a, b), (axis, at, low, high) = list(shared.items())[i]
        if joined[a] == joined[b] and rng.random() > _MORE_DOORS:
            continue
        joined = [joined[a] if one == joined[b] else one for one in joined]
        middle = rng.uniform(low + DOOR_M / 2 + 0.2, high - DOOR_M / 2 - 0.2)
        ends = [[at, at], [at, at]]
        ends[0][1 - axis], ends[1][1 - axis] = middle - DOOR_M / 2, middle + DOOR_M / 2
        doors.append(Door(rooms=(a, b), ends=((ends[0][0], ends[0][1]), (ends[1][0], ends[1][1]))))
    return tuple(doors)


def _shared_wall(a: Rectangle, b: Rectangle) -> tuple[int, float, float, float] | None:
    """Axis across it, where on that axis it lies, from where to where it goes; None: no room for a door."""
    for axis in (0, 1):
        for one, other in ((a, b), (b, a)):
            low = max(a.low[1 - axis], b.low[1 - axis])
            high = min(a.high[1 - axis], b.high[1 - axis])
            if abs(one.high[axis] - other.low[axis]) < 1e-6 and high - low > DOOR_M + 0.4:
                return axis, one.high[axis], low, high
    return None


def _furnish(
    rng: np.random.Generator,
    number: int,
    kind: str,
    floor: Rectangle,
    doors: tuple[Door, ...],
    held_out: bool,
) -> list[Thing]:
    inside = floor.grown(-WALL_M / 2)
    taken = [door.opening(_CLEAR_M) for door in doors if number in door.rooms]
    things: list[Thing] = []
    more = rng.permutation(SOMETIMES[kind])[: int(rng.integers(1, _MOST_SOMETIMES + 1))]
    for what in (*ALWAYS[kind], *more):
        piece = CATALOGUE[str(what)]
        color = str(rng.choice(COLORS))
        thing = _place(rng, str(what), piece, number, inside, color, draw_shade(rng, color, held_out), taken)
        if thing is not None:
            things.append(thing)
            taken.append(thing.footprint)
    return things


def _place(
    rng: np.random.Generator, kind: str, piece: Piece, room: int, inside: Rectangle, color: str,
    rgb: tuple[float, float, float], taken: list[Rectangle],
) -> Thing | None:  # fmt: skip
    """At a free spot of a random wall, or in the middle; None where none of a few spots is free."""
    size = tuple(float(rng.uniform(*span)) for span in (piece.wide, piece.deep, piece.high))
    for _ in range(_TRIES):
        turn = int(rng.integers(4))
        wide, deep = (size[0], size[1]) if turn % 2 == 0 else (size[1], size[0])
        half = np.array([wide, deep]) / 2
        low, high = inside.low + half, inside.high - half
        if piece.in_the_middle:
            low, high = low + 0.7, high - 0.7  # there is a way around it
        if (low > high).any():
            continue
        place = rng.uniform(low, high)
        if not piece.in_the_middle:
            axis, end = [(1, high), (0, low), (1, low), (0, high)][turn]
            place[axis] = end[axis]
        thing = Thing(
            kind=kind, word=piece.word, color=color, rgb=rgb, room=room,
            place=(float(place[0]), float(place[1])), turn=turn, size_m=(size[0], size[1], size[2]),
        )  # fmt: skip
        if not any(thing.footprint.overlaps(other) for other in taken):
            return thing
    return None


def _hangs_together(house: House) -> bool:
    """Whether one can walk from a door to all others, and no free floor is cut off by furniture."""
    space = FreeSpace(house)
    goal = np.zeros_like(space.free)
    goal[space.cell(house.doors[0].center)] = True
    reached = np.isfinite(space.distances(goal))
    return all(reached[space.cell(door.center)] for door in house.doors) and bool(
        reached.sum() > 0.97 * space.free.sum()
    )
