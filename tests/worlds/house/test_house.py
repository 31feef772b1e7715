"""Houses: rooms fill their outline, one can walk from door to door, ways are shortest, words say them."""

from __future__ import annotations

import heapq
from itertools import pairwise

import numpy as np
import pytest

from kinema.card.prompt import MAX_INSTRUCTION_CHARS
from kinema.schema import KinemaError
from kinema.worlds.house import words
from kinema.worlds.house.errands import ERRANDS, draw
from kinema.worlds.house.free_space import CELL_M, RADIUS_M, FreeSpace
from kinema.worlds.house.furniture import ALWAYS, CATALOGUE, SOMETIMES
from kinema.worlds.house.generate import NARROWEST_M, generate
from kinema.worlds.house.house import ROOM_WORDS, Door, House, Rectangle, Room, Thing
from kinema.worlds.house.route import Leg, Route, told, turn_of

SEEDS = range(1_000_000, 1_000_008)


def room(kind: str, x0: float, y0: float, x1: float, y1: float) -> Room:
    return Room(kind=kind, corners=((x0, y0), (x1, y0), (x1, y1), (x0, y1)))


def thing(kind: str, color: str, number: int, x: float, y: float) -> Thing:
    return Thing(
        kind=kind, word=CATALOGUE[kind].word, color=color, rgb=(0.5, 0.5, 0.5), room=number, place=(x, y),
        turn=0, size_m=(0.6, 0.6, 0.8),
    )  # fmt: skip


# A bedroom, a kitchen to its right, and a bathroom above the kitchen.
SMALL = House(
    rooms=(room("Bedroom", 0, 0, 4, 4), room("Kitchen", 4, 0, 8, 4), room("Bathroom", 4, 4, 8, 8)),
    doors=(
        Door(rooms=(0, 1), ends=((4.0, 1.5), (4.0, 2.5))),
        Door(rooms=(1, 2), ends=((5.5, 4.0), (6.5, 4.0))),
    ),
    things=(thing("Fridge", "red", 1, 7.5, 2.0), thing("Toilet", "blue", 2, 6.0, 7.5)),
)


def distances_to(space: FreeSpace, place: tuple[float, float]) -> np.ndarray:
    goal = np.zeros_like(space.free)
    goal[space.cell(np.array(place))] = True
    return space.distances(goal)


@pytest.mark.parametrize("seed", SEEDS)
def test_rooms_fill_the_house_and_things_stand_in_them_apart(seed: int) -> None:
    house = generate(seed)
    tiles = [(number, tile) for number, room in enumerate(house.rooms) for tile in room.tiles()]
    assert sum(np.prod(tile.size) for _, tile in tiles) == pytest.approx(np.prod(house.extent.size))
    assert min(min(tile.size) for _, tile in tiles) > NARROWEST_M - 0.11  # cuts are rounded to 0.1 m
    for i, one in enumerate(house.things):
        assert house.room_at(np.array(one.place)) == one.room
        assert one.kind in (*ALWAYS[house.rooms[one.room].kind], *SOMETIMES[house.rooms[one.room].kind])
        assert not any(one.footprint.overlaps(other.footprint) for other in house.things[:i])
        assert not any(one.footprint.grown(-1e-6).overlaps(wall) for _, wall in house.walls())
        assert not any(one.footprint.overlaps(door.opening(0.6)) for door in house.doors)


@pytest.mark.parametrize("seed", SEEDS)
def test_from_every_door_one_can_walk_to_every_other(seed: int) -> None:
    house = generate(seed)
    assert {number for door in house.doors for number in door.rooms} == set(range(len(house.rooms)))
    space = FreeSpace(house)
    reached = distances_to(space, tuple(house.doors[0].center))
    assert all(np.isfinite(reached[space.cell(door.center)]) for door in house.doors)


def test_the_same_seed_is_the_same_house_and_another_seed_another() -> None:
    assert generate(1_000_003) == generate(1_000_003) != generate(1_000_004)


