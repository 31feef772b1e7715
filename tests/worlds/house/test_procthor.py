"""Houses in ProcTHOR's JSON: what was written is read, a foreign one is understood, and faults are named."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinema.schema import KinemaError
from kinema.worlds.house.env import HouseEnv
from kinema.worlds.house.generate import generate
from kinema.worlds.house.procthor import house_of, read_house, to_procthor

# Two rooms as ProcTHOR has them (schema 0.0.1), floors clockwise; a door at x = 3 and one to the outside.
FOREIGN: dict[str, Any] = {
    "rooms": [
        {
            "id": "room|2", "roomType": "Bedroom", "children": [], "floorMaterial": {"name": "Oak"},
            "floorPolygon": [{"x": 0, "y": 0, "z": 0}, {"x": 0, "y": 0, "z": 4}, {"x": 3, "y": 0, "z": 4},
                             {"x": 3, "y": 0, "z": 0}],
        },
        {
            "id": "room|3", "roomType": "Kitchen",
            "floorPolygon": [{"x": 3, "y": 0, "z": 0}, {"x": 3, "y": 0, "z": 4}, {"x": 7, "y": 0, "z": 4},
                             {"x": 7, "y": 0, "z": 0}],
        },
    ],
    "doors": [
        {
            "id": "door|2|3", "room0": "room|2", "room1": "room|3", "assetId": "Doorway_6", "openable": True,
            "wall0": "wall|2|3.00|4.00|3.00|0.00", "wall1": "wall|3|3.00|0.00|3.00|4.00",
            "boundingBox": {"min": {"x": 0.5, "y": 0, "z": 0}, "max": {"x": 1.5, "y": 2.1, "z": 0}},
        },
        {
            "id": "door|1|3", "room0": "room|3", "room1": "room|3", "wall0": "wall|3|7.00|4.00|7.00|0.00",
            "wall1": "wall|exterior|7.00|4.00|7.00|0.00",
            "boundingBox": {"min": {"x": 1, "y": 0, "z": 0}, "max": {"x": 2, "y": 2.1, "z": 0}},
        },
    ],
    "objects": [
        {"id": "Bed|2|0", "assetId": "Bed_17", "position": {"x": 1.2, "y": 0.4, "z": 2.0},
         "rotation": {"x": 0, "y": 90, "z": 0}, "kinematic": True, "children": []},
        {"id": "Painting|3|1", "assetId": "Painting_1", "position": {"x": 5, "y": 1.5, "z": 2},
         "rotation": {"x": 0, "y": 0, "z": 0}},
    ],
    "proceduralParameters": {"ceilingMaterial": {"name": "x"}},
    "metadata": {"agent": {"position": {"x": 1, "y": 1, "z": 1}}, "schema": "0.0.1"},
}  # fmt: skip


@pytest.mark.parametrize("seed", range(1_000_000, 1_000_005))
def test_what_is_written_is_read(tmp_path: Path, seed: int) -> None:
    house = generate(seed)
    path = tmp_path / "house.json"
    path.write_text(json.dumps(to_procthor(house)))
    found, left_out = read_house(path)
    assert left_out == ()
    assert (found.rooms, found.things) == (house.rooms, house.things)
    assert [door.rooms for door in found.doors] == [door.rooms for door in house.doors]
    for read, written in zip(found.doors, house.doors, strict=True):
        np.testing.assert_allclose(read.ends, written.ends, atol=1e-3)  # a wall's name has four digits


def test_a_foreign_house_is_read_as_it_stands() -> None:
    house, left_out = house_of(FOREIGN)
    assert left_out == ("Painting|3|1",)
    assert [(room.kind, len(room.corners)) for room in house.rooms] == [("Bedroom", 4), ("Kitchen", 4)]
    assert house.room_at(np.array([1.0, 1.0])) == 0
    assert house.room_at(np.array([5.0, 1.0])) == 1
    (door,) = house.doors  # the one to the outside is a wall here
    assert (door.rooms, door.ends) == (
        (0, 1),
        ((3.0, 2.5), (3.0, 3.5)),
    )  # counted from the wall's end at z = 4
    (bed,) = house.things
    assert (bed.kind, bed.room, bed.place) == ("Bed", 0, (1.2, 2.0))
    wide, deep = bed.footprint.size
    assert wide == pytest.approx(2.0)  # turned to face +x, its depth lies along x
    assert deep == pytest.approx(1.65)
    assert bed.turn == 1


def test_the_house_of_an_episode_can_be_given(tmp_path: Path) -> None:
    house = generate(1_000_002)
    env = HouseEnv(houses=(house,), image_size=32)
    env.reset(5)
    assert env.house is house
    assert env.errand.target in house.things
    env.close()


def changed(*keys: Any, to: Any) -> dict[str, Any]:
    house = copy.deepcopy(FOREIGN)
    inner: Any = house
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = to
    return house


@pytest.mark.parametrize(
    ("house", "message"),
    [
        ([], "Input should be a valid dictionary"),
        ({}, "rooms: Field required"),
        (changed("rooms", to=[]), "rooms: List should have at least 1 item"),
        (changed("rooms", 0, "roomType", to="Cellar"), "unknown kind of room 'Cellar'"),
        (changed("rooms", 1, "floorPolygon", 2, "x", to="far"), r"rooms\.1\.floorPolygon\.2\.x: .*got 'far'"),
        (changed("rooms", 1, "floorPolygon", 2, "x", to=6), "walls along the axes"),
        (changed("doors", 0, "room1", to="room|9"), "door door|2|3 joins 'room|9'; rooms: room|2, room|3"),
        (changed("doors", 0, "wall0", to="wall|2|3"), r"doors\.0\.wall0: String should match"),
        (changed("doors", 0, "wall0", to="wall|2|3|4|3|4"), "a wall without length"),
        (changed("objects", 0, "position", to=None), r"objects\.0\.position"),
        (changed("objects", 0, "position", "x", to=float("nan")), r"objects\.0\.position\.x: .*finite"),
    ],
)
def test_what_is_wrong_in_a_house_is_named(tmp_path: Path, house: Any, message: str) -> None:
    path = tmp_path / "house.json"
    path.write_text(json.dumps(house))
    with pytest.raises(KinemaError, match=f"house.json: .*{message.replace('|', '[|]')}"):
        read_house(path)


@pytest.mark.parametrize("content", [b"no house", b"[" * 100_000, b"\xff"])
def test_files_that_are_no_house_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "house.json"
    path.write_bytes(content)
    with pytest.raises(KinemaError, match=r"house\.json is no house in JSON"):
        read_house(path)
    with pytest.raises(KinemaError, match="is no house in JSON"):
        read_house(tmp_path / "none.json")


def test_a_file_that_is_larger_than_any_house_is_refused(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("kinema.worlds.house.procthor._MOST_BYTES", 1 << 20)
    path = tmp_path / "house.json"
    path.write_bytes(b" " * (1 << 21))
    with pytest.raises(KinemaError, match="has more than 1 MiB; no house does"):
        read_house(path)
