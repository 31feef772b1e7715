"""Houses in ProcTHOR's JSON format (schema 0.0.1; Deitke et al. 2022, arXiv 2206.06994): written and read.

Their plan has x to the right and z upwards, heights along y; turns are clockwise degrees, 0 facing +z. What a
piece of furniture measures lies with AI2-THOR's assets, which are not here: of a piece that does not say it
(`kinema`, in files that were written here) it is the middle of what the catalogue has for its type.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kinema.schema import KinemaError
from kinema.worlds.house.furniture import CATALOGUE
from kinema.worlds.house.generate import COLORS
from kinema.worlds.house.house import DOOR_HEIGHT_M, WALL_HEIGHT_M, Door, House, Place, Room, Thing
from kinema.worlds.variation import draw_shade

SCHEMA = "0.0.1"
_MOST_BYTES = 64 << 20  # of a file; ProcTHOR's largest houses have 1 MB


class _Told(BaseModel):
    """Keys that are not named here say what is not drawn."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class _Point(_Told):
    x: float
    y: float = 0.0
    z: float

    @property
    def place(self) -> Place:
        return self.x, self.z


class _Room(_Told):
    id: str
    roomType: str  # noqa: N815 (ProcTHOR's own key)
    floorPolygon: list[_Point] = Field(min_length=4)  # noqa: N815


class _Along(_Told):
    """A point in a wall's frame: x along it, from its first end."""

    x: float


class _Box(_Told):
    min: _Along
    max: _Along


class _Door(_Told):
    id: str
    room0: str
    room1: str
    wall0: str = Field(pattern=r"^wall\|[^|]+(\|-?\d+(\.\d+)?){4}$")
    boundingBox: _Box  # noqa: N815


class _Made(_Told):
    """What ProcTHOR leaves to its assets."""

    size_m: tuple[float, float, float]
    color: str
    rgb: tuple[float, float, float]


class _Thing(_Told):
    id: str
    position: _Point
    rotation: _Point
    kinema: _Made | None = None


class _House(_Told):
    rooms: list[_Room] = Field(min_length=1)
    doors: list[_Door] = []
    objects: list[_Thing] = []


def read_house(path: Path, seed: int = 0) -> tuple[House, tuple[str, ...]]:
    """A house, and the ids of those of its things that the catalogue does not know, which are left out.

    seed: draws the colours of things that do not say theirs. Raises KinemaError with the file and the key.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise KinemaError(f"{path} has more than {_MOST_BYTES >> 20} MiB; no house does")
        told = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise KinemaError(f"{path} is no house in JSON: {error}") from None
    try:
        return house_of(told, seed)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise KinemaError(f"{path}: {key}: {first['msg']}, got {str(first['input'])[:60]!r}") from None
    except KinemaError as error:
        raise KinemaError(f"{path}: {error}") from None


def house_of(told: object, seed: int = 0) -> tuple[House, tuple[str, ...]]:
    """As `read_house`, of what the JSON holds. Raises pydantic's ValidationError or KinemaError."""
    house, rng = _House.model_validate(told), np.random.default_rng([seed, 0x70726F63])
    number = {room.id: i for i, room in enumerate(house.rooms)}
    rooms = tuple(
        Room(kind=room.roomType, corners=_around([point.place for point in room.floorPolygon]))
        for room in house.rooms
    )
    inside = [door for door in house.doors if door.room0 != door.room1]  # the others lead out of the house
    doors = tuple(_door(door, number) for door in inside)
    bare = House(rooms=rooms, doors=doors, things=())
    things = {thing.id: _thing(thing, bare, rng) for thing in house.objects}
    whole = House(rooms=rooms, doors=doors, things=tuple(thing for thing in things.values() if thing))
    return whole, tuple(name for name, thing in things.items() if thing is None)


def to_procthor(house: House) -> dict[str, Any]:
    """The same house as ProcTHOR's JSON has it."""
    return {
        "rooms": [
            {
                "id": f"room|{i}", "roomType": room.kind, "children": [], "ceilings": [],
                "floorPolygon": [_point(corner) for corner in room.corners],
                "floorMaterial": {"name": "PureWhite"},
            }
            for i, room in enumerate(house.rooms)
        ],
        "walls": [
            {
                "id": _wall_id(i, a, b), "roomId": f"room|{i}", "material": {"name": "PureWhite"},
                "polygon": [_point(a, 0), _point(b, 0), _point(b, WALL_HEIGHT_M), _point(a, WALL_HEIGHT_M)],
            }
            for i, room in enumerate(house.rooms)
            for a, b in room.edges
        ],
        "doors": [_door_json(house, i, door) for i, door in enumerate(house.doors)],
        "windows": [],
        "objects": [_thing_json(i, thing) for i, thing in enumerate(house.things)],
        "proceduralParameters": {},
        "metadata": {"schema": SCHEMA},
    }  # fmt: skip