def test_walls_have_gaps_at_doors_alone() -> None:
    space = FreeSpace(SMALL, radius_m=0.0)
    assert space.sees(np.array([3.0, 2.0]), np.array([5.0, 2.0]))
    assert not space.sees(np.array([3.0, 3.0]), np.array([5.0, 3.0]))
    assert not FreeSpace(SMALL).is_free(np.array([4.0, 1.5 + RADIUS_M - CELL_M]))


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_distances_are_dijkstras(seed: int) -> None:
    """An independent search over the same moves, one cell after the other."""
    space = FreeSpace(generate(seed))
    goal = tuple(np.argwhere(space.free)[7])
    flags = np.zeros_like(space.free)
    flags[goal] = True
    far, heap = {goal: 0.0}, [(0.0, goal)]
    steps = [(y, x) for y in range(-2, 3) for x in range(-2, 3) if {abs(y), abs(x)} in ({1}, {0, 1}, {1, 2})]
    while heap:
        now, cell = heapq.heappop(heap)
        if now > far[cell]:
            continue
        for dy, dx in steps:
            touched = {
                (round(dy * t), round(dx * t)) for t in (0.49, 0.51)
            } | ({(dy, 0), (0, dx)} if abs(dy) == abs(dx) else set())  # fmt: skip
            cells = [(cell[0] + y, cell[1] + x) for y, x in (*touched, (dy, dx))]
            if not all(space.free[c] for c in cells):
                continue
            then = now + CELL_M * np.hypot(dy, dx)
            if then < far.get(cells[-1], np.inf) - 1e-12:
                far[cells[-1]] = then
                heapq.heappush(heap, (then, cells[-1]))
    found = space.distances(flags)
    assert np.isfinite(found).sum() == len(far)
    np.testing.assert_allclose([found[cell] for cell in far], list(far.values()), atol=1e-9)


def test_a_way_gets_nearer_with_every_cell_and_ends_at_the_goal() -> None:
    space = FreeSpace(SMALL)
    distances = distances_to(space, (6.0, 6.0))
    way = space.way(distances, np.array([1.0, 1.0]))
    along = [distances[space.cell(place)] for place in way]
    assert all(a > b for a, b in pairwise(along))
    assert along[-1] == 0
    length = np.linalg.norm(np.diff(way[1:], axis=0), axis=1).sum()
    assert along[1] == pytest.approx(length)
    straight = np.hypot(3, 1) + np.hypot(2, 2) + 2  # through both doors' middles, about
    assert 0.9 * straight < along[0] < 1.1 * straight


def test_no_way_leads_through_a_wall() -> None:
    closed = House(rooms=SMALL.rooms, doors=SMALL.doors[:1], things=())
    space = FreeSpace(closed)
    distances = distances_to(space, (6.0, 6.0))
    assert not np.isfinite(distances[space.cell(np.array([1.0, 1.0]))])
    assert len(space.way(distances, np.array([1.0, 1.0]))) == 1


def test_turns_are_named_as_one_who_walks_sees_them() -> None:
    named = {0: "straight", 30: "straight", 60: "left", -60: "right", 170: "back", -170: "back", 300: "right"}
    assert {angle: turn_of(np.radians(angle)) for angle in named} == named


def test_a_route_is_told_room_by_room() -> None:
    space = FreeSpace(SMALL)
    way = space.way(distances_to(space, (6.0, 6.8)), np.array([1.0, 2.0]))
    target = SMALL.things[1]
    ahead = told(SMALL, way, 0.0, target)
    assert [(leg.turn, leg.room) for leg in ahead.legs] == [
        ("straight", "bedroom"), ("left", "kitchen"), ("straight", "bathroom"),
    ]  # fmt: skip
    assert [told(SMALL, way, np.radians(h), target).legs[0].turn for h in (90, -90, 180)] == [
        "right", "left", "back",
    ]  # fmt: skip


