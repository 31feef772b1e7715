"""The simulated robot is a robot like any other: lerobot's interface, and a world that waits for nobody."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mujoco")

from kinema.card.load import load_card
from kinema.runtime.clock import SimulatedClock
from kinema.runtime.robot import Body, Robot, wiring_for
from kinema.schema import KinemaError
from kinema.worlds.tabletop.env import TabletopEnv
from kinema.worlds.tabletop.simulated_robot import SimulatedRobot


@pytest.fixture(scope="module")
def worlds() -> dict[str, TabletopEnv]:
    return {
        name: TabletopEnv(card=load_card(name), family="button", image_size=16) for name in ("panda", "aloha")
    }


@pytest.mark.parametrize("body", ["panda", "aloha"])
def test_it_has_lerobots_interface_and_the_cards_wiring(worlds: dict[str, TabletopEnv], body: str) -> None:
    world, clock = worlds[body], SimulatedClock()
    world.reset(0)
    robot: Robot = SimulatedRobot(world, clock.now_s)
    with pytest.raises(KinemaError, match="not connected"):
        robot.get_observation()
    wiring = wiring_for(world.card, robot)
    assert set(wiring.torques) == {f"{a.side}.{j.name}" for a in world.card.arms for j in a.joints}
    with Body(world.card, robot) as connected:
        raw = robot.get_observation()
        assert set(raw) == set(robot.observation_features)
        for key, feature in robot.observation_features.items():
            assert isinstance(raw[key], float) if feature is float else raw[key].shape == feature
        seen = connected.observe("press", 0.0)
        np.testing.assert_allclose(seen.state, world.state(), atol=1e-6)
        limits = np.array([joint.effort for arm in world.card.arms for joint in arm.joints])
        assert (np.abs(seen.sensors["torque"]) <= limits * (1 + 1e-9)).all()
    assert not robot.is_connected


def test_the_world_moves_by_the_clock_with_the_last_command(worlds: dict[str, TabletopEnv]) -> None:
    world, clock = worlds["panda"], SimulatedClock()
    world.reset(0)
    robot = SimulatedRobot(world, clock.now_s)
    robot.connect()
    command = robot.send_action({f"{c.name}.pos": v for c, v in zip(world.card.actions, world.state())})
    command["y.pos"] += 0.03
    robot.send_action(command)
    robot.get_observation()
    assert world.scene.data.time == 0.0, "no time has passed"
    clock.sleep_until(0.3)
    seen = robot.get_observation()
    assert world.scene.data.time == pytest.approx(0.3)
    assert seen["y.pos"] == pytest.approx(command["y.pos"], abs=2e-3)
    clock.sleep_until(0.35)
    robot.get_observation()
    assert world.scene.data.time == pytest.approx(0.3), "whole control periods"
    clock.jump(-5.0)
    robot.get_observation()
    assert world.scene.data.time == pytest.approx(0.3), "time does not run backwards"
    clock.jump(1e6)
    robot.get_observation()
    assert world.scene.data.time < 100.0, "nor is a leap made up for"


def test_what_it_says_it_took_lies_within_the_cards_ranges(worlds: dict[str, TabletopEnv]) -> None:
    world = worlds["panda"]
    world.reset(0)
    robot = SimulatedRobot(world, lambda: 0.0)
    robot.connect()
    taken = robot.send_action({f"{c.name}.pos": 99.0 for c in world.card.actions})
    assert taken == {f"{c.name}.pos": c.range[1] for c in world.card.actions}
    with pytest.raises(KinemaError, match=r"missing \['x.pos'\], unknown \['q'\]"):
        robot.send_action({"q" if c.name == "x" else f"{c.name}.pos": 0.1 for c in world.card.actions})
    with pytest.raises(KinemaError, match="non-finite"):
        robot.send_action({f"{c.name}.pos": float("nan") for c in world.card.actions})
