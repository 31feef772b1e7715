"""A robot, a policy and a loop that need nothing but numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.card.kinematics import tool_pose
from kinema.card.load import load_card
from kinema.runtime.clock import SimulatedClock
from kinema.runtime.inference import SimulatedInference
from kinema.runtime.loop import ControlLoop
from kinema.runtime.policy import hold_action
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
        self.pictures = 0
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
        self.pictures += 1  # no two of a camera's pictures are the same
        picture = np.full((8, 8, 3), self.pictures % 256, np.uint8)
        return self.state | dict.fromkeys(self.card.camera_names, picture)

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


class AnyRobot:
    """Any card's body: goes where it is told at once, or stays where it is; its cameras see that it moves.

    told: every action (D,), told_s: when; before_reading, before_sending: called first, and may raise
    """

    name = "any"

    def __init__(self, card: EmbodimentCard, clock: SimulatedClock) -> None:
        self.card, self.obeys, self.is_connected, self._clock = card, True, False, clock
        self.units = card_units(card)
        self.told_s: list[float] = []
        self.state = _standing(card)
        self.seen_first: np.ndarray | None = None
        self.told: list[np.ndarray] = []
        self.readings = 0
        self.before_reading: Callable[[], Any] = lambda: None
        self.before_sending: Callable[[], Any] = lambda: None

    @property
    def observation_features(self) -> dict[str, Any]:
        numbers = dict.fromkeys([f"{channel.name}.pos" for channel in self.card.states], float)
        return numbers | {name: (8, 8, 3) for name in self.card.camera_names}

    @property
    def action_features(self) -> dict[str, Any]:
        return dict.fromkeys([f"{channel.name}.pos" for channel in self.card.actions], float)

    def connect(self, calibrate: bool = True) -> None:
        self.is_connected = True

    def disconnect(self) -> None:
        self.is_connected = False

    def get_observation(self) -> dict[str, Any]:
        self.before_reading()
        self.readings += 1
        self.seen_first = self.state.copy() if self.seen_first is None else self.seen_first
        picture = np.full((8, 8, 3), self.readings % 256, np.uint8)
        numbers = {f"{c.name}.pos": value for c, value in zip(self.card.states, self.state)}
        return numbers | dict.fromkeys(self.card.camera_names, picture)

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        self.before_sending()
        values = np.array([action[f"{channel.name}.pos"] for channel in self.card.actions])
        self.told.append(values)
        self.told_s.append(self._clock.now_s())
        if self.obeys:
            driven = {c.slot: value for c, value in zip(self.card.actions, values)}
            self.state = np.array([driven.get(c.slot, v) for c, v in zip(self.card.states, self.state)])
        return dict(action)


class StraightOn:
    """Moves the first channel on from where it is, or asks for this speed of a body that takes speeds."""

    def __init__(self, card: EmbodimentCard, share_s: float = 0.05) -> None:
        self.card, self.share_s = card, share_s

    def reset(self, seed: int) -> None: ...

    def infer(
        self, observation: Observation, card_name: str, committed: ActionChunk | None = None
    ) -> ActionChunk:
        card = self.card
        after_s = (1 + np.arange(card.chunk)) / card.control_hz
        values = np.tile(hold_action(card, observation.state), (card.chunk, 1))
        low, high = card.actions[0].range
        speed = self.share_s * (high - low)
        values[:, 0] += speed * (after_s if card.hold.action == "position" else 10.0)
        return ActionChunk(values=values, times_s=observation.time_s + after_s, card=card_name)


def rig_of(
    card: EmbodimentCard,
    latency_s: float | Callable[[int], float] = 0.0,
    how: str = "blend",
    **options: Any,
) -> Rig:
    """A rig around any card's body, driven straight on."""
    latency = latency_s if callable(latency_s) else lambda _: float(latency_s)
    rig = Rig.__new__(Rig)
    rig.clock, rig.log = SimulatedClock(), Log()
    rig.robot = AnyRobot(card, rig.clock)
    rig.policy = StraightOn(card)
    inference = SimulatedInference(rig.policy, latency)
    body = Body(card, rig.robot)
    rig.loop = ControlLoop(body, inference, rig.clock, strategy(how, card), recorder=rig.log, **options)
    rig.robot.connect()
    return rig


def _standing(card: EmbodimentCard) -> np.ndarray:
    """The state (S,) at the card's home; the middle of a range where home says nothing."""
    values: dict[str, float] = {}
    for arm in card.arms:
        home = [joint.home for joint in arm.joints]
        values |= {f"{arm.side}.joint.{i}": q for i, q in enumerate(home)}
        values |= {f"{arm.side}.ee.{axis}": tool_pose(arm, home)[i, 3] for i, axis in enumerate("xyz")}
        values |= {f"{arm.side}.rot.{i}": 0.0 for i in range(3)} | {f"{arm.side}.gripper": 1.0}
    return np.array([values.get(c.slot, sum(c.range) / 2) for c in card.states])
