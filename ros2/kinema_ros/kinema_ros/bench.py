"""`kinema bench ros`: the same scenes by the control loop alone and over ROS 2, and how long the way takes.

Over ROS the simulated robot and the node are processes of their own, and this one is the client: it says the
sentence, hears from the robot whether the goal holds, and listens to the commands beside it. Both ways run
with the same policy, scene by scene in turn, so that a busy machine is busy for both: on the real clock, or
slower for a machine that cannot keep up.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import rclpy
from geometry_msgs.msg import PoseStamped
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import Bool, Float64MultiArray, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from kinema.card.load import load_card
from kinema.commands.serve.client import drive, simulated
from kinema.runtime.clock import RealClock
from kinema.runtime.ros.mapping import PoseCommand, RosMapping
from kinema.runtime.ros.topics import read_topics
from kinema.schema import KinemaError
from kinema_ros.alone import speak_to_nobody_else
from kinema_ros.policies import policy_of

CONFIG = Path(__file__).parents[1] / "config"
_STARTS_S = 120.0
_ANSWERS_S = 30.0
_REST_S = 0.3
_LOOKS_S = 2.0


class SlowClock(RealClock):
    """A clock that goes at `rate` of the real one."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self._rate = rate

    def now_s(self) -> float:
        return self._rate * super().now_s()


class Client(Node):
    """What a user of the node does, on plain rclpy."""

    def __init__(self, mapping: RosMapping) -> None:
        super().__init__("client")
        self.state, self.succeeded = "", False
        self.end = ""  # how the node stood when the last scene was over
        self.timing: list[list[float]] = []
        self.arrived_s: list[float] = []
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(String, "/kinema/state", self._hear_state, latched)
        self.create_subscription(Bool, "/simulated_robot/success", self._hear_success, latched)
        self.create_subscription(Float64MultiArray, "/kinema/timing", self._hear_timing, 10)
        command = mapping.commands[0]
        kind = PoseStamped if isinstance(command, PoseCommand) else JointTrajectory
        self.create_subscription(kind, command.topic, lambda _: self.arrived_s.append(time.time()), 10)
        self.sentences = self.create_publisher(String, "/kinema/instruction", 10)
        self._reset = self.create_client(Trigger, "/simulated_robot/reset")
        self._of_robot = self.create_client(SetParameters, "/simulated_robot/set_parameters")
        self._of_node = self.create_client(SetParameters, "/kinema/set_parameters")

    def until(self, holds: Callable[[], bool], within_s: float) -> bool:
        end_s = time.monotonic() + within_s
        while not holds():
            if time.monotonic() > end_s:
                return False
            rclpy.spin_once(self, timeout_sec=0.05)
        return True

    def starts(self) -> bool:
        services = (self._reset, self._of_robot, self._of_node)
        return self.until(
            lambda: all(service.service_is_ready() for service in services) and self.state == "idle",
            _STARTS_S,
        )

    def strangers(self) -> list[str]:
        """Nodes of others, such as of another run of this, which would take part."""
        self.until(lambda: False, _LOOKS_S)
        names = sorted(self.get_node_names())
        for own in ("client", "kinema", "simulated_robot"):
            if own in names:
                names.remove(own)
        return names

    def scene(self, instruction: str, seed: int) -> None:
        """Make it anew, for the robot and for the policy's noise."""
        told = [Parameter("instruction", value=instruction), Parameter("seed", value=seed)]
        self._call(
            self._of_robot, SetParameters.Request(parameters=[each.to_parameter_msg() for each in told])
        )
        self._call(self._of_node, SetParameters.Request(parameters=[told[1].to_parameter_msg()]))
        answer = self._call(self._reset, Trigger.Request())
        if not answer.success:
            raise KinemaError(f"no scene {seed}: {answer.message}")
        self.until(lambda: not self.succeeded, _ANSWERS_S)

    def play(self, instruction: str, seconds: float) -> bool:
        self.sentences.publish(String(data=instruction))
        self.until(lambda: self.state not in ("", "idle"), _ANSWERS_S)
        self.until(
            lambda: self.succeeded or self.state.startswith(("idle", "stopped", "refused", "fault")), seconds
        )
        succeeded, self.end = self.succeeded, self.state
        self.sentences.publish(String(data=""))
        self.until(lambda: self.state.startswith(("idle", "stopped", "refused", "fault")), _ANSWERS_S)
        return succeeded

    def _call(self, service: Any, request: Any) -> Any:
        future = service.call_async(request)
        if not self.until(future.done, _ANSWERS_S):
            raise KinemaError(f"{service.srv_name} did not answer within {_ANSWERS_S:g} s")
        return future.result()

    def _hear_state(self, message: String) -> None:
        self.state = message.data

    def _hear_success(self, message: Bool) -> None:
        self.succeeded = message.data

    def _hear_timing(self, message: Float64MultiArray) -> None:
        self.timing.append(list(message.data))


