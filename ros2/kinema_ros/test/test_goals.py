"""Commands as goals of a real FollowJointTrajectory action server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("control_msgs", reason="control_msgs is not installed: scripts/setup_ros.sh builds it")

from control_msgs.action import FollowJointTrajectory
from rclpy.action import ActionServer, GoalResponse
from stage import Stage, ur5e

ARM = "/arm_controller/follow_joint_trajectory"


class Controller:
    """Takes goals, goes where they say, and then ends each as it is told to."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.accepts, self.error_code = stage, True, 0
        self.goals = 0
        self._server = ActionServer(
            stage.robot, FollowJointTrajectory, ARM, self._execute, goal_callback=self._consider
        )

    def _consider(self, request: Any) -> GoalResponse:
        return GoalResponse.ACCEPT if self.accepts else GoalResponse.REJECT

    def _execute(self, goal: Any) -> Any:
        self.goals += 1
        self.stage.robot.go(goal.request.trajectory)
        result = FollowJointTrajectory.Result(error_code=self.error_code, error_string="as told")
        goal.succeed() if self.error_code == 0 else goal.abort()
        return result

    def destroy(self) -> None:
        self._server.destroy()


def staged(folder: Path) -> Stage:
    tree = ur5e()
    tree["commands"][0] = {"follow": ARM, "joints": tree["commands"][0]["joints"]}
    return Stage(tree, folder)


def test_the_arm_follows_goals(tmp_path: Path) -> None:
    with staged(tmp_path) as stage:
        controller = Controller(stage)
        stage.begin()
        assert controller.goals > 3
        assert not stage.node._loop.counts.missing
        controller.destroy()


@pytest.mark.parametrize("fault", ["rejects", "path tolerance"])
def test_a_controller_that_gives_goals_up(fault: str, tmp_path: Path) -> None:
    with staged(tmp_path) as stage:
        controller = Controller(stage)
        stage.begin()
        if fault == "rejects":
            controller.accepts = False
        else:
            controller.error_code = FollowJointTrajectory.Result.PATH_TOLERANCE_VIOLATED
        stage.until(lambda: stage.state.startswith("stopped"), within_s=3.0)
        assert ("rejects a goal" if fault == "rejects" else "error -4, as told") in stage.state
        controller.destroy()


def test_a_controller_whose_server_is_gone(tmp_path: Path) -> None:
    with staged(tmp_path) as stage:
        controller = Controller(stage)
        stage.begin()
        controller.destroy()
        stage._spin(lambda: not stage.node._robot._goals[ARM].is_ready)
        stage.until(lambda: stage.state.startswith("stopped"), within_s=3.0)
        assert "no action server at" in stage.state
