"""A goal looks at as much as its sentence says: what reaches it otherwise, or for an instant, does not."""

from __future__ import annotations

from collections.abc import Callable

import mujoco
import numpy as np
import pytest

from kinema.card.load import load_card
from kinema.worlds import Expert, TabletopEnv, families_for
from kinema.worlds.hazards.snapshot import restore, snapshot
from kinema.worlds.road.env import RoadEnv
from kinema.worlds.road.goals import GOALS
from kinema.worlds.tabletop.blind import KINDS, Blind
from kinema.worlds.tabletop.check import check_blind, goals_of, play, tabletop_robots
from kinema.worlds.tabletop.experts.motion import (
    ToolTarget,
    carried,
    carry,
    funnel,
    grasp,
    shut_first,
    straight,
)
from kinema.worlds.tabletop.sentence import Request

PAIRS = [(robot, family) for robot in tabletop_robots() for family in families_for(robot)]
WORLDS = [*PAIRS, *(("car", goal) for goal in GOALS), *(("human_hand", f) for f in goals_of("human_hand"))]
SEED = 20_000


def panda(family: str) -> TabletopEnv:
    return TabletopEnv(card=load_card("panda"), family=family)


def go(env: TabletopEnv, target: ToolTarget) -> None:
    """One control step towards a tool target, straight down."""
    action = np.concatenate([target.position_m, np.zeros(3), [target.opening]])
    env.step(env.scene.controller.clamp(action))


def ever(env: TabletopEnv, aim: Callable[[], ToolTarget]) -> bool:
    """Whether the goal is reached at any time while these targets are followed."""
    for _ in range(env.max_steps):
        go(env, aim())
        if env.success():
            return True
    return False


@pytest.mark.parametrize("seed", [SEED, SEED + 1])
def test_a_block_that_is_carried_over_the_area_is_not_pushed(seed: int) -> None:
    env = panda("push")
    env.reset(seed)
    scene, task = env.scene, env.task

    def aim() -> ToolTarget:
        if not carried(scene, task.target, "right"):
            return grasp(scene, task.target, "right")
        over = np.array([*task.region.position(scene.data)[:2], 0.22])
        if scene.tool()[2] < 0.15:
            over[:2] = scene.tool()[:2]
        return ToolTarget(position_m=straight(scene.tool(), over), opening=0.0)

    assert not ever(env, aim)
    assert task.inside(scene)
    assert task.progress.rise_m(task.target) > 0.1


def test_a_block_that_is_carried_to_the_area_and_put_down_is_not_pushed() -> None:
    env = panda("push")
    env.reset(SEED)
    scene, task = env.scene, env.task

    def aim() -> ToolTarget:
        goal = task.region.position(scene.data) + np.array([0.0, 0.0, task.target.shape.half_m[2] + 0.004])
        if carried(scene, task.target, "right"):
            return carry(scene, task.target, "right", goal)
        if task.inside(scene):
            return ToolTarget(position_m=scene.tool() + np.array([0, 0, 0.02]), opening=1.0)
        return grasp(scene, task.target, "right")

    assert not ever(env, aim)
    assert task.inside(scene)
    assert scene.is_still([task.target])


@pytest.mark.parametrize("kind", ["bowl", "plate"])
def test_a_block_that_is_pushed_into_its_place_is_not_picked(kind: str) -> None:
    env = panda("pick_place")
    placed = 0
    for seed in range(30_000, 30_006):
        env.reset(seed, Request(family="pick_place", text="x", kind=kind))
        scene, task = env.scene, env.task

        def aim() -> ToolTarget:
            block = task.target.position(scene.data)  # noqa: B023
            way = task.place.position(scene.data)[:2] - block[:2]  # noqa: B023
            left = float(np.linalg.norm(way))
            direction = way / max(left, 1e-9)
            tool = scene.tool()  # noqa: B023
            low = scene.tip_below_tool_m() + 0.014  # noqa: B023
            behind = -float((tool[:2] - block[:2]) @ direction)
            lateral = tool[:2] - block[:2] + behind * direction
            reach = 0.024 + scene.tip_half_m()  # noqa: B023
            if left < 0.012:
                up = np.array([*(tool[:2] - 0.05 * direction), 0.15])
                return ToolTarget(position_m=straight(tool, up), opening=0.0)
            if tool[2] < low + 0.03 and behind > 0.5 * reach and np.linalg.norm(lateral) < 0.5 * behind:
                step = min(0.035, left + max(0.0, behind - reach))
                goal = tool[:2] + direction * step - 0.6 * lateral
                return ToolTarget(position_m=np.array([*goal, low]), opening=0.0)
            start = shut_first(scene, "right", np.array([*(block[:2] - direction * (reach + 0.022)), low]))  # noqa: B023
            return ToolTarget(position_m=funnel(tool, start, wide_m=0.018), opening=0.0)

        assert not ever(env, aim)
        placed += task.placed(scene)
    assert placed > 0 or kind == "bowl"  # it does get onto plates, and that is what must not count


def test_a_block_that_lies_on_another_without_having_been_carried_is_not_stacked() -> None:
    env = panda("stack")
    env.reset(SEED)
    scene, task = env.scene, env.task
    base = task.base.position(scene.data)
    task.target.place(scene.model, scene.data, base[:2], scene.grip_yaw_rad, z=2 * task.base.shape.half_m[2])
    mujoco.mj_forward(scene.model, scene.data)
    still = Blind(env.card, "hold", env.state(), 0)
    for _ in range(12):
        env.step(still.act())
    assert abs(task.target.position(scene.data)[2] - task.goal(scene)[2]) < 0.008
    assert not env.success()
    task.progress.carried.add(task.target.name)
    assert env.holds()