@contextmanager
def processes(card: str, topics: Path, policy: str, folder: Path, rate: float = 1.0) -> Iterator[None]:
    """The simulated robot and the node; both are ended, whatever happens. rate 1: on the system's time."""
    shared = ["-p", f"card:={card}", "-p", f"topics:={topics}"]
    node = [
        "-p",
        f"policy:={policy}",
        "-p",
        "autostart:=true",
        "-p",
        "seconds:=600.0",
        "-p",
        "connect_s:=30.0",
    ]
    robot = list(shared)
    if rate != 1.0:
        robot += ["-p", "simulated_time:=true", "-p", f"rate:={rate}"]
        node += ["-p", "use_sim_time:=true"]
    started = []
    try:
        for module, arguments in (("simulated_robot", robot), ("node", [*shared, *node])):
            log = (folder / f"{module}.log").open("w")
            command = [sys.executable, "-m", f"kinema_ros.{module}", "--ros-args", *arguments]
            started.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))
        yield
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
            process.kill()


def ways_s(timing: list[list[float]], arrived_s: list[float]) -> tuple[list[float], list[float]]:
    """From camera to command without waiting, and the pictures' ages when they were read, of every step [s].

    The way: from the picture's stamp until it came, and from when a control step reads it until that step's
    command has come.
    """
    ways, ages, arrived = [], [], iter(sorted(arrived_s))
    next_s = next(arrived, float("inf"))
    for taken_s, came_s, read_s, sent_s in timing:
        if not sent_s > 0:
            continue
        while next_s < read_s:  # a command comes after its step began
            next_s = next(arrived, float("inf"))
        if next_s - read_s < 1.0:
            ways.append((came_s - taken_s) + (next_s - read_s))
            ages.append(read_s - taken_s)
    return ways, ages


def directly(policy: Any, card: Any, instruction: str, seed: int, limit_s: float, rate: float) -> bool:
    clock = SlowClock(rate)
    robot = simulated(instruction, card, seed, clock)
    try:
        policy.reset(seed)
        _, _, succeeded = drive(policy, card, robot, clock, instruction, "in_painting", limit_s)
    finally:
        robot.world.close()
    return bool(succeeded)


def measure(
    card_name: str, topics: Path, policy: str, instruction: str, seeds: list[int], out: Path, rate: float
) -> None:
    """Both ways of every seed, a line of JSON each, as they are played."""
    card, mapping = load_card(card_name), RosMapping(load_card(card_name), read_topics(topics))
    world = simulated(instruction, card, seeds[0], RealClock()).world
    limit_s = world.max_steps / card.control_hz
    world.close()
    local = policy_of(policy, card, gate=False, timeout_s=1.0, threads=1)
    rclpy.init()
    client = Client(mapping)
    try:
        with processes(card_name, topics, policy, out.parent, rate), out.open("a") as lines:
            if strangers := client.strangers():
                raise KinemaError(f"others are in this ROS domain: {', '.join(strangers)}; try again")
            if not client.starts():
                raise KinemaError(f"the node did not become ready; its log: {out.parent / 'node.log'}")
            for seed in seeds:
                alone = directly(local, card, instruction, seed, limit_s, rate)
                client.scene(instruction, seed)
                client.timing.clear()
                client.arrived_s.clear()
                over_ros = client.play(instruction, limit_s / rate)
                client.until(lambda: False, _REST_S)
                ways, ages = ways_s(client.timing, client.arrived_s) if rate == 1.0 else ([], [])
                row = {"robot": card_name, "seed": seed, "direct": alone, "ros": over_ros}
                row |= {"end": client.end, "ways_s": ways, "ages_s": ages}
                lines.write(json.dumps(row) + "\n")
                lines.flush()
    finally:
        client.destroy_node()
        rclpy.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("robot", "policy", "instruction", "seeds", "out"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--rate", type=float, default=1.0)
    parser.add_argument("--topics", help="default: the shipped file of the robot's name")
    told = parser.parse_args()
    topics = Path(told.topics) if told.topics else CONFIG / f"{told.robot}.yaml"
    speak_to_nobody_else()
    try:
        seeds = [int(seed) for seed in told.seeds.split(",")]
        measure(told.robot, topics, told.policy, told.instruction, seeds, Path(told.out), told.rate)
    except KinemaError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
