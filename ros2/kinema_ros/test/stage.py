"""A node under test and a robot made of numbers, in one process and in lockstep on a simulation's clock.

Every tick is waited for until the node has taken it and its loop sleeps again, so what is asserted of times
is of the simulation's, whatever the machine is busy with.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped, Twist
from kinema_ros.node import SUCCESS, KinemaNode
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Bool, String
from std_srvs.srv import SetBool
from trajectory_msgs.msg import JointTrajectory

from kinema.card.card import EmbodimentCard
from kinema.card.kinematics import home_joints
from kinema.card.load import load_card
from kinema.runtime.policy import CardPolicy, hold_action
from kinema.runtime.ros.mapping import JointCommand, PoseCommand, RosMapping
from kinema.runtime.ros.topics import read_topics
from kinema.schema import ActionChunk, Observation, Verdict

CONFIG = Path(__file__).parents[1] / "config"
TICK_S = 0.02
BEGIN_S = 1000.0
_PATIENCE_S = 60.0  # of real time, for what must come
SENTENCE = "put the red block in the blue bowl"


class Moving(CardPolicy):
    """Moves one channel steadily from where it stands; `fault`, `verdict`, `hangs` may be set at any time."""

    def __init__(self, card: EmbodimentCard, channel: int = 0, by: float = 0.01) -> None:
        super().__init__(card)
        self.card, self.channel, self.by = card, channel, by
        self.fault: Exception | None = None
        self.verdict: Verdict | None = None
        self.hangs = False

    def infer(
        self, observation: Observation, card_name: str, committed: ActionChunk | None = None
    ) -> ActionChunk:
        while self.hangs:
            time.sleep(0.005)
        if self.fault is not None:
            raise self.fault
        chunk = super().infer(observation, card_name, committed)
        return ActionChunk(values=chunk.values, times_s=chunk.times_s, card=chunk.card, verdict=self.verdict)

    def values(self, card: EmbodimentCard, state: np.ndarray) -> np.ndarray:
        ahead = np.repeat(hold_action(card, state)[None], card.chunk, 0)
        ahead[:, self.channel] += (
            self.by * (1 + np.arange(card.chunk)) if card.hold.action != "zero" else self.by
        )
        return ahead


class FakeRobot(Node):
    """Goes at once where it is told to.

    silent:   topics that say nothing
    repeats:  topics whose stamp stands still
    offset_s: of all other stamps
    commands: when, and the positions of all joints, or the parts of a twist or a pose
    """

    def __init__(self, mapping: RosMapping) -> None:
        super().__init__("fake_robot")
        self.mapping, card = mapping, mapping.card
        wires = mapping.joints | mapping.openings
        values = {f"{arm.side}.joint.{i}": q for arm in card.arms for i, q in enumerate(home_joints(arm))}
        self.positions = {wire.key: wire.raw(values.get(slot, 0.5)) for slot, wire in wires.items()}
        self.silent: set[str] = set()
        self.repeats: set[str] = set()
        self.offset_s = 0.0
        self.commands: list[tuple[float, dict[str, float]]] = []
        self.now_s = BEGIN_S
        self._sent: dict[str, Time] = {}
        self._speakers: dict[str, Any] = {}
        for kind, topic in self._outputs():
            self._speakers[topic] = self.create_publisher(kind, topic, qos_profile_sensor_data)
        self.listeners = [self._listen(command) for command in mapping.commands]

    def speak(self) -> list[str]:
        """One message of every topic that is not silent; the topics."""
        spoken = []
        for kind, topic in self._outputs():
            if topic in self.silent:
                continue
            message = self._message(kind)
            stamp = self._sent.get(topic) if topic in self.repeats else None
            message.header.stamp = self._sent[topic] = stamp or stamped(self.now_s + self.offset_s)
            self._speakers[topic].publish(message)
            spoken.append(topic)
        return spoken

    def _outputs(self) -> list[tuple[Any, str]]:
        topics = self.mapping.topics
        found: list[tuple[Any, str]] = [(Image, line.topic) for line in topics.cameras.values()]
        found += [(JointState, topics.joint_states.topic)] if topics.joint_states else []
        return found + ([(Odometry, topics.odometry.topic)] if topics.odometry else [])

    def _message(self, kind: Any) -> Any:
        if kind is JointState:  # in no order that a card knows
            names = sorted(self.positions, reverse=True)
            return JointState(name=names, position=[self.positions[name] for name in names])
        if kind is Image:
            message = Image(height=16, width=16, encoding="rgb8", step=48)
            message.data.frombytes(np.random.default_rng(int(1e3 * self.now_s)).bytes(768))
            return message
        message = Odometry()
        message.pose.pose.orientation.w = 1.0
        return message

    def _listen(self, command: Any) -> Any:
        if isinstance(command, JointCommand) and command.as_goal:
            return None  # a test's own action server

        def heard(message: Any) -> None:
            if isinstance(message, JointTrajectory):
                self.go(message)
            elif isinstance(message, Twist):
                self.note({"x": message.linear.x, "y": message.linear.y, "turn": message.angular.z})
            else:
                at = message.pose.position
                self.note({"x": at.x, "y": at.y, "z": at.z})

        kind = JointTrajectory if isinstance(command, JointCommand) else Twist
        kind = PoseStamped if isinstance(command, PoseCommand) else kind
        return self.create_subscription(kind, command.topic, heard, 10)

    def go(self, message: JointTrajectory) -> None:
        assert len(message.points) == 1
        self.positions |= dict(zip(message.joint_names, message.points[0].positions))
        self.note(dict(self.positions))

    def note(self, command: dict[str, float]) -> None:
        self.commands.append((self.now_s, command))

    def last_change_s(self, least: float = 1e-5) -> float:
        """When what is commanded changed last."""
        changed = [
            at_s
            for (_, before), (at_s, after) in zip(self.commands, self.commands[1:])
            if any(abs(after[key] - before[key]) > least for key in after)
        ]
        return changed[-1] if changed else float("-inf")


class Stage:
    """Both nodes, an executor, and the time."""

    def __init__(
        self, tree: dict[str, Any], folder: Path, policy: Moving | None = None, **parameters: Any
    ) -> None:
        path = folder / "topics.yaml"
        path.write_text(yaml.safe_dump(tree))
        card = load_card(tree["card"])
        self.policy = policy or Moving(card)
        self.card, self.robot = card, FakeRobot(RosMapping(card, read_topics(path)))
        given = {
            "card": card.name,
            "topics": str(path),
            "use_sim_time": True,
            "connect_s": _PATIENCE_S,
        } | parameters
        self.node = KinemaNode(
            lambda *_, **__: self.policy,
            parameter_overrides=[Parameter(name, value=value) for name, value in given.items()],
        )
        self.others = Node("others")
        self.clock = self.others.create_publisher(Clock, "/clock", 10)
        self.sentences = self.others.create_publisher(String, "/kinema/instruction", 10)
        self.e_stop = self.others.create_publisher(Bool, "/e_stop", 10)
        self.service = self.others.create_client(SetBool, "/kinema/e_stop")
        self.states: list[tuple[float, str]] = []
        latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.others.create_subscription(String, "/kinema/state", self._hear, latched)
        self.executor = SingleThreadedExecutor()
        for node in (self.robot, self.node, self.others):
            self.executor.add_node(node)

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self.policy.hangs = False
        self.node.close()
        self.executor.shutdown()
        self.robot.destroy_node()
        self.others.destroy_node()

    @property
    def now_s(self) -> float:
        return self.robot.now_s

    @property
    def state(self) -> str:
        return self.states[-1][1] if self.states else ""

    def start(self) -> None:
        """Configure and activate."""
        assert self.node.trigger_configure() == SUCCESS
        self.node.trigger_activate()
        self.node._loop_clock.patience_s = (
            _PATIENCE_S  # this machine may be busy, the simulation has not stopped
        )

    def begin(self, sentence: str = SENTENCE) -> None:
        """Configure, activate, say the sentence, and go on until the body has moved for a while."""
        self.start()
        self.say(sentence)
        self.until(lambda: self.state == "running")
        self.pass_s(0.5)
        assert self.state == "running"
        if self.card.hold.action == "zero":
            assert any(self.robot.commands[-1][1].values())
        else:
            assert self.robot.last_change_s() > self.now_s - 2 / self.card.control_hz - TICK_S

    def say(self, sentence: str) -> None:
        self._spin(lambda: self.sentences.get_subscription_count() > 0)
        self.sentences.publish(String(data=sentence))
        self.until(lambda: self.node._running or not sentence)

    def call(self, stop: bool) -> SetBool.Response:
        self._spin(self.service.service_is_ready)
        future = self.service.call_async(SetBool.Request(data=stop))
        self._spin(future.done)
        return future.result()

    def until(self, holds: Callable[[], bool], within_s: float = 30.0) -> None:
        """Tick until it holds; an error when it does not within so much of the simulation's time."""
        end_s = self.now_s + within_s
        while not holds():
            assert self.now_s < end_s, f"it did not come; the states were {self.states}"
            self.tick()

    def pass_s(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK_S)):
            self.tick()

    def tick(self, by_s: float = TICK_S) -> None:
        """The simulation's time goes on, the robot speaks, and all of it has been taken."""
        self.robot.now_s += by_s
        self.clock.publish(Clock(clock=stamped(self.now_s)))
        self._spin(lambda: abs(self.node.get_clock().now().nanoseconds * 1e-9 - self.now_s) < 1e-6)
        before = self._received()
        spoken = self.robot.speak()
        self._spin(lambda: all(self._received()[topic] > before[topic] for topic in spoken))
        self._spin(self._settled)

    def _received(self) -> dict[str, int]:
        return {newest.topic.split(" ")[0]: newest.received for newest in self.node._robot.inboxes}

    def _settled(self) -> bool:
        """Whether nothing is to be done before time goes on: the loop sleeps, its question is answered."""
        under_way = self.node._inference._under_way
        answered = under_way is None or under_way[1].done() or self.policy.hangs
        return answered and (
            self.node._loop_clock.asleep or not self.node._running or not self.node._robot.is_connected
        )

    def _spin(self, done: Callable[[], bool]) -> None:
        end_s = time.monotonic() + _PATIENCE_S
        self.executor.spin_once(timeout_sec=0.0)
        while not done():
            assert time.monotonic() < end_s, f"nothing came; the states were {self.states}"
            self.executor.spin_once(timeout_sec=0.002)
        for _ in range(3):
            self.executor.spin_once(timeout_sec=0.0)

    def _hear(self, message: String) -> None:
        self.states.append((self.now_s, message.data))


def stamped(time_s: float) -> Time:
    nanoseconds = round(time_s * 1e9)
    return Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)


def ur5e(**parts: Any) -> dict[str, Any]:
    """The shipped topics of the UR5e with raw pictures, and with parts replaced."""
    tree = yaml.safe_load((CONFIG / "ur5e.yaml").read_text())
    tree["cameras"] = {name: {"topic": f"/{name}/image_raw"} for name in ("front", "wrist")}
    return tree | parts


def base() -> dict[str, Any]:
    return {
        "version": 1,
        "card": "wheeled_base",
        "odometry": {"topic": "/odom", "stale_after_s": 0.25},
        "cameras": {name: {"topic": f"/{name}/image_raw"} for name in ("front",)},
        "commands": [{"twist": "/cmd_vel"}],
        "e_stop": {"topic": "/e_stop"},
    }
