"""The tabletop world as a robot on ROS: joint states and pictures out, trajectories, goals and poses in.

It reads the topics file that the node reads, and is its other end. The world moves on by the clock, whoever
thinks. `~/success` says whether the goal holds; the world judges that, not the policy.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from geometry_msgs.msg import PoseStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from rclpy.time import Time
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from kinema.card.kinematics import arm_of, home_rotation
from kinema.card.load import load_card
from kinema.runtime.ros.mapping import JointCommand, PoseCommand, RosMapping
from kinema.runtime.ros.topics import read_topics
from kinema.schema import KinemaError
from kinema.space.rotation import matrix_from_quat, rotvec_from_matrix
from kinema.worlds.tabletop.env import TabletopEnv
from kinema.worlds.tabletop.parse import parse_instruction
from kinema.worlds.tabletop.simulated_robot import SimulatedRobot
from kinema_ros.robot import COMMAND_QOS, STEADY

PARAMETERS: dict[str, Any] = {
    "card": "ur5e",
    "topics": "",
    "instruction": "put the red block in the blue bowl",
    "seed": 0,
    "image_px": 96,
    "hz": 30.0,  # of pictures and joint states
    "simulated_time": False,  # publish /clock, which then begins at 0
    "rate": 1.0,  # how fast the simulation's time goes, beside the real one
}
_CLOCK_HZ = 100.0
_PIXEL_ENCODING = "rgb8"


class SimulatedRobotNode(Node):
    """Services: ~/reset makes the scene anew from the parameters `instruction` and `seed`."""

    def __init__(self, **options: Any) -> None:
        super().__init__("simulated_robot", **options)
        for name, value in PARAMETERS.items():
            self.declare_parameter(name, value)
        self._began_s = time.monotonic()
        self._rate = self._told("rate")
        if self._rate <= 0 or (self._rate != 1.0 and not self._told("simulated_time")):
            raise KinemaError(f"rate {self._rate:g}: above 0, and other than 1 with simulated_time alone")
        card = load_card(self._told("card"))
        self.mapping = RosMapping(card, read_topics(Path(self._told("topics"))))
        self.world: TabletopEnv | None = None
        self.robot = self._made()
        self._joints = self.create_publisher(
            JointState, self.mapping.topics.joint_states.topic, qos_profile_sensor_data
        )
        self._cameras = {
            name: self.create_publisher(
                CompressedImage if line.compressed else Image, line.topic, qos_profile_sensor_data
            )
            for name, line in self.mapping.cameras.items()
        }
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._success_topic, self._succeeded = self.create_publisher(Bool, "~/success", latched), None
        for command in self.mapping.commands:
            self._obey(command)
        self.create_service(Trigger, "~/reset", self._reset)
        self.create_timer(1.0 / (self._told("hz") * self._rate), self._publish, clock=STEADY)
        if self._told("simulated_time"):
            self._clock_topic = self.create_publisher(Clock, "/clock", 10)
            self.create_timer(1.0 / (_CLOCK_HZ * self._rate), self._tick, clock=STEADY)

    def _made(self) -> SimulatedRobot:
        """The scene that the parameters ask for, and the body in it."""
        request = parse_instruction(self._told("instruction"))
        if self.world is not None and self.world.family != request.family:
            self.world.close()
            self.world = None
        self.world = self.world or TabletopEnv(
            card=self.mapping.card, family=request.family, image_size=self._told("image_px")
        )
        self.world.reset(self._told("seed"), request)
        robot = SimulatedRobot(self.world, self._elapsed_s)
        robot.connect()
        slots = [channel.slot for channel in self.mapping.card.states]
        state = self.world.state()
        self._action = {c.slot: float(state[slots.index(c.slot)]) for c in self.mapping.card.actions}
        return robot

    def _reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            self.robot = self._made()
        except (KinemaError, ValueError) as error:
            response.success, response.message = False, str(error)
            return response
        self._succeeded = None
        response.success, response.message = True, self.world.instruction
        return response

    # -- what it tells

    def _publish(self) -> None:
        seen = self.robot.get_observation()
        stamp = self._stamp()
        self._joints.publish(self._joint_state(stamp))
        for name, publisher in self._cameras.items():
            publisher.publish(_image(seen[name], stamp, name, self.mapping.cameras[name].compressed))
        if (succeeded := self.world.success()) != self._succeeded:
            self._succeeded = succeeded
            self._success_topic.publish(Bool(data=succeeded))

    def _joint_state(self, stamp: Any) -> JointState:
        """All joints, in no order that a card knows, with one that no card knows."""
        data, told = self.world.scene.data, {"passive_wheel_joint": (0.3, 0.0)}
        for handle in self.world.scene.robot.arms:
            fraction = self.world.scene.robot.gripper_fraction(data, handle)
            told[self.mapping.openings[f"{handle.side}.gripper"].key] = (
                self.mapping.openings[f"{handle.side}.gripper"].raw(fraction), 0.0,
            )  # fmt: skip
            for i in reversed(range(len(handle.qpos))):
                wire = self.mapping.joints[f"{handle.side}.joint.{i}"]
                told[wire.key] = (wire.raw(data.qpos[handle.qpos[i]]), data.qfrc_actuator[handle.dof[i]])
        message = JointState(
            name=list(told),
            position=[float(p) for p, _ in told.values()],
            effort=[float(e) for _, e in told.values()],
        )
        message.header.stamp = stamp
        return message

    # -- what it does

    def _obey(self, command: Any) -> None:
        if isinstance(command, PoseCommand):

            def follow(message: PoseStamped) -> None:
                at, turn = message.pose.position, message.pose.orientation
                R = matrix_from_quat(np.array([turn.w, turn.x, turn.y, turn.z]))
                R_home = home_rotation(arm_of(self.mapping.card, command.side))
                values = (at.x, at.y, at.z, *rotvec_from_matrix(R @ R_home.T))
                slots = [f"{command.side}.ee.{axis}" for axis in "xyz"]
                slots += [f"{command.side}.rot.{i}" for i in range(3)]
                self._move(dict(zip(slots, map(float, values))))

            self.create_subscription(PoseStamped, command.topic, follow, COMMAND_QOS)
        elif isinstance(command, JointCommand) and command.as_goal:
            self._serve_goals(command.topic)
        elif isinstance(command, JointCommand):
            self.create_subscription(JointTrajectory, command.topic, self._follow, COMMAND_QOS)
        else:
            raise KinemaError(f"{command.topic}: the tabletop has no base")

    def _serve_goals(self, topic: str) -> None:
        from control_msgs.action import FollowJointTrajectory
        from rclpy.action import ActionServer

        def execute(goal: Any) -> Any:
            result = FollowJointTrajectory.Result()
            try:
                self._follow(goal.request.trajectory)
            except KeyError as error:
                goal.abort()
                result.error_code, result.error_string = result.INVALID_JOINTS, f"no joint {error}"
                return result
            goal.succeed()
            return result

        ActionServer(self, FollowJointTrajectory, topic, execute)

    def _follow(self, message: JointTrajectory) -> None:
        by_slot = self.mapping.joints | self.mapping.openings
        wires = {wire.key: (slot, wire) for slot, wire in by_slot.items()}
        last = message.points[-1]
        asked = {}
        for joint, position in zip(message.joint_names, last.positions):
            slot, wire = wires[joint]
            asked[slot] = wire.native(position)
        self._move(asked)

    def _move(self, asked: dict[str, float]) -> None:
        self._action |= asked
        self.robot.send_action({f"{c.name}.pos": self._action[c.slot] for c in self.mapping.card.actions})

    # -- time

    def _tick(self) -> None:
        self._clock_topic.publish(Clock(clock=self._stamp()))

    def _elapsed_s(self) -> float:
        return self._rate * (time.monotonic() - self._began_s)

    def _stamp(self) -> Any:
        if self._told("simulated_time"):
            return Time(nanoseconds=round(1e9 * self._elapsed_s())).to_msg()
        return self.get_clock().now().to_msg()

    def _told(self, name: str) -> Any:
        return self.get_parameter(name).value


def _image(picture: np.ndarray, stamp: Any, frame: str, compressed: bool) -> Image | CompressedImage:
    message: Any
    if compressed:
        import io

        from PIL import Image as Picture

        buffer = io.BytesIO()
        Picture.fromarray(picture).save(buffer, "PNG", compress_level=1)
        message = CompressedImage(format="rgb8; png compressed")
        message.data.frombytes(buffer.getvalue())
    else:
        height, width = picture.shape[:2]
        message = Image(height=height, width=width, encoding=_PIXEL_ENCODING, step=3 * width)
        message.data.frombytes(picture.tobytes())
    message.header.stamp, message.header.frame_id = stamp, frame
    return message


def main(arguments: list[str] | None = None) -> None:
    rclpy.init(args=sys.argv if arguments is None else arguments)
    node = SimulatedRobotNode()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        executor.spin()
    except KeyboardInterrupt:
        pass
    finally:
        node.world.close()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
