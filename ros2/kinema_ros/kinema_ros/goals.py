"""Commands as goals of a control_msgs/FollowJointTrajectory action: each replaces the one before."""

from __future__ import annotations

from typing import Any

from rclpy.action import ActionClient
from rclpy.node import Node
from trajectory_msgs.msg import JointTrajectory

from kinema.schema import KinemaError

_ABORTED = 6  # action_msgs/GoalStatus.STATUS_ABORTED
_TOLERANCES = (-4, -5)  # of the path and of the goal: the arm, not the next goal, ended it


class Goals:
    """One action's. What went wrong is told once, by `fault`."""

    def __init__(self, node: Node, topic: str) -> None:
        try:
            from control_msgs.action import FollowJointTrajectory
        except ImportError:
            raise KinemaError(
                f"{topic} is a FollowJointTrajectory action, and control_msgs is not installed; install it "
                "(ros-<distro>-control-msgs), or command the controller's topic: `trajectory: ...`"
            ) from None
        self._topic, self._kind = topic, FollowJointTrajectory
        self._client = ActionClient(node, FollowJointTrajectory, topic)
        self._number, self._fault = 0, ""

    @property
    def is_ready(self) -> bool:
        return self._client.server_is_ready()

    def send(self, trajectory: JointTrajectory) -> None:
        goal = self._kind.Goal()
        goal.trajectory = trajectory
        self._number += 1
        number = self._number
        self._client.send_goal_async(goal).add_done_callback(lambda future: self._answered(number, future))

    def fault(self) -> str:
        fault, self._fault = self._fault, ""
        return fault

    def destroy(self) -> None:
        self._client.destroy()

    def _answered(self, number: int, future: Any) -> None:
        handle = future.result()
        if not handle.accepted:
            self._fault = f"{self._topic} rejects a goal"
            return
        handle.get_result_async().add_done_callback(lambda done: self._ended(number, done))

    def _ended(self, number: int, future: Any) -> None:
        """A goal that the next one replaced is no fault; one that the arm could not keep is."""
        answer = future.result()
        code = answer.result.error_code
        if answer.status == _ABORTED and (number == self._number or code in _TOLERANCES):
            told = answer.result.error_string or "no reason given"
            self._fault = f"{self._topic} gave a goal up: error {code}, {told}"
