"""A robot behind ROS topics, with the members of kinema.runtime.robot.Robot. The one file that speaks rclpy.

Subscriptions take what comes, best effort; an executor that spins in another thread fills them. What they
hold is used as long as it is fresh, in order and of this clock (`kinema.runtime.ros.newest`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import PoseStamped, TransformStamped, Twist
from nav_msgs.msg import Odometry as OdometryMessage
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from sensor_msgs.msg import CompressedImage, Image, JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from kinema.card.card import EmbodimentCard
from kinema.data.formats.ros_messages import picture, stamp_ns
from kinema.runtime.cameras import TAKEN
from kinema.runtime.robot import ReadingError
from kinema.runtime.ros.clock import WakingClock
from kinema.runtime.ros.mapping import JointCommand, Odometry, PoseCommand, RosMapping, TwistCommand
from kinema.runtime.ros.newest import Newest, Stamped
from kinema.runtime.ros.topics import Sensor
from kinema.runtime.wiring import card_units, joint_names
from kinema.schema import KinemaError
from kinema.space.rotation import matrix_from_quat, quat_from_matrix, rotvec_from_matrix
from kinema_ros.goals import Goals

# A reader of best effort hears every writer; one that is reliable does not hear cameras.
SENSOR_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT,
    durability=DurabilityPolicy.VOLATILE,
)  # fmt: skip
COMMAND_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.VOLATILE,
)  # fmt: skip
STEADY = Clock(clock_type=ClockType.STEADY_TIME)  # a simulation's stands still when it likes
_KINDS = {JointCommand: JointTrajectory, PoseCommand: PoseStamped, TwistCommand: Twist}
# When the oldest of a step's pictures was taken and came, and when the step read it and had sent its command.
TIMING = ("picture taken", "picture came", "read", "sent")
_TWIST_HZ = 20.0
_TWIST_PERIODS = 1.5  # of the card's, for which a twist is repeated; then zero is sent once


class RosRobot:
    """One body's topics on one node. `destroy` takes them off it.

    clock:     the control loop's
    connect_s: how long `connect` waits for the first message of every topic, and for whoever takes commands
    """

    def __init__(
        self, node: Node, mapping: RosMapping, clock: WakingClock, *, connect_s: float = 5.0
    ) -> None:
        card: EmbodimentCard = mapping.card
        self.name, self.card, self.mapping = f"ros_{card.name}", card, mapping
        self.units = card_units(card)
        self.is_connected = False
        self._node, self._clock, self._connect_s = node, clock, connect_s
        self._period_s = 1.0 / card.control_hz
        topics = mapping.topics
        self._subscriptions: list[Any] = []
        self._named: set[str] = set()  # all joints that were ever told of
        self.joints = self._watch_joints(topics.joint_states)
        self.odometry: Newest[OdometryMessage] | None = None
        if topics.odometry is not None:
            line = topics.odometry
            self.odometry = self._watch(Newest(line.topic, line.stale_after_s), OdometryMessage)
        longest_ago_s = max((camera.ago_s for camera in card.cameras), default=0.0)
        self.pictures: Mapping[str, Newest[Any]] = {
            name: self._watch(
                Newest(line.topic, line.stale_after_s, keep_s=longest_ago_s, apart_s=self._period_s),
                CompressedImage if line.compressed else Image,
            )
            for name, line in mapping.cameras.items()
        }
        self.timing = [np.nan] * 4  # of the last step, ROS's time: TIMING
        self._origin: np.ndarray | None = None  # where the base stood when the run began
        self._decoded: dict[str, tuple[float, np.ndarray]] = {}
        self._publishers: dict[str, Any] = {}
        self._goals: dict[str, Goals] = {}
        self._twist, self._twist_until_s = Twist(), float("-inf")
        self._timers: list[Any] = []
        self._tellers: list[Any] = []
        for command in mapping.commands:
            if isinstance(command, JointCommand) and command.as_goal:
                self._goals[command.topic] = Goals(node, command.topic)
                continue
            kind = _KINDS[type(command)]
            self._publishers[command.topic] = node.create_publisher(kind, command.topic, COMMAND_QOS)
            if isinstance(command, TwistCommand):
                self._timers.append(node.create_timer(1.0 / _TWIST_HZ, self._repeat_twist, clock=STEADY))
        self._tell_frames()

    # -- kinema's side

    @property
    def observation_features(self) -> dict[str, Any]:
        numbers = [f"{channel.name}.pos" for channel in self.card.states]
        measured = joint_names(self.card) if self.mapping.topics.efforts else []
        torques = [f"{joint}.torque" for joint in measured]
        pictures = dict.fromkeys(self.card.camera_names, (None, None, 3))
        return dict.fromkeys([*numbers, *torques], float) | pictures

    @property
    def action_features(self) -> dict[str, Any]:
        return {f"{channel.name}.pos": float for channel in self.card.actions}

    def connect(self, calibrate: bool = True) -> None:
        """Wait until every topic has spoken and every command is heard. KinemaError says what lacks."""
        until_s = time.monotonic() + self._connect_s
        self._origin = None
        while lacks := self._lacks():
            if time.monotonic() > until_s:
                raise KinemaError(f"{self.name} within {self._connect_s:g} s: {lacks}")
            time.sleep(0.02)
        self.is_connected = True

    def disconnect(self) -> None:
        self.is_connected = False

    def get_observation(self) -> dict[str, Any]:
        """The newest of every topic. Raises ReadingError, which holds the body, for what may not be used."""
        if self._clock.stands_still:
            raise ReadingError("the simulation's clock stands still")
        if fault := next((told for goals in self._goals.values() if (told := goals.fault())), ""):
            raise ReadingError(fault)
        if unheard := self._unheard():
            raise ReadingError(unheard)
        now_s = self.now_s()
        self.timing = [np.nan, np.nan, now_s, np.nan]
        measured = {name: newest.get(now_s).value for name, newest in self.joints.items()}
        positions = {name: position for name, (position, _) in measured.items()}
        state = self.mapping.state(positions, self._base(now_s))
        seen: dict[str, Any] = {f"{name}.pos": value for name, value in state.items()}
        if self.mapping.topics.efforts:
            torques = self.mapping.torques({name: effort for name, (_, effort) in measured.items()})
            seen |= {f"{joint}.torque": value for joint, value in torques.items()}
        for camera in self.card.cameras:
            shot = self._shot(camera.name, now_s)
            if not camera.ago_s and not shot.stamp_s >= self.timing[0]:  # the oldest
                self.timing[:2] = [shot.stamp_s, shot.came_s]
            seen |= {camera.name: self._picture(camera.name, shot), f"{camera.name}.{TAKEN}": shot.stamp_s}
        return seen

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        """Send every command; what was sent. Raises ConnectionError when ROS does not take one."""
        try:
            self._send(action)
            self.timing[3] = self.now_s()
        except RuntimeError as error:  # rclpy's RCLError, which has no public name
            raise ConnectionError(str(error)) from None
        return action

    def _send(self, action: dict[str, Any]) -> None:
        native = {channel.name: action[f"{channel.name}.pos"] for channel in self.card.actions}
        for command in self.mapping.commands:
            if isinstance(command, JointCommand):
                self._send_joints(command, self.mapping.positions(command, native))
            elif isinstance(command, PoseCommand):
                self._publishers[command.topic].publish(
                    _pose(self.mapping.pose(command, native), command.frame, self._stamp())
                )
            else:
                self._send_twist(command, self.mapping.twist(native))

    # -- ROS's side

    def now_s(self) -> float:
        """ROS's time: what stamps are compared with."""
        return float(self._node.get_clock().now().nanoseconds * 1e-9)

    def ages_s(self) -> dict[str, float]:
        """How old the newest message of each topic is; of joint states, the oldest joint's."""
        now_s, ages = self.now_s(), {}
        for newest in self.inboxes:
            topic = newest.topic.split(" ")[0]
            ages[topic] = max(newest.age_s(now_s), ages.get(topic, 0.0))
        return ages

    @property
    def inboxes(self) -> list[Newest[Any]]:
        odometry = [self.odometry] if self.odometry is not None else []
        return [*self.joints.values(), *odometry, *self.pictures.values()]

    def forget(self) -> None:
        """Nothing that was received before counts any more: a run begins anew."""
        for newest in self.inboxes:
            newest.forget()

    def destroy(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        for publisher in (*self._publishers.values(), *self._tellers):
            self._node.destroy_publisher(publisher)
        for timer in self._timers:
            self._node.destroy_timer(timer)
        for goals in self._goals.values():
            goals.destroy()

    def _watch_joints(self, line: Sensor | None) -> dict[str, Newest[tuple[float, float]]]:
        """Position and effort (NaN where not told) of each joint that is read, whoever tells of it."""
        if line is None:
            return {}
        joints: dict[str, Newest[tuple[float, float]]] = {
            name: Newest(f"{line.topic} ({name})", line.stale_after_s) for name in self.mapping.read_joints
        }

        def receive(message: JointState) -> None:
            stamp_s, now_s = stamp_ns(message) * 1e-9, self.now_s()
            if not message.name or len(message.name) != len(message.position):
                return  # what names nothing is nobody's
            self._named.update(message.name)
            efforts = message.effort if len(message.effort) == len(message.name) else None
            for place, name in enumerate(message.name):
                if name in joints:
                    effort = np.nan if efforts is None else efforts[place]
                    joints[name].put(stamp_s, now_s, (message.position[place], effort))

        self._subscribe(JointState, line.topic, receive)
        return joints

    def _watch(self, newest: Newest[Any], kind: Any) -> Newest[Any]:
        def receive(message: Any) -> None:
            newest.put(stamp_ns(message) * 1e-9, self.now_s(), message)

        self._subscribe(kind, newest.topic, receive)
        return newest

    def _subscribe(self, kind: Any, topic: str, receive: Callable[[Any], None]) -> None:
        self._subscriptions.append(self._node.create_subscription(kind, topic, receive, SENSOR_QOS))

    def _lacks(self) -> str:
        """Why nothing can begin; "" when it can."""
        if self._named and (missing := sorted(set(self.joints) - self._named)):
            return (
                f"the joint states name no {', '.join(missing)}; they name {', '.join(sorted(self._named))}"
            )
        now_s, told = self.now_s(), []
        for newest in self.inboxes:
            try:
                newest.get(now_s)
            except ReadingError as error:
                told.append(str(error))
        return "; ".join([*told, *filter(None, [self._unheard()])])

    def _unheard(self) -> str:
        """Which command nobody takes; "" when all are taken."""
        for topic, goals in self._goals.items():
            if not goals.is_ready:
                return f"no action server at {topic}"
        for topic, publisher in self._publishers.items():
            if publisher.get_subscription_count() == 0:
                return f"nobody listens to {topic}"
        return ""

    def _base(self, now_s: float) -> Odometry | None:
        """Where the base is, from where the run began."""
        if self.odometry is None:
            return None
        told = self.odometry.get(now_s).value
        at, turn, speed = told.pose.pose.position, told.pose.pose.orientation, told.twist.twist
        heading = rotvec_from_matrix(matrix_from_quat(np.array([turn.w, turn.x, turn.y, turn.z])))[2]
        pose = np.array([at.x, at.y, heading])
        if self._origin is None:
            self._origin = pose
        x, y, turned = pose - self._origin
        cos, sin = np.cos(self._origin[2]), np.sin(self._origin[2])
        heading = (turned + np.pi) % (2 * np.pi) - np.pi
        return Odometry(
            pose=np.array([cos * x + sin * y, cos * y - sin * x, heading]),
            speed=np.array([speed.linear.x, speed.linear.y, speed.angular.z]),
        )

    def _shot(self, name: str, now_s: float) -> Stamped[Any]:
        """The newest picture of a camera, or what the one at its place saw as long ago as the card says."""
        camera = next(camera for camera in self.card.cameras if camera.name == name)
        if not camera.ago_s:
            return self.pictures[name].get(now_s)
        present = self.card.present_of(camera)
        assert present is not None
        newest = self.pictures[present.name].get(now_s)
        return self.pictures[present.name].before(newest.stamp_s - camera.ago_s) or newest

    def _picture(self, name: str, shot: Stamped[Any]) -> np.ndarray:
        stamp_s, decoded = self._decoded.get(name, (None, np.empty(0)))
        if stamp_s != shot.stamp_s:
            try:
                decoded = picture(shot.value, f"camera {name}")
            except KinemaError as error:
                raise ReadingError(str(error)) from None
            self._decoded[name] = (shot.stamp_s, decoded)
        return decoded

    def _send_joints(self, command: JointCommand, positions: list[float]) -> None:
        """Be there one control period from now: a stamp of 0 is "when it arrives"."""
        whole_s, rest_s = divmod(self._period_s, 1.0)
        point = JointTrajectoryPoint(
            positions=positions, time_from_start=Duration(sec=int(whole_s), nanosec=round(rest_s * 1e9))
        )
        message = JointTrajectory(joint_names=list(command.joints), points=[point])
        if command.as_goal:
            self._goals[command.topic].send(message)
        else:
            self._publishers[command.topic].publish(message)

    def _send_twist(self, command: TwistCommand, twist: np.ndarray) -> None:
        message = Twist()
        message.linear.x, message.linear.y, message.angular.z = map(float, twist)
        self._twist, self._twist_until_s = message, self._clock.now_s() + _TWIST_PERIODS * self._period_s
        self._publishers[command.topic].publish(message)

    def _repeat_twist(self) -> None:
        """Bases stop when they hear nothing for a while, which may be shorter than the card's period."""
        if self._twist_until_s == float("-inf"):
            return
        left_s = self._twist_until_s - self._clock.now_s()
        if (
            not 0.0 <= left_s <= _TWIST_PERIODS * self._period_s
        ):  # nobody commands any more, or the clock was set
            self._twist, self._twist_until_s = Twist(), float("-inf")
        for command in self.mapping.commands:
            if isinstance(command, TwistCommand):
                self._publishers[command.topic].publish(self._twist)

    def _tell_frames(self) -> None:
        """The tools in TF, by the joints as measured, once a control period."""
        tools = self.mapping.topics.frames.tools
        if not tools:
            return
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError:
            raise KinemaError(
                "frames.tools: tf2_msgs is not installed; get it (ros-<distro>-tf2-msgs), or name no tools"
            ) from None
        publisher = self._node.create_publisher(TFMessage, "/tf", QoSProfile(depth=100))
        self._tellers.append(publisher)

        def tell() -> None:
            try:
                now_s = self.now_s()
                told = {name: newest.get(now_s) for name, newest in self.joints.items()}
            except ReadingError:
                return  # what is not measured is not told
            positions = {name: newest.value[0] for name, newest in told.items()}
            stamp = Time(nanoseconds=round(1e9 * min(newest.stamp_s for newest in told.values()))).to_msg()
            base = self.mapping.topics.frames.base
            poses = {frame: self.mapping.tool(side, positions) for side, frame in tools.items()}
            transforms = [_transform(T, base, frame, stamp) for frame, T in poses.items()]
            publisher.publish(TFMessage(transforms=transforms))

        self._timers.append(self._node.create_timer(self._period_s, tell, clock=STEADY))

    def _stamp(self) -> Any:
        return self._node.get_clock().now().to_msg()


def _pose(T: np.ndarray, frame: str, stamp: Any) -> PoseStamped:
    message = PoseStamped()
    message.header.frame_id, message.header.stamp = frame, stamp
    at, turn = message.pose.position, message.pose.orientation
    at.x, at.y, at.z = map(float, T[:3, 3])
    turn.w, turn.x, turn.y, turn.z = map(float, quat_from_matrix(T[:3, :3]))
    return message


def _transform(T: np.ndarray, base: str, frame: str, stamp: Any) -> TransformStamped:
    message = TransformStamped(child_frame_id=frame)
    message.header.frame_id, message.header.stamp = base, stamp
    at, turn = message.transform.translation, message.transform.rotation
    at.x, at.y, at.z = map(float, T[:3, 3])
    turn.w, turn.x, turn.y, turn.z = map(float, quat_from_matrix(T[:3, :3]))
    return message