@pytest.mark.parametrize("kind", ["open", "close"])
def test_a_drawer_that_is_flung_is_not_moved_by_hand(kind: str) -> None:
    env = panda("drawer")
    env.reset(SEED, Request(family="drawer", text="x", kind=kind))
    scene, task = env.scene, env.task
    sign = 1.0 if kind == "open" else -1.0
    still = Blind(env.card, "hold", env.state(), 0)
    for speed, counts in ((1.2, False), (0.3, True)):
        task.begin()
        scene.data.qpos[task.cabinet.qpos] = 0.02 if kind == "open" else 0.09
        for _ in range(14):
            if not task.moved(scene):
                scene.data.qvel[task.cabinet.dof] = sign * speed
            env.step(still.act())
        assert task.moved(scene)
        assert env.success() == counts, speed


def test_a_button_that_is_let_go_or_down_by_itself_is_not_pressed() -> None:
    env = panda("button")
    env.reset(SEED)
    expert, still = Expert(env), Blind(env.card, "hold", env.state(), 0)
    while not env.holds():
        env.step(expert.act())
    assert not env.success()  # an instant is no press
    for _ in range(12):
        env.step(still.act())  # back to where the episode began
    assert not env.holds()
    env.scene.data.qpos[env.task.target.qpos] = -0.013  # as if something else lay on it
    mujoco.mj_forward(env.scene.model, env.scene.data)
    assert not env.holds()


@pytest.mark.parametrize(
    ("robot", "policy", "seed"),
    [("jaco", "uniform", 600_020), ("jaco", "uniform", 600_042), ("so101", "walk", 900_416)],
)
def test_what_lies_on_a_button_or_around_it_does_not_press(robot: str, policy: str, seed: int) -> None:
    env = TabletopEnv(card=load_card(robot), family="button")
    env.reset(seed)
    motion, down = Blind(env.card, policy, env.state(), seed), 0
    for _ in range(env.max_steps):
        env.step(motion.act())
        target = env.task.target
        down += target.depth_m(env.scene.data) > 0.009 and env.scene.touched(target.cap)
        assert not env.holds()
    assert down >= 5  # half a second and more


@pytest.mark.parametrize("robot", ["panda", "jaco", "so101"])
@pytest.mark.parametrize(
    ("across_m", "up_m", "pressed"),
    [(0.0, -0.001, True), (0.02, -0.001, True), (0.0, -0.010, False), (0.025, -0.010, False)],
)
def test_a_press_is_a_tip_on_the_cap(robot: str, across_m: float, up_m: float, pressed: bool) -> None:
    env = TabletopEnv(card=load_card(robot), family="button")
    env.reset(SEED)
    scene, target = env.scene, env.task.target
    handle, depth_m = scene.robot.arm("right"), 0.012
    tip = target.top(scene.data) + np.array([across_m, 0.0, up_m - depth_m])
    joints = scene.controller.kinematics.solve(
        "right",
        tip + np.array([0.0, 0.0, scene.tip_below_tool_m()]),
        scene.controller.home_rotation["right"],
        handle.home,
        iterations=300,
    )
    scene.robot.set_joints(scene.data, handle, joints, gripper=0.0)
    scene.data.qpos[target.qpos] = -depth_m
    mujoco.mj_forward(scene.model, scene.data)
    np.testing.assert_allclose(scene.tip(), tip, atol=2e-3)
    assert scene.touched(target.cap)  # whatever of the gripper it is
    assert env.holds() == pressed


@pytest.mark.parametrize("hz", [10, 25])
@pytest.mark.parametrize("family", families_for("panda"))
def test_a_goal_must_hold_for_its_time_whatever_the_rate(family: str, hz: int) -> None:
    card = load_card("panda").model_copy(update={"control_hz": hz})
    env = TabletopEnv(card=card, family=family)
    env.reset(SEED)
    expert, held = Expert(env), 0
    for _ in range(env.max_steps):
        assert not env.success()
        env.step(expert.act())
        held = held + 1 if env.holds() else 0
        assert env.success() == (held >= env.task.hold_s * hz - 1e-6)
        if env.success():
            return
    pytest.fail("the expert did not reach the goal")


def test_what_an_episode_has_shown_is_put_back_with_its_state() -> None:
    env = panda("pick_place")
    env.reset(SEED)
    expert, before = Expert(env), snapshot(env)
    assert play(env, expert.act) < env.max_steps
    assert env.task.progress.carried
    after = snapshot(env)
    restore(env, before)
    assert not env.task.progress.carried
    assert env.task.progress.held_s == 0.0
    assert not env.success()
    restore(env, after)
    assert env.success()


@pytest.mark.parametrize("speed", [3.2, 5.0, 10.0])
def test_nobody_gets_straight_over_the_crossing_without_looking(speed: float) -> None:
    env = RoadEnv(goal="go_straight", image_size=16)
    for seed in range(500_000, 500_010):
        env.reset(seed)
        play(env, lambda: np.array([speed, 0.0]))
        assert not env.success()
        assert env.crashed


@pytest.mark.parametrize(
    ("robot", "family"),
    [pair for pair in WORLDS if pair in (("panda", "button"), ("panda", "push")) or pair[0] == "car"],
)
def test_blind_motion_reaches_nothing_in_a_sample(robot: str, family: str) -> None:
    for policy in KINDS[:3]:
        row = check_blind(robot, family, policy, 2)
        assert row.rate == 0, str(row)


@pytest.mark.slow
@pytest.mark.parametrize("policy", KINDS[:3])
@pytest.mark.parametrize(("robot", "family"), WORLDS)
def test_blind_motion_reaches_at_most_one_goal_in_fifty(robot: str, family: str, policy: str) -> None:
    row = check_blind(robot, family, policy, 50)
    assert row.ok, str(row)
