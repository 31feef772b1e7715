"""Whatever fails, the body holds, and after its card's time it is stopped. Times are the simulation's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from kinema_ros.node import FAILURE, KinemaNode
from rclpy.parameter import Parameter
from stage import SENTENCE, TICK_S, Moving, Stage, base, ur5e
from std_msgs.msg import Bool, String

from kinema.card.load import load_card
from kinema.schema import KinemaError, Verdict

STALE_S = 0.25  # of every topic of the shipped file
BRAKING_S = 0.2  # what the guard takes to brake from the speed at which the test moves


def held_within(stage: Stage, failed_s: float, noticed_s: float) -> None:
    """Go on for a second: the commands stand still soon after the failure was to be noticed."""
    stage.pass_s(1.0)
    period_s = 1 / stage.card.control_hz
    assert stage.robot.last_change_s() <= failed_s + noticed_s + period_s + BRAKING_S + TICK_S


def stopped_within(stage: Stage, failed_s: float, noticed_s: float) -> str:
    """It is stopped by the card's time; what was said."""
    stage.until(lambda: stage.state.startswith("stopped"), within_s=3.0)
    period_s = 1 / stage.card.control_hz
    assert stage.states[-1][0] <= failed_s + noticed_s + stage.card.hold.stop_after_s + 3 * period_s + TICK_S
    stage.until(lambda: not stage.node._running, within_s=1.0)
    commanded = len(stage.robot.commands)
    stage.pass_s(1.0)
    assert len(stage.robot.commands) == commanded  # and then nothing is sent
    return stage.state


@pytest.mark.parametrize("topic", ["/joint_states", "/front/image_raw", "/wrist/image_raw"])
def test_a_topic_that_stops(topic: str, tmp_path: Path) -> None:
    with Stage(ur5e(), tmp_path) as stage:
        stage.begin()
        stage.robot.silent.add(topic)
        failed_s = stage.now_s
        assert topic in stopped_within(stage, failed_s, STALE_S)
        held_within(stage, failed_s, STALE_S)


@pytest.mark.parametrize("topic", ["/joint_states", "/front/image_raw"])
def test_a_topic_whose_stamp_stands_still(topic: str, tmp_path: Path) -> None:
    """Whatever it brings, it is of then."""
    with Stage(ur5e(), tmp_path) as stage:
        stage.begin()
        stage.robot.repeats.add(topic)
        failed_s = stage.now_s
        assert "s old" in stopped_within(stage, failed_s, STALE_S)
        held_within(stage, failed_s, STALE_S)


def test_a_message_out_of_order_is_left_out(tmp_path: Path) -> None:
    with Stage(ur5e(), tmp_path) as stage:
        stage.begin()
        stage.robot.offset_s = -0.1
        stage.tick()
        stage.robot.offset_s = 0.0
        stage.pass_s(0.5)
        assert stage.state == "running"
        assert all(newest.out_of_order == 1 for newest in stage.node._robot.inboxes)


@pytest.mark.parametrize("offset_s", [-3.0, 3.0])
def test_stamps_of_another_clock(offset_s: float, tmp_path: Path) -> None:
    with Stage(ur5e(), tmp_path) as stage:
        stage.begin()
        stage.robot.offset_s = offset_s
        failed_s = stage.now_s
        told = stopped_within(stage, failed_s, STALE_S)
        assert ("ahead of this computer's clock" if offset_s > 0 else "s old") in told
        held_within(stage, failed_s, STALE_S)


def test_a_topic_that_comes_back_in_time_goes_on(tmp_path: Path) -> None:
    with Stage(ur5e(), tmp_path) as stage:
        stage.begin()
        stage.robot.silent.add("/joint_states")
        stage.until(lambda: stage.state.startswith("holding"))
        stage.robot.silent.clear()
        stage.until(lambda: stage.state == "running", within_s=1.0)
        moved_s = stage.robot.last_change_s()
        stage.pass_s(0.5)
        assert stage.robot.last_change_s() > moved_s


