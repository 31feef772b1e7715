"""What a base is asked to do in a house: follow an instruction, find a thing, follow a person.

Axes: H rows, W columns of the grid of free space; N points of a way, one cell apart.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from kinema.schema import KinemaError
from kinema.worlds.house import words
from kinema.worlds.house.free_space import CELL_M, FreeSpace
from kinema.worlds.house.house import House, Thing
from kinema.worlds.house.route import told, unique

ERRANDS = ("instruction", "search", "follow")
SUCCESS_M = {"instruction": 3.0, "search": 1.0, "follow": 3.0}  # VLN-CE, ObjectNav, EVT-Bench
PERSON_AHEAD_M = 1.5  # of who follows
_WAY_M = (6.0, 18.0)
_BESIDE_M = 0.6  # a thing
_FEWEST_DOORS = 2
_TRIES = 60
_AHEAD = round(PERSON_AHEAD_M / CELL_M)  # cells


@dataclass(frozen=True, kw_only=True)
class Errand:
    """start: x, y, heading [m, rad]; goal: (2,), where the way ends

    distances: (H, W) to where the errand is done
    way:       (N, 2), the shortest one
    target:    the thing at its end, where one is known
    """

    instruction: str
    start: np.ndarray
    goal: np.ndarray
    distances: np.ndarray
    way: np.ndarray
    target: Thing | None = None


def draw(kind: str, house: House, space: FreeSpace, rng: np.random.Generator, *, held_out: bool) -> Errand:
    """An errand of one of ERRANDS. Raises KinemaError for another one, or a house without room for any."""
    if kind not in ERRANDS:
        raise KinemaError(f"a house has no errand {kind!r}; choices: {', '.join(ERRANDS)}")
    for thing in rng.permutation(np.array(_targets(kind, house), object)):
        distances = space.distances(_goal_cells(kind, space, thing, house))
        start = _start(kind, house, space, distances, rng)
        if start is not None:
            break
    else:
        raise KinemaError(f"no way of {_WAY_M[0]:g} m or more through {_FEWEST_DOORS} doors in this house")
    heading, way = float(rng.uniform(-np.pi, np.pi)), space.way(distances, start)
    if kind == "follow":
        heading = float(np.arctan2(*(way[_AHEAD] - way[0])[::-1]))
    text = {
        "instruction": lambda: words.instruction(rng, told(house, way, heading, thing), held_out=held_out),
        "search": lambda: words.search(rng, thing, held_out=held_out),
        "follow": lambda: words.follow(rng, held_out=held_out),
    }[kind]()
    return Errand(
        instruction=text, start=np.array([*start, heading]), goal=way[-1], distances=distances, way=way,
        target=thing,
    )  # fmt: skip


def _targets(kind: str, house: House) -> list[Thing]:
    """Things that their names tell from all others, in their room or in the house."""
    named = [thing for room in range(len(house.rooms)) for thing in unique(house, room)]
    count = Counter(thing.name for thing in house.things)
    return [thing for thing in named if kind != "search" or count[thing.name] == 1]


def _goal_cells(kind: str, space: FreeSpace, thing: Thing, house: House) -> np.ndarray:
    """Whatever is near a thing that is to be found; the nearest place to one that ends a route."""
    places = space.places()
    low, high = np.array(thing.footprint.low), np.array(thing.footprint.high)
    gap_m = np.linalg.norm(np.maximum(np.maximum(low - places, places - high), 0.0), axis=-1)
    inside = np.zeros_like(space.free)
    for tile in house.rooms[thing.room].tiles():
        inside |= ((places > tile.low) & (places < tile.high)).all(-1)
    near = space.free & inside & (gap_m < _BESIDE_M)
    if kind == "search" or not near.any():
        return near
    goal = np.zeros_like(near)
    goal.flat[int(np.argmin(np.where(near, np.abs(gap_m - 0.4), np.inf)))] = True
    return goal


def _start(
    kind: str, house: House, space: FreeSpace, distances: np.ndarray, rng: np.random.Generator
) -> np.ndarray | None:
    """A place so far away, with whoever is followed in sight, or None where there is none."""
    cells = np.argwhere((distances > _WAY_M[0]) & (distances < _WAY_M[1]))
    for cell in cells[rng.permutation(len(cells))[:_TRIES]]:
        way = space.way(distances, space.place(cell))
        rooms = [house.room_at(place) for place in way]
        doors = sum(a != b for a, b in pairwise(rooms) if a is not None and b is not None)
        if doors >= _FEWEST_DOORS and (kind != "follow" or space.sees(way[0], way[_AHEAD])):
            return way[0]
    return None
