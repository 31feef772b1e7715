"""The hand's world and what a robot makes of it: same scene, same path, inverse maps, limits kept."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from kinema.card.load import load_card
from kinema.schema import KinemaError
from kinema.worlds.hand.aligned import BACKGROUND, Performance, aligned, composite, perform
from kinema.worlds.hand.hand import OPEN_M, SKINS
from kinema.worlds.hand.retarget import GraspPath, fit, grasp_path, replay, tool_places
from kinema.worlds.hand.stage import AREA, VIEWS, HandWorld, StagedWorld, reaches
from kinema.worlds.hand.track import HandTracker, background, outline

SEED = 500_400  # a development seed, as all here


@cache
def hand(family: str) -> HandWorld:
    return HandWorld(family=family, image_size=48)


@cache
def robot(name: str, family: str) -> StagedWorld:
    return StagedWorld(card=load_card(name), family=family, image_size=48)


@cache
def performed(family: str) -> Performance:
    return perform(hand(family), SEED)


def straight(start: tuple[float, float, float], end: tuple[float, float, float], steps: int) -> GraspPath:
    return GraspPath(
        position_m=np.linspace(start, end, steps), opening=np.ones(steps), gap_m=np.full(steps, 0.05)
    )


@pytest.mark.parametrize("name", ["ur5e", "widowx"])
def test_a_seed_lays_the_same_table_before_every_body(name: str) -> None:
    world, own = hand("push"), robot(name, "push")
    world.reset(SEED)
    own.reset(SEED)
    assert own.instruction == world.instruction
    T = own.T_robot_table
    for mine, theirs in zip(own.task.free_blocks() or own.task.blocks, world.task.blocks):
        there = (T @ [*theirs.position(world.scene.data), 1.0])[:3]
        np.testing.assert_allclose(mine.position(own.scene.data), there, atol=1e-3)


def test_without_the_hand_only_the_hand_is_missing() -> None:
    done = performed("button")
    for view in VIEWS:
        changed = np.abs(done.human[view].astype(int) - done.empty[view]).max(-1) > 8
        assert 0.02 < changed.mean() < 0.5
        skin = done.human[view][changed].astype(float)
        assert any(np.abs(skin / 255 - np.array(rgb)).max(1).min() < 0.25 for rgb in SKINS)
    again = hand("button").observe().images["front"]
    hand("button").observe_without_hand()
    np.testing.assert_array_equal(hand("button").observe().images["front"], again)


def test_the_hand_does_the_task_and_a_robot_replays_it() -> None:
    done = performed("button")
    assert done.success
    path = fit(robot("ur5e", "button"), done.path)
    assert replay(robot("ur5e", "button"), SEED, path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["panda", "viperx", "kinova_gen3"])
def test_a_carried_block_is_carried_by_robots_too(name: str) -> None:
    done = performed("pick_place")
    assert done.success
    assert replay(robot(name, "pick_place"), SEED, fit(robot(name, "pick_place"), done.path))


def test_four_streams_are_one_performance() -> None:
    world, done = robot("panda", "button"), performed("button")
    path, streams = aligned(world, done)
    assert list(streams) == ["human", "empty", "robot_alone", "robot"]
    shapes = {pictures[view].shape for pictures in streams.values() for view in VIEWS}
    assert shapes == {(len(path.joints), 48, 48, 3)}
    for view in VIEWS:
        nothing = (streams["robot_alone"][view] == BACKGROUND).all(-1)
        assert 0.1 < nothing.mean() < 1.0
        # where the robot is not, its scene is the one without the hand
        apart = np.abs(streams["robot"][view].astype(int) - streams["empty"][view]).max(-1)[nothing]
        assert np.mean(apart > 8) < 0.005


def test_drawing_the_robot_over_the_scene_is_near_the_true_picture() -> None:
    world, done = robot("panda", "button"), performed("button")
    path, streams = aligned(world, done)
    made = composite(world, path, done.empty)
    for view in VIEWS:
        wrong = np.square(made[view].astype(float) - streams["robot"][view]).mean()
        bare = np.square(done.empty[view].astype(float) - streams["robot"][view]).mean()
        assert wrong < 0.1 * bare


@pytest.mark.parametrize("name", ["panda", "ur10e", "arx_l5"])
def test_joints_follow_the_path_within_the_cards_limits(name: str) -> None:
    world = robot(name, "button")
    path = fit(world, straight((0.40, -0.10, 0.15), (0.55, 0.10, 0.03), 20))
    handle = world.scene.robot.arm("right")
    assert path.error_m.max() < 1e-3
    assert np.all(path.joints >= handle.lower - 1e-9)
    assert np.all(path.joints <= handle.upper + 1e-9)
    assert np.all(np.abs(np.diff(path.joints, axis=0)) <= handle.velocity / 10 + 1e-9)
    assert path.state.shape[1] == len(world.card.states)
    assert path.action.shape[1] == len(world.card.actions)


def test_a_path_too_fast_for_the_joints_shows_in_the_error() -> None:
    world = robot("panda", "button")
    path = fit(world, straight((0.38, -0.14, 0.15), (0.58, 0.14, 0.03), 2))
    reach = world.scene.robot.arm("right").velocity / 10
    assert np.all(np.abs(np.diff(path.joints, axis=0)) <= reach + 1e-9)
    assert path.error_m.max() > 0.05


@pytest.mark.parametrize("name", ["panda", "widowx"])
def test_grasp_path_is_the_inverse_of_tool_places(name: str) -> None:
    world = robot(name, "button")
    rng = np.random.default_rng(0)
    position = np.column_stack(
        [rng.uniform(0.4, 0.55, 9), rng.uniform(-0.1, 0.1, 9), rng.uniform(0.05, 0.2, 9)]
    )
    path = GraspPath(position_m=position, opening=np.ones(9), gap_m=np.ones(9))
    back = grasp_path(world, tool_places(world, path), path.opening, path.gap_m)
    np.testing.assert_allclose(back.position_m, position, atol=1e-12)


def test_finger_tips_stay_above_the_table() -> None:
    world = robot("panda", "button")
    low = straight((*AREA.center, -0.05), (*AREA.center, -0.05), 3)
    assert np.all(tool_places(world, low)[:, 2] > world.scene.tip_below_tool_m())


def test_who_reaches_the_table() -> None:
    reached = {name: reaches(load_card(name)) for name in ("panda", "iiwa14", "piper", "aloha", "so101")}
    assert reached == {"panda": True, "iiwa14": True, "piper": True, "aloha": False, "so101": False}


def test_a_bad_path_is_named() -> None:
    with pytest.raises(KinemaError, match=r"gap_m \(3,\)"):
        GraspPath(position_m=np.zeros((3, 3)), opening=np.zeros(3), gap_m=np.zeros(2))
    with pytest.raises(KinemaError, match="non-finite"):
        GraspPath(position_m=np.full((3, 3), np.nan), opening=np.zeros(3), gap_m=np.zeros(3))


def test_the_background_is_what_stays() -> None:
    frames = np.full((9, 8, 8, 3), 90, np.uint8)
    for step in range(8):
        frames[step, step, step] = 200
    assert np.all(background(frames) == 90)
    assert outline(frames).sum() == 8


def test_a_film_without_one_of_the_views_is_refused() -> None:
    tracker = HandTracker(16)
    with pytest.raises(KinemaError, match="lacking side"):
        tracker.track({"front": np.zeros((20, 16, 16, 3), np.uint8)})
    tracker.close()


@pytest.mark.slow  # tests/commands/imagine/test_retarget.py follows a hand in `make test`
def test_a_tracked_hand_is_where_it_was() -> None:
    done = performed("pick_place")
    tracker = HandTracker(48)
    path = tracker.track(done.human)
    tracker.close()
    off_m = np.linalg.norm(path.position_m - done.path.position_m, axis=1)
    assert np.median(off_m) < 0.012
    assert path.gap_m.max() <= OPEN_M