@pytest.mark.parametrize("jump_s", [0.3, 60.0, -0.3, -500.0])
def test_a_clock_that_jumps(jump_s: float, tmp_path: Path) -> None:
    """No command makes up for the time that was not there."""
    with Stage(ur5e(), tmp_path) as stage:
        stage.begin()
        stage.tick(jump_s)
        joint = "shoulder_pan_joint"
        before = stage.robot.positions[joint]
        steps = [before]
        for _ in range(100):
            stage.tick()
            steps.append(stage.robot.positions[joint])
        fastest = stage.card.arms[0].joints[0].velocity / stage.card.control_hz
        assert np.abs(np.diff(steps)).max() <= fastest
        if jump_s > stage.card.hold.stop_after_s:
            assert stage.state.startswith("stopped")
        else:  # it held, looked anew, and went on
            assert stage.state == "running"
            assert steps[-1] - steps[-50] > 0.05


def test_a_clock_that_stands_still(tmp_path: Path) -> None:
    """The robot may not: the body holds, for as long as the clock stands."""
    with Stage(ur5e(), tmp_path) as stage:
        stage.start()
        stage.say(SENTENCE)
        stage.until(lambda: stage.state == "running")
        stage.node._loop_clock.patience_s = 0.2
        stage.node._loop_clock.wake()
        stage._spin(lambda: "clock stands still" in stage.state)
        commanded = len(stage.robot.commands)
        stage._spin(lambda: len(stage.robot.commands) >= commanded + 4)  # of two topics
        last = [positions for _, positions in stage.robot.commands[-3:]]
        assert last[0] == last[1] == last[2]
        stage.node._loop_clock.patience_s = 60.0
        stage.until(lambda: stage.state == "running")


@pytest.mark.parametrize("how", ["topic", "service"])
def test_the_emergency_stop(how: str, tmp_path: Path) -> None:
    with Stage(ur5e(), tmp_path) as stage:
        stage.begin()
        pressed_s, commanded = stage.now_s, len(stage.robot.commands)
        if how == "topic":
            stage.e_stop.publish(Bool(data=True))
        else:
            assert stage.call(True).success
        stage._spin(lambda: stage.state.startswith("e-stop"))
        stage._spin(lambda: len(stage.robot.commands) > commanded)  # at once: time stands still
        held_within(stage, pressed_s, 0.0)
        assert not stage.node._running
        commanded = len(stage.robot.commands)
        stage.sentences.publish(_sentence())
        stage.pass_s(0.5)
        assert len(stage.robot.commands) == commanded  # no sentence moves it
        if how == "topic":
            assert not stage.call(False).success  # its topic still says stop
            stage.e_stop.publish(Bool(data=False))
            stage.pass_s(0.1)
        assert stage.call(False).success
        stage.pass_s(0.5)
        assert len(stage.robot.commands) == commanded  # to let go is not to begin
        stage.say(SENTENCE)
        stage.until(lambda: stage.state == "running")


def test_an_emergency_stop_that_must_speak_and_does_not(tmp_path: Path) -> None:
    with Stage(ur5e(e_stop={"topic": "/e_stop", "within_s": 1.0}), tmp_path) as stage:
        stage.start()
        stage._spin(lambda: "silent for more than 1 s" in stage.state)
        assert not stage.call(False).success


@pytest.mark.parametrize("fault", [KinemaError("no chunk"), ConnectionError("the server went away")], ids=str)
def test_a_policy_that_fails(fault: Exception, tmp_path: Path) -> None:
    with Stage(ur5e(), tmp_path) as stage:
        stage.begin()
        stage.policy.fault = fault
        failed_s = stage.now_s
        plan_s = stage.card.chunk / stage.card.control_hz  # what it said before is still good
        assert str(fault) in stopped_within(stage, failed_s, plan_s)
        held_within(stage, failed_s, plan_s)


def test_a_policy_that_never_answers(tmp_path: Path) -> None:
    with Stage(ur5e(), tmp_path) as stage:
        stage.begin()
        stage.policy.hangs = True
        failed_s = stage.now_s
        plan_s = stage.card.chunk / stage.card.control_hz
        stopped_within(stage, failed_s, plan_s)
        held_within(stage, failed_s, plan_s)


