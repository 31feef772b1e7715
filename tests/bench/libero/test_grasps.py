"""Laws of where LIBERO's expert takes a thing and sets it down, by shapes of its own."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.bench.libero.arm import UP, Grip
from kinema.bench.libero.grasps import grasps, touches
from kinema.bench.libero.places import Pose, Region, place
from kinema.bench.libero.solids import Boxes
from kinema.space.rotation import matrix_from_rotvec, rotvec_from_matrix


class StillArm:
    """Straight down, its jaws along y."""

    rotation = np.diag([1.0, -1.0, -1.0])

    def turn_rad(self, grip: Grip) -> np.ndarray:
        return rotvec_from_matrix(grip.rotation @ self.rotation.T)

    def spared(self, grip: Grip) -> Grip:
        return grip.flipped(min((1, -1), key=lambda sign: np.linalg.norm(self.turn_rad(grip.flipped(sign)))))


def box(center: tuple[float, ...], half: tuple[float, ...], turn_rad: float = 0.0) -> Boxes:
    return Boxes(np.array([center]), np.array([half]), matrix_from_rotvec(turn_rad * UP)[None])


def together(*boxes: Boxes) -> Boxes:
    return Boxes(
        np.concatenate([b.centers for b in boxes]),
        np.concatenate([b.halves for b in boxes]),
        np.concatenate([b.rotations for b in boxes]),
    )


def ring(radius_m: float, half_height_m: float) -> Boxes:
    """The wall of a bowl, standing at the origin."""
    turns, wide_m, high_m = np.arange(0, 2 * np.pi, np.pi / 8), radius_m * np.pi / 16, half_height_m
    middles = [(radius_m * np.cos(t), radius_m * np.sin(t), high_m) for t in turns]
    return together(
        *[box(middle, (0.001, wide_m, high_m), t) for middle, t in zip(middles, turns, strict=True)]
    )


def moved(boxes: Boxes, turn: np.ndarray, by: np.ndarray) -> Boxes:
    return Boxes(boxes.centers @ turn.T + by, boxes.halves, turn @ boxes.rotations)


def inside(boxes: Boxes, points: np.ndarray) -> bool:
    local = np.einsum("pnj,nji->pni", points[:, None] - boxes.centers, boxes.rotations)
    return bool((np.abs(local) < boxes.halves).all(-1).any())


TABLE = box((0, 0, -0.05), (1, 1, 0.05))


@given(turn_rad=st.floats(-1.5, 1.5), x=st.floats(-0.3, 0.3))
@settings(max_examples=5, deadline=None)
def test_a_box_is_taken_across_its_narrow_side_in_its_middle(turn_rad: float, x: float) -> None:
    thing = box((x, 0.1, 0.02), (0.05, 0.015, 0.02), turn_rad)
    grip = next(grasps(StillArm(), thing, TABLE))
    across = np.array([-np.sin(turn_rad), np.cos(turn_rad), 0])
    assert abs(grip.jaws @ across) > 0.99
    np.testing.assert_allclose(grip.position_m[:2], [x, 0.1], atol=0.003)
    assert not touches(grip, TABLE.surface_near(grip.position_m, 0.3, 0.01), 0.0)


def test_a_bowl_is_taken_by_its_rim() -> None:
    grip = next(grasps(StillArm(), ring(0.05, 0.03), TABLE))
    assert abs(np.linalg.norm(grip.position_m[:2]) - 0.05) < 0.006
    assert grip.position_m[2] > 0.03


@given(turn_rad=st.floats(-3, 3))
@settings(max_examples=4, deadline=None)
def test_a_rim_is_taken_across_and_not_along_its_curve(turn_rad: float) -> None:
    bowl = moved(ring(0.05, 0.03), matrix_from_rotvec(turn_rad * UP), np.zeros(3))
    for grip in islice(grasps(StillArm(), bowl, TABLE), 20):
        outward = grip.position_m[:2] / np.linalg.norm(grip.position_m[:2])
        level = grip.jaws[:2] / np.linalg.norm(grip.jaws[:2])
        assert abs(level @ outward) > 0.9


def test_a_bowl_under_a_drawer_is_taken_by_a_hand_that_leans_away_from_it() -> None:
    drawer = box((0, -0.16, 0.15), (0.2, 0.19, 0.04))
    free, grip = (
        next(grasps(StillArm(), ring(0.05, 0.03), around)) for around in (TABLE, together(TABLE, drawer))
    )
    assert free.approach @ UP < -0.99
    assert -grip.approach[1] > 0.3 * np.cos(np.radians(40))
    assert not touches(grip, drawer.surface_near(np.zeros(3), 0.5, 0.005), 0.0)


def test_a_long_flat_thing_is_taken_by_the_end_that_is_free() -> None:
    bar = box((0, 0, 0.02), (0.08, 0.015, 0.02))
    wall = box((-0.05, 0.07, 0.1), (0.07, 0.02, 0.1))
    free, grip = (next(grasps(StillArm(), bar, around)) for around in (TABLE, together(TABLE, wall)))
    assert abs(free.position_m[0]) < 0.005
    assert grip.position_m[0] > 0.04
    assert grip.approach @ UP < -0.99


def test_what_is_wider_than_the_jaws_is_not_taken() -> None:
    assert next(grasps(StillArm(), box((0, 0, 0.05), (0.05, 0.05, 0.05)), TABLE), None) is None


def test_the_hand_stays_clear_of_a_wall_beside_the_thing() -> None:
    wall = box((0.055, 0, 0.15), (0.01, 0.3, 0.15))
    around = together(TABLE, wall)
    bowl = ring(0.04, 0.03)
    surface = around.surface_near(np.zeros(3), 0.5, 0.005)
    free = next(grasps(StillArm(), bowl, TABLE))
    found = list(islice(grasps(StillArm(), bowl, around), 20))
    assert found
    assert free.position_m[0] != pytest.approx(found[0].position_m[0]) or not touches(free, surface, 0.0)
    for grip in found:
        assert not touches(grip, surface, 0.0)


def held(thing: Boxes, turn_rad: float = 0.0) -> tuple[Grip, Boxes, Pose]:
    """By its top, half a metre up, turned."""
    turn = matrix_from_rotvec(turn_rad * UP)
    lifted = moved(thing, turn, 0.5 * UP)
    grip = Grip(np.array([0, 0, lifted.top_m - 0.02]), -UP, turn @ [0, 1.0, 0])
    return grip, lifted, Pose(0.5 * UP, turn)


def test_a_flat_thing_may_lie_on_the_rim_of_a_bowl_and_nowhere_higher() -> None:
    bowl, lid = ring(0.04, 0.03), box((0, 0, 0.01), (0.04, 0.02, 0.01))
    side = np.array([0.02, 0.02, 0])
    grip, lifted, now = held(lid)

    def lies(rests_m: float) -> Pose | None:
        region = Region(np.zeros(3), np.eye(3), -side, side + 0.2 * UP, rests_m)
        return place(region, grip, lifted, now, np.eye(3), together(TABLE, bowl))

    assert lies(0.05) is None
    there = lies(0.07)
    assert there is not None
    assert 0.06 < there.position_m[2] < 0.09


@given(turn_rad=st.floats(-1.5, 1.5))
@settings(max_examples=4, deadline=None)
def test_a_book_goes_into_a_slot_along_it(turn_rad: float) -> None:
    walls = [box((0.3 + side * 0.035, 0.2, 0.05), (0.005, 0.07, 0.05)) for side in (-1, 1)]
    ends = [box((0.3, 0.2 + side * 0.07, 0.05), (0.04, 0.005, 0.05)) for side in (-1, 1)]
    around = together(TABLE, *walls, *ends)
    book = box((0, 0, 0.07), (0.014, 0.055, 0.07))
    region = Region(
        np.array([0.3, 0.2, 0.05]), np.eye(3), np.array([-0.03, -0.06, -0.06]), np.array([0.03, 0.06, 0.02])
    )
    grip, lifted, now = held(book, turn_rad)
    there = place(region, grip, lifted, now, np.eye(3), around)
    assert there is not None
    assert abs(there.rotation[0, 0]) > 0.99
    assert not inside(around, moved(book, there.rotation, there.position_m).surface(0.01))


def test_a_second_thing_stands_beside_the_first() -> None:
    region = Region(
        np.array([0.3, 0, 0.0]), np.eye(3), np.array([-0.07, -0.07, 0]), np.array([0.07, 0.07, 0.1])
    )
    can = box((0, 0, 0.04), (0.025, 0.025, 0.04))
    first = box((0.3, 0, 0.04), (0.025, 0.025, 0.04))
    grip, lifted, now = held(can)
    alone = place(region, grip, lifted, now, np.eye(3), TABLE)
    beside = place(region, grip, lifted, now, np.eye(3), together(TABLE, first))
    assert alone is not None
    assert beside is not None
    np.testing.assert_allclose(alone.position_m[:2], [0.3, 0], atol=1e-6)
    assert np.abs(beside.position_m - first.centers[0])[:2].max() > 0.05


def test_there_is_no_place_in_a_region_that_is_full() -> None:
    region = Region(
        np.array([0.3, 0, 0.0]), np.eye(3), np.array([-0.02, -0.02, 0]), np.array([0.02, 0.02, 0.03])
    )
    full = box((0.3, 0, 0.04), (0.1, 0.1, 0.04))
    grip, lifted, now = held(box((0, 0, 0.04), (0.025, 0.025, 0.04)))
    assert place(region, grip, lifted, now, np.eye(3), together(TABLE, full)) is None
