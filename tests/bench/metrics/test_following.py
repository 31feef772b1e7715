"""Instruction following and physics on made-up scenes whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from film_tracks import CAMERA, CARD, FRAMES, FRONT, HALF_M, go, stay, tracks_of, wrist_pose

from kinema.bench.metrics import physics
from kinema.bench.metrics.following import judge
from kinema.bench.metrics.tracks import Tracks
from kinema.schema import KinemaError

INTO_BOWL = "put the red block in the green bowl"
START, BOWL = (0.40, -0.10, HALF_M), (0.55, 0.08, 0.004)
IN_BOWL = (0.55, 0.08, 0.004 + HALF_M)
SCENE = {"green bowl": stay(*BOWL), "blue block": stay(0.45, 0.12, HALF_M), "gripper": stay(0.5, 0.0, 0.3)}


def test_right_thing_right_place() -> None:
    followed = judge(tracks_of({**SCENE, "red block": go(START, IN_BOWL)}), INTO_BOWL, CARD)
    assert followed.success
    assert followed.moved == ("red block",)
    assert followed.distance_m == pytest.approx(0.0, abs=1e-6)


def test_nothing_moves() -> None:
    followed = judge(tracks_of({**SCENE, "red block": stay(*START)}), INTO_BOWL, CARD)
    assert not followed.success
    assert followed.moved == ()


def test_a_thing_that_was_there_from_the_first_is_not_put_there() -> None:
    followed = judge(tracks_of({**SCENE, "red block": stay(*IN_BOWL)}), INTO_BOWL, CARD)
    assert followed.placed
    assert not followed.success


def test_another_thing_moves() -> None:
    moved = {**SCENE, "red block": stay(*START), "blue block": go((0.45, 0.12, HALF_M), IN_BOWL)}
    followed = judge(tracks_of(moved), INTO_BOWL, CARD)
    assert followed.moved == ("blue block",)
    assert not followed.right_thing


@pytest.mark.parametrize(
    "end",
    [(0.45, 0.0, HALF_M), (0.55, 0.08 + 0.08, HALF_M), (0.55, 0.08, 0.16)],
    ids=["short", "beside", "held"],
)
def test_the_right_thing_in_no_place(end: tuple[float, float, float]) -> None:
    followed = judge(tracks_of({**SCENE, "red block": go(START, end)}), INTO_BOWL, CARD)
    assert followed.right_thing
    assert not followed.placed


def test_a_block_that_vanishes_is_not_placed() -> None:
    tracks = tracks_of({**SCENE, "red block": go(START, IN_BOWL)}, unseen={"red block": slice(2, None)})
    assert not judge(tracks, INTO_BOWL, CARD).placed


def test_pushing_and_stacking() -> None:
    area = {**SCENE, "yellow area": stay(0.56, -0.1, 0.0)}
    pushed = tracks_of({**area, "red block": go(START, (0.56, -0.08, HALF_M))})
    assert judge(pushed, "push the red block to the yellow area", CARD).success
    top = tracks_of({**SCENE, "red block": go(START, (0.45, 0.12, 3 * HALF_M))})
    beside = tracks_of({**SCENE, "red block": go(START, (0.45, 0.17, HALF_M))})
    assert judge(top, "stack the red block on the blue block", CARD).success
    assert not judge(beside, "stack the red block on the blue block", CARD).placed


def _buttons(pressed: str, touched: bool = True) -> Tracks:
    names = ("red", "blue")
    buttons = {name: stay(0.45, 0.1 * i, 0.045) for i, name in enumerate(names)}
    scene = {f"{name} button": place for name, place in buttons.items()}
    found = tracks_of(
        {**scene, "gripper": buttons[pressed if touched else "red"] + [0, 0, 0.3 * (not touched)]}
    )
    points = found.points.copy()
    up, down = found.things.index(f"{pressed} button"), found.things.index(f"{pressed} pressed button")
    points[4:, :, down] = points[4:, :, up]
    points[4:, :, up, 2] = 0.0
    return Tracks(things=found.things, cameras=found.cameras, points=points)


def test_buttons() -> None:
    assert judge(_buttons("red"), "press the red button", CARD).success
    wrong = judge(_buttons("blue"), "press the red button", CARD)
    assert wrong.moved == ("blue button",)
    assert not wrong.success
    assert judge(_buttons("blue", touched=False), "press the blue button", CARD).moved == ()


def test_the_drawer_opens_towards_the_robot_and_closes_away_from_it() -> None:
    near, far = (0.38, 0.0, 0.055), (0.48, 0.0, 0.055)
    opened, closed = tracks_of({"drawer handle": go(far, near)}), tracks_of({"drawer handle": go(near, far)})
    assert judge(opened, "open the drawer", CARD).success
    assert judge(closed, "close the drawer", CARD).success
    assert not judge(opened, "close the drawer", CARD).placed


def test_the_tray_must_rise_at_both_ends() -> None:
    def handles(left_m: float) -> Tracks:
        right, left = (0.45, -0.12, 0.03), (0.45, 0.12, 0.03)
        return tracks_of(
            {
                "right tray handle": go(right, (0.45, -0.12, 0.12)),
                "left tray handle": go(left, (0.45, 0.12, 0.03 + left_m)),
            }
        )

    assert judge(handles(0.09), "lift the tray with both arms", CARD).success
    assert not judge(handles(0.0), "lift the tray with both arms", CARD).placed


def test_one_block_into_the_box() -> None:
    scene = {"box": stay(0.5, -0.2, 0.004), "gripper": stay(0.5, 0.0, 0.3)}
    inside = tracks_of({**scene, "red block": go(START, (0.45, -0.22, 0.004 + HALF_M))})
    outside = tracks_of({**scene, "red block": go(START, (0.45, 0.1, HALF_M))})
    assert judge(inside, "put the red block in the box", CARD).success
    assert not judge(outside, "put the red block in the box", CARD).success


def test_what_cannot_be_judged_is_refused() -> None:
    with pytest.raises(KinemaError, match="tidy"):
        judge(tracks_of(SCENE), "tidy up the table", CARD)


def test_permanence_counts_the_frames_in_which_a_thing_is_there() -> None:
    scene = {"red block": stay(*START), "gripper": stay(0.62, 0.2, 0.4)}
    assert physics.permanence(tracks_of(scene), FRONT) == 1.0
    gone = tracks_of(scene, unseen={"red block": slice(4, None)})  # seen in 3 of the 6 later frames
    assert physics.permanence(gone, FRONT) == pytest.approx(0.5)
    hidden = {**scene, "gripper": stay(START[0], START[1], 0.05)}  # what a gripper may hide is not counted
    assert physics.permanence(tracks_of(hidden, unseen={"red block": slice(4, None)}), FRONT) == 1.0
    assert math.isnan(physics.permanence(tracks_of({}), FRONT))


def test_blocks_do_not_share_space() -> None:
    apart = {"red block": stay(*START), "blue block": stay(START[0], START[1] + 0.05, HALF_M)}
    within = {**apart, "blue block": stay(START[0], START[1] + 0.02, HALF_M)}
    assert physics.no_penetration(tracks_of(apart), FRONT, CAMERA) == 1.0
    assert physics.no_penetration(tracks_of(within), FRONT, CAMERA) == 0.0


def test_what_is_not_held_rests() -> None:
    far = {"gripper": stay(0.62, 0.25, 0.4)}
    poses = [wrist_pose()] * FRAMES

    def score(height_m: float) -> float:
        tracks = tracks_of({**far, "red block": stay(0.45, -0.05, height_m)})
        return physics.gravity(tracks, FRONT, CAMERA, "wrist", poses)

    assert score(HALF_M) == score(3 * HALF_M) == 1.0  # on the table, on another block
    assert score(0.2) == 0.0


def test_nothing_moves_by_itself() -> None:
    far = {"gripper": stay(0.62, 0.25, 0.4)}
    moving = tracks_of({**far, "red block": go(START, (0.40, 0.06, HALF_M))})  # 4 of 6 steps of 4 cm
    assert physics.inertia(moving, FRONT, CAMERA) == pytest.approx(2 / 6)
    held = tracks_of(
        {"gripper": go(START, (0.40, 0.06, HALF_M)), "red block": go(START, (0.40, 0.06, HALF_M))}
    )
    assert math.isnan(physics.inertia(held, FRONT, CAMERA))


def test_rays_of_two_views_that_agree_meet() -> None:
    scene = {"red block": go(START, IN_BOWL), "green bowl": stay(*BOWL)}
    poses = [wrist_pose()] * FRAMES
    agreed = physics.view_distances(tracks_of(scene), FRONT, CAMERA, "wrist", poses)
    assert agreed.shape == (2 * FRAMES,)
    assert np.abs(agreed).max() < 1e-9
    shifted = wrist_pose()
    shifted.position_m[1] += 0.03  # the second view is of a scene 3 cm away
    apart = physics.view_distances(tracks_of(scene, wrist=shifted), FRONT, CAMERA, "wrist", poses)
    assert 0.01 < np.median(apart) <= 0.03


def test_an_early_arm_is_forgiven_within_the_window_only() -> None:
    poses = [wrist_pose() for _ in range(FRAMES)]
    for number, pose in enumerate(poses):
        pose.position_m[1] += 0.03 * number
    scene = {"red block": stay(*START), "green bowl": stay(*BOWL)}
    late = tracks_of(scene, wrist=poses[1])  # the second view stays where it was in frame 1
    strict = physics.view_distances(late, FRONT, CAMERA, "wrist", poses)
    aligned = physics.view_distances(late, FRONT, CAMERA, "wrist", poses, window=FRAMES)
    assert np.abs(aligned).max() < 1e-9 < np.median(strict)
