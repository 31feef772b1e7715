"""The tabletop world behind a robot's interface (lerobot's names): it moves on by the clock, whoever thinks.

The physics follows `now_s`, a control period at a time, with the last command it was given; so a simulated
robot waits for nobody, on a real clock as on a simulated one. Before the first command it keeps its pose.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from kinema.schema import KinemaError
from kinema.worlds.tabletop.env import TabletopEnv

_ROUNDING = 1e-6
_MOST_PERIODS = 600  # a clock that jumps is not made up for by more than this


class SimulatedRobot:
    """One tabletop world as one robot. Numbers are "<channel>.pos" and "<side>.<joint>.torque".

    Each reading takes its pictures anew and says when ("<camera>.taken_s"): a scene that looks the same is no
    camera that has stopped.
    """

    def __init__(self, world: TabletopEnv, now_s: Callable[[], float]) -> None:
        self.world, self.name = world, f"simulated_{world.card.name}"
        self._now_s = now_s
        self._period_s = 1.0 / world.card.control_hz
        self._connected = False
        self._command = np.empty(0)
        self._seen_s = 0.0  # the time up to which the world has moved
        card = world.card
        self._states = [f"{channel.name}.pos" for channel in card.states]
        self._actions = [f"{channel.name}.pos" for channel in card.actions]
        self._taken_s = [f"{name}.taken_s" for name in card.camera_names]
        self._torques = [f"{arm.side}.{joint.name}.torque" for arm in card.arms for joint in arm.joints]

    @property
    def observation_features(self) -> dict[str, Any]:
        side = self.world.image_size
        pictures = {name: (side, side, 3) for name in self.world.card.camera_names}
        return dict.fromkeys([*self._states, *self._torques, *self._taken_s], float) | pictures

    @property
    def action_features(self) -> dict[str, Any]:
        return dict.fromkeys(self._actions, float)

    @property
    def units(self) -> dict[str, str]:
        """The card's own, and N m or N for the torques."""
        card = self.world.card
        joints = [joint for arm in card.arms for joint in arm.joints]
        units = {f"{c.name}.pos": str(c.unit) for c in (*card.states, *card.actions)}
        return units | {k: "N" if j.type == "slide" else "N m" for k, j in zip(self._torques, joints)}

    @property
    def is_connected(self) -> bool:
        return self._connected

    @property
    def is_calibrated(self) -> bool:
        return True

    def connect(self, calibrate: bool = True) -> None:
        """Begin with the scene as it stands, at the present time."""
        if self._connected:
            raise KinemaError(f"{self.name} is connected already")
        self._connected, self._seen_s = True, self._now_s()
        slots = [channel.slot for channel in self.world.card.states]
        self._command = self.world.state().astype(float)[
            [slots.index(c.slot) for c in self.world.card.actions]
        ]

    def calibrate(self) -> None:
        """Nothing to calibrate."""

    def configure(self) -> None:
        """Nothing to configure."""

    def disconnect(self) -> None:
        self._require_connected()
        self._connected = False

    def get_observation(self) -> dict[str, Any]:
        """Numbers and pictures of this instant."""
        self.catch_up()
        seen = self.world.observe()
        data = self.world.scene.data
        torques = [data.qfrc_actuator[handle.dof] for handle in self.world.scene.robot.arms]
        numbers = dict(zip(self._states, map(float, seen.state)))
        numbers |= dict(zip(self._torques, map(float, np.concatenate(torques))))
        return {**numbers, **dict.fromkeys(self._taken_s, self._now_s()), **seen.images}

    def send_action(self, action: dict[str, Any]) -> dict[str, Any]:
        """Follow this action from now on; what is returned lies within the card's ranges."""
        self.catch_up()
        lacking, unknown = set(self._actions) - set(action), set(action) - set(self._actions)
        if lacking or unknown:
            raise KinemaError(
                f"an action for {self.name} has {self._actions}; missing {sorted(lacking)}, "
                f"unknown {sorted(unknown)}"
            )
        self._command = self.world.scene.controller.clamp(
            np.array([float(action[key]) for key in self._actions])
        )
        return dict(zip(self._actions, map(float, self._command)))

    def success(self) -> bool:
        """Whether the goal holds now."""
        self.catch_up()
        return self.world.success()

    def catch_up(self) -> None:
        """Move the world on to the present, by whole control periods."""
        self._require_connected()
        due = int(np.floor((self._now_s() - self._seen_s) / self._period_s + _ROUNDING))
        if due > _MOST_PERIODS:
            self._seen_s += (due - _MOST_PERIODS) * self._period_s
            due = _MOST_PERIODS
        for _ in range(max(due, 0)):
            self.world.step(self._command)
            self._seen_s += self._period_s

    def _require_connected(self) -> None:
        if not self._connected:
            raise KinemaError(f"{self.name} is not connected; call connect() first")