def test_what_is_passed_is_said_with_its_side() -> None:
    beside = House(
        rooms=SMALL.rooms, doors=SMALL.doors, things=(*SMALL.things, thing("Bed", "green", 0, 2, 3.2))
    )
    space = FreeSpace(beside)
    way = space.way(distances_to(space, (6.0, 6.8)), np.array([0.6, 2.0]))
    leg = told(beside, way, 0.0, SMALL.things[1]).legs[0]
    assert leg == Leg(turn="straight", room="bedroom", passed=(beside.things[2], "left"))


@pytest.mark.parametrize("errand", ERRANDS)
def test_errands_are_far_enough_and_their_words_short_enough(errand: str) -> None:
    for seed in SEEDS[:4]:
        house, rng = generate(seed), np.random.default_rng(seed)
        space = FreeSpace(house)
        for held_out in (False, True):
            found = draw(errand, house, space, rng, held_out=held_out)
            assert len(found.instruction) <= MAX_INSTRUCTION_CHARS
            assert found.distances[space.cell(found.start[:2])] > 6
            assert found.target is not None
            assert found.target.footprint.gap_m(found.goal) < 0.7
            if errand != "follow":
                assert found.target.name in found.instruction


@pytest.mark.parametrize(("held_out", "stops"), [(False, "stop at"), (True, "halt at")])
def test_a_long_way_is_told_briefly_in_words_of_its_own_kind(held_out: bool, stops: str) -> None:
    bed, rng = thing("Bed", "green", 0, 2, 3.2), np.random.default_rng(0)
    leg = Leg(turn="left", room="living room", passed=(bed, "left"))
    route = Route(legs=(leg,) * 12, target=bed)
    said = [words.instruction(rng, route, held_out=held_out) for _ in range(20)]
    assert max(map(len, said)) <= MAX_INSTRUCTION_CHARS
    assert any(stops in text for text in said)
    assert not any(("halt" in text) != held_out for text in said)


def test_no_wording_of_the_evaluation_is_one_of_the_training() -> None:
    def said(registers: dict[str, words.Register]) -> set[str]:
        phrases: set[str] = set()
        for register in registers.values():
            for named in (register.begin, register.turn):
                phrases |= {phrase for choices in named.values() for phrase in choices}
            phrases |= {*register.leave, *register.passed, *register.stop}
        return phrases

    assert not said(words.SEEN) & said(words.HELD_OUT)
    assert not {*words.SEARCHES, *words.FOLLOWS} & {*words.SEARCHES_HELD_OUT, *words.FOLLOWS_HELD_OUT}


def test_every_kind_of_room_has_furniture_that_the_catalogue_knows() -> None:
    assert set(ALWAYS) == set(SOMETIMES) == set(ROOM_WORDS)
    assert {kind for kinds in (*ALWAYS.values(), *SOMETIMES.values()) for kind in kinds} == set(CATALOGUE)


def test_a_room_that_is_no_rectangle_is_covered_by_its_tiles() -> None:
    corner = Room(kind="Kitchen", corners=((0, 0), (4, 0), (4, 2), (2, 2), (2, 5), (0, 5)))
    assert sum(np.prod(tile.size) for tile in corner.tiles()) == 4 * 2 + 2 * 3
    assert not any(tile.overlaps(Rectangle(low=(2.1, 2.1), high=(3.9, 4.9))) for tile in corner.tiles())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: room("Cellar", 0, 0, 1, 1), "unknown kind of room 'Cellar'; choices: Kitchen"),
        (lambda: Room(kind="Kitchen", corners=((0, 0), (1, 1), (0, 1), (0.5, 0.5))), "walls along the axes"),
        (lambda: House(rooms=SMALL.rooms[:1], doors=SMALL.doors, things=()), "there are 1"),
        (
            lambda: draw("dance", SMALL, FreeSpace(SMALL), np.random.default_rng(0), held_out=False),
            "no errand 'dance'; choices: instruction, search, follow",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(KinemaError, match=message):
        make()
