"""What the node tells, and that it tells it to whoever listens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from stage import CONFIG, Stage, ur5e

from kinema.schema import Verdict


def test_diagnostics_tell_the_mode_and_the_age_of_every_topic(tmp_path: Path) -> None:
    with Stage(ur5e(), tmp_path) as stage:
        heard: list[DiagnosticArray] = []
        stage.others.create_subscription(DiagnosticArray, "/diagnostics", heard.append, 10)
        stage.begin()
        heard.clear()
        stage._spin(lambda: bool(heard))
        status = heard[-1].status[0]
        values = {each.key: each.value for each in status.values}
        assert (status.level, status.message, status.hardware_id) == (DiagnosticStatus.OK, "running", "ur5e")
        assert {f"age of {t}" for t in ("/joint_states", "/front/image_raw", "/wrist/image_raw")} <= set(
            values
        )
        assert int(values["answered"]) >= 1


@pytest.mark.parametrize("allowed", [True, False])
def test_every_verdict_is_told(allowed: bool, tmp_path: Path) -> None:
    with Stage(ur5e(), tmp_path) as stage:
        heard: list[DiagnosticArray] = []
        stage.others.create_subscription(DiagnosticArray, "/kinema/verdict", heard.append, 10)
        stage.begin()
        reason = "" if allowed else "it hits the table"
        stage.policy.verdict = Verdict(
            allowed=allowed, risk={"table": 0.25}, limit={"table": 0.5}, horizon_s=1.0, reason=reason
        )
        stage.until(lambda: bool(heard))
        status = heard[-1].status[0]
        assert status.level == (DiagnosticStatus.OK if allowed else DiagnosticStatus.WARN)
        assert status.message == (reason or "allowed")
        assert {each.key: each.value for each in status.values}["table"] == "0.25 of 0.5"


def test_the_tool_stands_in_tf_where_the_joints_bring_it(tmp_path: Path) -> None:
    messages = pytest.importorskip("tf2_msgs.msg", reason="tf2_msgs is not installed")
    with Stage(ur5e(), tmp_path) as stage:
        heard: list[Any] = []
        stage.others.create_subscription(messages.TFMessage, "/tf", heard.append, 10)
        stage.start()
        stage.pass_s(0.1)
        stage._spin(lambda: bool(heard))
        transform = heard[-1].transforms[0]
        T = stage.robot.mapping.tool("right", stage.robot.positions)
        at = transform.transform.translation
        assert (transform.header.frame_id, transform.child_frame_id) == ("base_link", "kinema_tool")
        assert np.allclose([at.x, at.y, at.z], T[:3, 3])


def test_a_joint_that_nobody_tells_of_is_named_with_those_that_are(tmp_path: Path) -> None:
    with Stage(ur5e(), tmp_path, connect_s=0.3) as stage:
        stage.robot.positions["elbow"] = stage.robot.positions.pop("elbow_joint")
        stage.start()
        stage.say("put the red block in the blue bowl")
        stage.until(lambda: stage.state.startswith("refused"))
        assert "name no elbow_joint; they name elbow, robotiq" in stage.state
        assert not stage.robot.commands


def test_a_body_that_takes_poses_gets_poses(tmp_path: Path) -> None:
    """The fake does not follow poses, so the guard holds; where the first one stands is what is asked."""
    with Stage(yaml.safe_load((CONFIG / "panda.yaml").read_text()), tmp_path) as stage:
        stage.start()
        stage.say("put the red block in the blue bowl")
        stage.until(lambda: any("z" in command for _, command in stage.robot.commands))
        first = next(command for _, command in stage.robot.commands if "z" in command)
        T = stage.robot.mapping.tool("right", stage.robot.positions)
        assert np.allclose([first["x"], first["y"], first["z"]], T[:3, 3], atol=1e-6)
