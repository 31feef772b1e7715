"""The node as a process on the real clock: signals, a server that is killed, a sentence carried out."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import yaml
from kinema_ros.bench import Client, processes
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from stage import CONFIG, SENTENCE, FakeRobot, ur5e
from std_msgs.msg import String

from kinema.card.load import load_card
from kinema.runtime.ros.mapping import RosMapping
from kinema.runtime.ros.topics import read_topics

_PATIENCE_S = 120.0  # of a busy machine
HERE = Path(__file__).parent


class Scene:
    """A robot made of numbers that speaks in real time, beside a node that is a process."""

    def __init__(self, folder: Path, policy: str) -> None:
        path = folder / "topics.yaml"
        path.write_text(yaml.safe_dump(ur5e()))
        self.robot = FakeRobot(RosMapping(load_card("ur5e"), read_topics(path)))
        self.ear = Node("ear")
        self.state = ""
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.ear.create_subscription(String, "/kinema/state", self._hear, latched)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.robot)
        self.executor.add_node(self.ear)
        parameters = {"card": "ur5e", "topics": path, "policy": policy, "autostart": "true"}
        parameters |= {"instruction": SENTENCE, "connect_s": _PATIENCE_S, "seconds": 600.0}
        told = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kinema_ros.node", "--ros-args", *told], env=environment()
        )

    def until(self, holds: Callable[[], bool]) -> None:
        end_s, next_s = time.monotonic() + _PATIENCE_S, 0.0
        while not holds():
            assert time.monotonic() < end_s, f"it did not come; the state is {self.state!r}"
            if time.monotonic() > next_s:
                next_s = time.monotonic() + 0.02
                self.robot.now_s = time.time()
                self.robot.speak()
            self.executor.spin_once(timeout_sec=0.005)

    def moves(self) -> None:
        joint = "shoulder_pan_joint"
        start = self.robot.positions[joint]
        self.until(lambda: self.robot.positions[joint] > start + 0.1)

    def stands(self) -> bool:
        """Whether the last two commands of the arm are one place; two topics are noted each time."""
        (_, before), (_, after) = self.robot.commands[-3], self.robot.commands[-1]
        return before == after

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.executor.shutdown()
        self.robot.destroy_node()
        self.ear.destroy_node()

    def _hear(self, message: String) -> None:
        self.state = message.data


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path}


@contextmanager
def serving() -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [sys.executable, "-m", "kinema", "serve", "steady:Steady", "--port", str(port)]
    process = subprocess.Popen(command, env=environment())
    try:
        end_s = time.monotonic() + _PATIENCE_S
        while time.monotonic() < end_s and process.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
                break
            time.sleep(0.2)
        yield process, f"ws://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_node_with_the_hold_action(number: signal.Signals, tmp_path: Path) -> None:
    scene = Scene(tmp_path, "steady:Steady")
    try:
        scene.moves()
        scene.process.send_signal(number)
        scene.until(lambda: scene.process.poll() is not None)
        for _ in range(20):
            scene.executor.spin_once(timeout_sec=0.01)
        assert scene.process.returncode == 0
        assert scene.stands()
    finally:
        scene.close()


def test_a_server_that_is_killed(tmp_path: Path) -> None:
    with serving() as (server, address):
        scene = Scene(tmp_path, address)
        try:
            scene.moves()
            server.kill()
            scene.until(lambda: scene.state.startswith("stopped"))
            assert "is lost" in scene.state
            for _ in range(20):
                scene.executor.spin_once(timeout_sec=0.01)
            assert scene.stands()
        finally:
            scene.close()


def test_a_sentence_puts_the_block_into_the_bowl(tmp_path: Path) -> None:
    """The shipped policy, judged by the world, in one of three scenes: a busy machine may spoil one."""
    client = Client(RosMapping(load_card("ur5e"), read_topics(CONFIG / "ur5e.yaml")))
    try:
        with processes("ur5e", CONFIG / "ur5e.yaml", "nano", tmp_path):
            assert client.starts(), (tmp_path / "node.log").read_text()
            assert any(_played(client, seed) for seed in (101, 100, 2))
    finally:
        client.destroy_node()


def _played(client: Client, seed: int) -> bool:
    client.scene(SENTENCE, seed)
    return client.play(SENTENCE, 30.0)
