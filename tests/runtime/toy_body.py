"""A robot, a policy and a loop that need nothing but numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.card.load import load_card
from kinema.runtime.clock import SimulatedClock
from kinema.runtime.inference import SimulatedInference
from kinema.runtime.loop import ControlLoop
from kinema.runtime.record import Log
from kinema.runtime.robot import Body
from kinema.runtime.strategy import strategy
from kinema.runtime.wiring import card_units
from kinema.schema import ActionChunk, Observation, Policy, Verdict

HOME = {"x": 0.45, "y": 0.0, "z": 0.30, "rx": 0.0, "ry": 0.0, "rz": 0.0, "gripper": 1.0}


class ToyRobot:
    """Stands wherever it was last told to; everything sent is kept."""

    name = "toy"

    def __init__(self, card: EmbodimentCard) -> None:
        self.card, self.units = card, card_units(card)
        self.state = {f"{name}.pos": value for name, value in HOME.items()}
        self.sent: list[dict[str, Any]] = []
        self.is_connected = False

    @property
    def observation_features(self) -> dict[str, Any]:
        return dict.fromkeys(self.state, float) | {name: (8, 8, 3) for name in self.card.camera_names}

    @property
    def action_features(self) -> dict[str, Any]:
        return {key: float for key in self.state if not key.endswith(".torque")}

    def connect(self, calibrate: bool = True) -> None:
        self.is_connected = True

    def disconnect(self) -> None:
        self.is_connected = False

    def get_observation(self) -> dict[str, Any]:
        return self.state | {name: np.zeros((8, 8, 3), np.uint8) for name in self.card.camera_names}

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        self.sent.append(action)
        self.state = dict(action)
        return dict(action)


class Drifting:
    """Answers with a steady motion along y from where the body is, `speed_m_s` fast.

    verdict, spoil: by the number of the question; asked: the questions' committed actions
    """

    def __init__(
        self,
        speed_m_s: float = 0.05,
        verdict: Callable[[int], Verdict | None] = lambda _: None,
        spoil: Callable[[int, np.ndarray], np.ndarray] = lambda _, values: values,
    ) -> None:
        self.speed_m_s, self.verdict, self.spoil = speed_m_s, verdict, spoil
        self.asked: list[ActionChunk | None] = []

    def reset(self, seed: int) -> None:
        self.asked = []

    def infer(
        self, observation: Observation, card_name: str, committed: ActionChunk | None = None
    ) -> ActionChunk:
        number = len(self.asked)
        self.asked.append(committed)
        after_s = 0.1 * (1 + np.arange(16))
        values = np.tile(np.asarray(observation.state, float), (16, 1))
        values[:, 1] += self.speed_m_s * after_s
        return ActionChunk(
            values=self.spoil(number, values),
            times_s=observation.time_s + after_s,
            card=card_name,
            verdict=self.verdict(number),
        )


class Rig:
    """A toy robot, connected, under a control loop on a simulated clock."""

    def __init__(
        self,
        policy: Policy | None = None,
        latency_s: float | Callable[[int], float] = 0.0,
        how: str = "blend",
        answer_limit_s: float = 2.0,
    ) -> None:
        card = load_card("panda")
        self.clock, self.robot, self.log = SimulatedClock(), ToyRobot(card), Log()
        self.policy = policy or Drifting()
        latency = latency_s if callable(latency_s) else lambda _: float(latency_s)
        self.loop = ControlLoop(
            Body(card, self.robot),
            SimulatedInference(self.policy, latency),
            self.clock,
            strategy(how, card),
            recorder=self.log,
            answer_limit_s=answer_limit_s,
        )
        self.robot.connect()

    def run(self, steps: int) -> str:
        return self.loop.run("move", max_steps=steps)

    def modes(self) -> list[str]:
        return [step.mode.value for step in self.log.steps]