def test_a_fault_of_the_policys_own_ends_the_run_and_not_the_node(tmp_path: Path) -> None:
    with Stage(ur5e(), tmp_path) as stage:
        stage.begin()
        stage.policy.fault = ZeroDivisionError("a bug")
        failed_s = stage.now_s
        stage.until(lambda: stage.state.startswith("fault"))
        held_within(stage, failed_s, 0.5)
        stage.policy.fault = None
        stage.say(SENTENCE)
        stage.until(lambda: stage.state == "running")


def test_a_gate_that_refuses(tmp_path: Path) -> None:
    with Stage(ur5e(), tmp_path) as stage:
        stage.begin()
        stage.policy.verdict = Verdict(
            allowed=False,
            risk={"table": 0.9},
            limit={"table": 0.1},
            horizon_s=1.0,
            reason="it hits the table",
        )
        failed_s = stage.now_s
        plan_s = stage.card.chunk / stage.card.control_hz
        assert "it hits the table" in stopped_within(stage, failed_s, plan_s)
        held_within(stage, failed_s, plan_s)


def test_a_controller_that_goes_away(tmp_path: Path) -> None:
    with Stage(ur5e(), tmp_path) as stage:
        stage.begin()
        stage.robot.destroy_subscription(stage.robot.listeners[0])
        stage._spin(lambda: stage.node._robot._unheard() != "")
        assert "nobody listens to /arm_controller" in stopped_within(stage, stage.now_s, 0.0)


@pytest.mark.parametrize("way", ["deactivate", "an empty sentence", "another sentence"])
def test_a_run_that_somebody_ends(way: str, tmp_path: Path) -> None:
    with Stage(ur5e(), tmp_path) as stage:
        stage.begin()
        if way == "deactivate":
            stage.node.trigger_deactivate()
            stage.pass_s(0.1)
            last = [positions for _, positions in stage.robot.commands[-2:]]
            assert last[0] == last[1]
            commanded = len(stage.robot.commands)
            stage.sentences.publish(_sentence())
            stage.pass_s(0.5)
            assert len(stage.robot.commands) == commanded
        elif way == "an empty sentence":
            ended_s = stage.now_s
            stage.say("")
            stage.until(lambda: stage.state == "idle")
            held_within(stage, ended_s, 0.0)
        else:
            stage.say("stack the green block on the yellow block")
            stage.until(lambda: stage.node._loop._instruction.startswith("stack"))
            stage.until(lambda: stage.state == "running")


@pytest.mark.parametrize("failure", ["odometry", "camera", "e-stop", "policy"])
def test_a_base_stands_still(failure: str, tmp_path: Path) -> None:
    """Its last twist is zero, whatever it was."""
    card = load_card("wheeled_base")
    with Stage(base(), tmp_path, Moving(card, by=0.2)) as stage:
        stage.begin()
        if failure == "e-stop":
            stage.e_stop.publish(Bool(data=True))
            stage._spin(lambda: stage.state.startswith("e-stop"))
        elif failure == "policy":
            stage.policy.fault = KinemaError("no chunk")
        else:
            stage.robot.silent.add("/odom" if failure == "odometry" else "/front/image_raw")
        stage.until(lambda: not stage.node._running, within_s=15.0)
        stage.pass_s(0.2)
        assert stage.robot.commands[-1][1] == {"x": 0.0, "y": 0.0, "turn": 0.0}


def test_what_does_not_fit_is_not_configured(tmp_path: Path) -> None:
    tree = ur5e()
    del tree["cameras"]["wrist"]
    path = tmp_path / "topics.yaml"
    path.write_text(yaml.safe_dump(tree))
    node = KinemaNode(
        parameter_overrides=[Parameter("card", value="ur5e"), Parameter("topics", value=str(path))]
    )
    try:
        assert node.trigger_configure() == FAILURE
    finally:
        node.close()


def _sentence() -> String:
    return String(data=SENTENCE)