def _around(corners: list[Place]) -> tuple[Place, ...]:
    """Counter-clockwise."""
    area = sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(corners, [*corners[1:], corners[0]]))
    return tuple(corners if area > 0 else corners[::-1])


def _door(door: _Door, number: Mapping[str, int]) -> Door:
    if unknown := [room for room in (door.room0, door.room1) if room not in number]:
        raise KinemaError(f"door {door.id} joins {unknown[0]!r}; rooms: {', '.join(number)}")
    x0, z0, x1, z1 = map(float, door.wall0.split("|")[2:])
    start, along = np.array([x0, z0]), np.array([x1 - x0, z1 - z0])
    length = float(np.linalg.norm(along))
    if length == 0:
        raise KinemaError(f"door {door.id} is in a wall without length: {door.wall0}")
    ends = sorted(
        tuple(start + along / length * end.x) for end in (door.boundingBox.min, door.boundingBox.max)
    )
    (ax, ay), (bx, by) = ends
    return Door(rooms=(number[door.room0], number[door.room1]), ends=((ax, ay), (bx, by)))


def _thing(thing: _Thing, house: House, rng: np.random.Generator) -> Thing | None:
    """None for a type that the catalogue does not know, and for what stands in no room."""
    kind = thing.id.split("|")[0]
    piece, room = CATALOGUE.get(kind), house.room_at(np.array(thing.position.place))
    color = str(rng.choice(COLORS))
    shade = draw_shade(rng, color, held_out=False)
    if piece is None or room is None:
        return None
    made = thing.kinema or _Made(
        size_m=(sum(piece.wide) / 2, sum(piece.deep) / 2, sum(piece.high) / 2), color=color, rgb=shade
    )
    return Thing(
        kind=kind, word=piece.word, color=made.color, rgb=made.rgb, room=room, place=thing.position.place,
        turn=round((180 - thing.rotation.y) / 90) % 4, size_m=made.size_m,
    )  # fmt: skip


def _point(place: Place, height_m: float = 0.0) -> dict[str, float]:
    return {"x": place[0], "y": height_m, "z": place[1]}


def _wall_id(room: int, a: Place, b: Place) -> str:
    return "|".join(["wall", str(room), *(f"{value:.4f}" for value in (*a, *b))])


def _door_json(house: House, number: int, door: Door) -> dict[str, Any]:
    """In the wall of its first room in which it lies."""
    a, b = next(edge for edge in house.rooms[door.rooms[0]].edges if _lies_in(door, *edge))
    along = sorted(float(np.linalg.norm(np.subtract(end, a))) for end in door.ends)
    low, high = np.min(door.ends, axis=0), np.max(door.ends, axis=0)
    return {
        "id": f"door|{door.rooms[0]}|{door.rooms[1]}|{number}", "assetId": "Doorway_1",
        "room0": f"room|{door.rooms[0]}", "room1": f"room|{door.rooms[1]}",
        "wall0": _wall_id(door.rooms[0], a, b), "wall1": _wall_id(door.rooms[1], tuple(high), tuple(low)),
        "boundingBox": {
            "min": {"x": along[0], "y": 0.0, "z": 0.0},
            "max": {"x": along[1], "y": DOOR_HEIGHT_M, "z": 0.0},
        },
        "openable": False, "openness": 0,
    }  # fmt: skip


def _lies_in(door: Door, a: Place, b: Place) -> bool:
    """Whether both ends lie on the line from a to b."""
    along = np.subtract(b, a)
    return all(
        abs(along[0] * (end[1] - a[1]) - along[1] * (end[0] - a[0])) < 1e-6
        and -1e-6 <= np.dot(np.subtract(end, a), along) <= np.dot(along, along) + 1e-6
        for end in door.ends
    )


def _thing_json(number: int, thing: Thing) -> dict[str, Any]:
    return {
        "id": f"{thing.kind}|{thing.room}|{number}", "assetId": f"{thing.kind}_kinema", "kinematic": True,
        "position": _point(thing.place, thing.size_m[2] / 2), "children": [],
        "rotation": {"x": 0.0, "y": float((180 - 90 * thing.turn) % 360), "z": 0.0},
        "kinema": {"size_m": list(thing.size_m), "color": thing.color, "rgb": list(thing.rgb)},
    }  # fmt: skip
