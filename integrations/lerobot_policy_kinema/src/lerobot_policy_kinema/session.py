"""One body of lerobot's under kinema's control loop, which makes one step for each action that is asked for.

lerobot reads the robot and sends to it; between the two, what it read is a reading of `BatchRobot` and what
the loop sends is lerobot's action. So wiring, guard, watchdog and splicing are kinema's own, unchanged.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kinema.runtime.clock import Clock, RealClock, SimulatedClock
from kinema.runtime.inference import Inference, SimulatedInference, ThreadedInference
from kinema.runtime.loop import ControlLoop
from kinema.runtime.robot import Body
from kinema.runtime.strategy import Strategy
from kinema.runtime.watchdog import Mode
from kinema.schema import KinemaError, Policy
from lerobot_policy_kinema.configuration_kinema import STEPS

_log = logging.getLogger(__name__)


class BatchRobot:
    """A robot whose readings lerobot hands over (`seen`) and whose commands lerobot fetches (`action`).

    states, actions: the robot's keys in lerobot's order
    pictures:        (height, width, 3) by the robot's key
    units:           of each key, where the robot says them
    """

    is_connected = True

    def __init__(
        self, name: str, states: Sequence[str], actions: Sequence[str],
        pictures: Mapping[str, tuple[int, int, int]], units: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.name, self.states, self.actions, self.pictures = name, tuple(states), tuple(actions), pictures
        self.units = dict(units or {})
        self.seen: dict[str, Any] = {}
        self.action: np.ndarray = np.empty(0)

    @property
    def observation_features(self) -> dict[str, Any]:
        return dict.fromkeys(self.states, float) | dict(self.pictures)

    @property
    def action_features(self) -> dict[str, Any]:
        return dict.fromkeys(self.actions, float)

    def connect(self, calibrate: bool = True) -> None:
        """lerobot has done so."""

    def disconnect(self) -> None:
        """lerobot will do so."""

    def get_observation(self) -> dict[str, Any]:
        return self.seen

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        self.action = np.array([action[key] for key in self.actions], np.float32)
        return action


class Session:
    """A body and its loop from one `begin` to the next."""

    def __init__(self, body: Body, policy: Policy, how: Strategy, clock: str) -> None:
        self._body, self._simulated = body, clock == STEPS
        self._clock: Clock = SimulatedClock() if self._simulated else RealClock()
        inference: Inference = (
            SimulatedInference(policy, lambda _: 0.0) if self._simulated else ThreadedInference(policy)
        )
        self.loop = ControlLoop(body, inference, self._clock, how)
        self._instruction: str | None = None
        self._told = False

    def forget(self) -> None:
        """The next observation begins an episode."""
        self._instruction = None

    def act(self, seen: dict[str, Any], instruction: str) -> np.ndarray:
        """The action (D,), float32 in the robot's numbers, that may be sent now.

        Raises KinemaError when the body cannot begin from where it stands, and for a robot on a real clock
        when it was stopped and stands; a simulated one holds until its episode ends.
        """
        robot = self._body.robot
        assert isinstance(robot, BatchRobot)
        robot.seen = seen
        if instruction != self._instruction:
            self.loop.begin(instruction)
            self._instruction, self._told = instruction, False
        step = self.loop.step()
        if step.mode == Mode.STOPPED and step.sent is None:
            if not self._simulated:
                took = ", ".join(f"{latency_s:.2f}" for latency_s in self.loop.counts.latency_s[-3:])
                raise KinemaError(
                    f"{self._body.card.name} was stopped: {self.loop.reason} "
                    f"(the last answers took, in s: {took or 'none came'})"
                )
            if not self._told:
                _log.warning("%s holds from now on: %s", self._body.card.name, self.loop.reason)
                self._told = True
        if self._simulated:
            self._clock.sleep_until(self._clock.now_s() + self.loop.period_s)
        return robot.action
