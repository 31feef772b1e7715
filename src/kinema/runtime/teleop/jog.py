"""From a tool's twist to native actions: a target that moves on with every control step.

Joints follow by damped least squares (Wampler 1986; Nakamura and Hanafusa 1986), so that near a singular pose
they slow down instead of leaping.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kinema.card.batched import tools_of
from kinema.card.card import Arm, Channel, EmbodimentCard
from kinema.card.kinematics import arm_of, joints_by_slot
from kinema.card.values import Side
from kinema.runtime.limits import tracking_of
from kinema.runtime.policy import hold_action
from kinema.runtime.teleop.intent import Intent
from kinema.schema import KinemaError
from kinema.space.rotation import matrix_from_rotvec, rotvec_from_matrix

_DAMPING = 0.05
_OF_TRACKING = 0.5  # how far a target may lead, of what the guard lets it
_BASE = ("base.waypoint.x", "base.waypoint.y", "base.waypoint.theta")


@dataclass(frozen=True, kw_only=True)
class Speeds:
    """Of full deflection. hand: of its whole range"""

    linear_m_s: float = 0.1
    angular_rad_s: float = 0.6
    hand_hz: float = 1.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (np.isfinite(value) and value > 0):
                raise KinemaError(f"speed {name} must be above 0, got {value}")


class Jog:
    """The native target (D,) of a body, moved by hand: one arm at a time, or a base."""

    def __init__(self, card: EmbodimentCard, speeds: Speeds | None = None, side: Side | None = None) -> None:
        """side: the arm to begin with; None: the right one where there are two

        Raises KinemaError for a body that is moved in another way."""
        moves: dict[str, Callable[[np.ndarray, np.ndarray], None]] = {
            "ee_pose": self._pose, "ee_delta": self._displacement, "joint_position": self._joints,
            "waypoints": self._waypoint,
        }  # fmt: skip
        if card.control not in moves:
            raise KinemaError(
                f"{card.name} is moved by {card.control}; by hand go {', '.join(moves)} and, for any body, "
                "an arm that is led"
            )
        self._card, self._move, self._speeds = card, moves[card.control], speeds or Speeds()
        self._column = {channel.slot: i for i, channel in enumerate(card.actions)}
        self._state_column = {channel.slot: i for i, channel in enumerate(card.states)}
        self._low, self._high = np.array([channel.range for channel in card.actions]).T
        self._period_s = 1.0 / card.control_hz
        sides = [arm.side for arm in card.arms]
        if side is not None and side not in sides:
            raise KinemaError(f"{card.name} has no {side} arm; it has {', '.join(sides) or 'none'}")
        self.side: Side | None = side or (("right" if "right" in sides else sides[0]) if sides else None)

    def other_arm(self) -> None:
        """Move the other arm from now on, where there is one."""
        sides = [arm.side for arm in self._card.arms]
        if self.side is not None and len(sides) > 1:
            self.side = sides[(sides.index(self.side) + 1) % len(sides)]

    def anchor(self, state: np.ndarray) -> None:
        """Begin where the body is: states (S,) in the card's order."""
        self._target = hold_action(self._card, np.asarray(state, float))

    def move(self, intent: Intent, state: np.ndarray) -> np.ndarray:
        """The next native action (D,)."""
        speeds = self._speeds
        full = np.repeat([speeds.linear_m_s, speeds.angular_rad_s], 3)
        state = np.asarray(state, float)
        self._move(np.clip(intent.twist, -1, 1) * full * self._period_s, state)
        if self.side is not None and intent.grip:
            self._grip(np.clip(intent.grip, -1, 1) * speeds.hand_hz * self._period_s)
        self._target = np.clip(self._target, self._low, self._high)
        return self._target.copy()

    def _pose(self, by: np.ndarray, state: np.ndarray) -> None:
        places = self._columns("ee", "xyz")
        self._target[places] += by[:3]
        turns = self._columns("rot", "012")
        if len(turns) == 3 and by[3:].any():
            R = matrix_from_rotvec(by[3:]) @ matrix_from_rotvec(self._target[turns])
            self._target[turns] = rotvec_from_matrix(R)

    def _displacement(self, by: np.ndarray, state: np.ndarray) -> None:
        for slots, part in (((f"{self.side}.ee.{axis}" for axis in "xyz"), by[:3]),
                            ((f"{self.side}.rot.{i}" for i in range(3)), by[3:])):  # fmt: skip
            self._displace(list(slots), part)

    def _waypoint(self, by: np.ndarray, state: np.ndarray) -> None:
        self._displace(list(_BASE), by[[0, 1, 5]])

    def _displace(self, slots: list[str], by: np.ndarray) -> None:
        for slot, value in zip(slots, by):
            if slot in self._column:
                step = self._card.actions[self._column[slot]].step or 1.0
                self._target[self._column[slot]] = value / step

    def _joints(self, by: np.ndarray, state: np.ndarray) -> None:
        arm, columns = self._arm(), self._columns("joint", "0123456789")
        if by.any():
            J = tools_of(arm, self._target[None, columns]).jacobian[0]
            damped = J @ J.T + _DAMPING**2 * np.eye(6)
            self._target[columns] += J.T @ np.linalg.solve(damped, by)
        measured = state[[self._state_column[self._card.actions[i].slot] for i in columns]]
        joints = joints_by_slot(self._card)
        lead = np.array([tracking_of(joints[self._card.actions[i].slot], self._period_s) for i in columns])
        self._target[columns] = np.clip(
            self._target[columns], measured - _OF_TRACKING * lead, measured + _OF_TRACKING * lead
        )

    def _grip(self, by: float) -> None:
        for i, channel in enumerate(self._card.actions):
            if channel.slot.startswith((f"{self.side}.gripper", f"{self.side}.hand")):
                self._target[i] += by * _opening(channel)

    def _arm(self) -> Arm:
        assert self.side is not None, "checked when it was made: joints are an arm's"
        return arm_of(self._card, self.side)

    def _columns(self, part: str, names: str) -> np.ndarray:
        slots = [f"{self.side}.{part}.{name}" for name in names]
        return np.array([self._column[slot] for slot in slots if slot in self._column], int)


def _opening(channel: Channel) -> float:
    """From closed to open, in native numbers."""
    closed, opened = channel.closed_and_open
    return opened - closed
