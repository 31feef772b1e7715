"""The last thing before the motor: whatever is asked, what is sent keeps to the card.

Every limit is held by moving less far along the way that was asked for, so what is sent lies between the
last action and the asked one. Standing still keeps every limit; an arm may therefore always brake, however
fast it goes, and acceleration is limited where it speeds up or turns round. In this order:

1. an action that is missing, misshapen, not finite or late, or comes when a torque is beyond the motor's
   limit, is not used: the body holds its position;
2. ranges of the channels, which for tool poses are the workspace too;
3. joint speed and acceleration, tool poses by the joint motion they stand for;
4. the workspace box, for joints by the card's kinematics;
5. commands that come faster than the card's rate may move less each, in proportion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinema.card.card import Arm, EmbodimentCard
from kinema.card.kinematics import tool_pose
from kinema.runtime.limits import Limits, Motion, limits_of
from kinema.runtime.policy import hold_action
from kinema.schema import KinemaError
from kinema.space.rotation import matrix_from_rotvec, rotvec_from_matrix

_ROUNDING = 1e-9
_BISECTIONS = 24


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """What may be sent, and why it is not what was asked.

    action:  float64 (D,)
    fresh:   whether it comes from the asked action; otherwise the body holds
    changes: one sentence for each limit that was applied, empty when the asked action passed as it was
    """

    action: np.ndarray
    fresh: bool
    changes: tuple[str, ...] = ()


class Guard:
    """Holds one body's limits. `anchor` first: it must know where the body stands."""

    def __init__(self, card: EmbodimentCard) -> None:
        self.card = card
        self.limits: Limits = limits_of(card)
        self.period_s = 1.0 / card.control_hz
        self._last: np.ndarray | None = None
        self._rates = [np.zeros(len(motion.joints)) for motion in self.limits.motions]
        self._last_s: float | None = None

    def anchor(self, state: np.ndarray) -> None:
        """Forget what was sent: the body stands at the measured state (S,). KinemaError unless finite."""
        rest = hold_action(self.card, state)
        if not np.isfinite(rest).all():
            bad = [c.name for c, v in zip(self.card.actions, rest) if not np.isfinite(v)]
            raise KinemaError(f"{self.card.name}: the measured state is not finite in {bad}; cannot start")
        self._last = np.clip(rest, self.limits.low, self.limits.high)
        self._rates = [np.zeros(len(motion.joints)) for motion in self.limits.motions]
        self._last_s = None

    def check(
        self,
        asked: np.ndarray | None,
        *,
        now_s: float,
        state: np.ndarray,
        due_s: float | None = None,
        torque: np.ndarray | None = None,
    ) -> Guarded:
        """What may be sent now for the asked action (D,), None when there is none.

        due_s: when the asked target should be reached; one that has passed is late
        state, torque: measured, (S,) and (J,); torque is None or NaN where nothing measures it
        """
        if self._last is None:
            raise KinemaError("the guard does not know where the body stands; call anchor(state) first")
        fault = self._fault(asked, due_s, now_s, torque)
        target = self._hold(state, relax=bool(self._overload(torque))) if fault else np.asarray(asked, float)
        sent, changes = self._within(target, self._share_of_period(now_s))
        self._remember(sent, now_s)
        return Guarded(action=sent, fresh=not fault, changes=((fault, *changes) if fault else changes))

    # -- what is not used at all

    def _fault(
        self, asked: np.ndarray | None, due_s: float | None, now_s: float, torque: np.ndarray | None
    ) -> str:
        if asked is None:
            return "no action is due: holding"
        values = np.asarray(asked, np.float64)
        if values.shape != self.limits.low.shape:
            return f"an action of shape {values.shape} instead of {self.limits.low.shape}: holding"
        if not np.isfinite(values).all():
            bad = [c.name for c, v in zip(self.card.actions, values) if not np.isfinite(v)]
            return f"{', '.join(bad)} not finite: holding"
        if due_s is not None and not due_s >= now_s - _ROUNDING:
            return f"late by {now_s - due_s:.3f} s: holding"
        return self._overload(torque)

    def _overload(self, torque: np.ndarray | None) -> str:
        if torque is None:
            return ""
        over = np.flatnonzero(np.abs(torque) > self.limits.effort * (1 + _ROUNDING))
        if not len(over):
            return ""
        joints = [joint for arm in self.card.arms for joint in arm.joints]
        said = [f"{joints[i].name} {abs(torque[i]):.3g} of {self.limits.effort[i]:.3g}" for i in over]
        return f"torque beyond the limit ({', '.join(said)}): holding"

    def _hold(self, state: np.ndarray, *, relax: bool) -> np.ndarray:
        """The card's hold: the last position while the body is near it, else the measured one.

        relax: the measured one in any case, so that a body that presses too hard stops pressing.
        The gripper keeps its last command in both cases: the measured opening would let go of what it holds.
        """
        assert self._last is not None
        measured = hold_action(self.card, state)
        if self.card.hold.action == "zero":
            return measured
        if not np.isfinite(measured).all():
            return self._last.copy()
        target = self._last.copy()
        for motion in self.limits.motions:
            away = np.abs(_step(motion, measured, self._last))
            if relax or (away > motion.speed * self.period_s).any():  # pushed, stuck or running behind
                target[list(motion.columns)] = measured[list(motion.columns)]
        return target

    # -- how far it may go

    def _share_of_period(self, now_s: float) -> float:
        """The part of a control period this command may use: never more than one, less in a burst."""
        if self._last_s is None:
            return 1.0
        share = (now_s - self._last_s) / self.period_s
        return 1.0 if share > 1.0 - 1e-6 else max(share, 0.0)

    def _within(self, target: np.ndarray, share: float) -> tuple[np.ndarray, tuple[str, ...]]:
        assert self._last is not None
        limits, changes = self.limits, []
        sent = np.clip(target, limits.low, limits.high)
        if (outside := np.abs(sent - target) > _ROUNDING).any():
            names = [c.name for c, out in zip(self.card.actions, outside) if out]
            changes.append(f"{', '.join(names)} beyond the range")
        for motion, arm, rates in zip(limits.motions, self.card.arms, self._rates):
            fraction, why = self._fraction(motion, _step(motion, self._last, sent), rates, share)
            columns = list(motion.columns)
            if why:
                changes.append(why)
                sent[columns] = _towards(motion, self._last, sent, fraction)[columns]
            if self.card.control == "joint_position":
                inside = self._inside(arm, motion, sent)
                if inside is not sent:
                    changes.append(f"{arm.side} tool beyond the workspace")
                    sent = inside
        return np.clip(sent, limits.low, limits.high), tuple(changes)

    def _fraction(
        self, motion: Motion, step: np.ndarray, rates: np.ndarray, share: float
    ) -> tuple[float, str]:
        """How much of the way may be gone at once, and what forbids the rest ("" when nothing does)."""
        time_s = share * self.period_s
        far = np.abs(step)
        by_speed = motion.speed * time_s
        before = np.sign(step) * rates  # speed that each joint has already in the direction asked for
        by_gain = np.maximum(before + motion.acceleration * time_s, 0.0) * time_s
        allowed = np.minimum(by_speed, by_gain)
        excess = far > allowed * (1 + 1e-9) + 1e-12
        if not excess.any():
            return 1.0, ""
        fractions = np.where(excess, allowed / np.maximum(far, 1e-300), 1.0)
        joint = int(fractions.argmin())
        what = "speed" if by_speed[joint] <= by_gain[joint] else "acceleration"
        if share < 1.0:
            what += " at this rate of commands"
        return float(fractions[joint]), f"{motion.side} {motion.joints[joint]} beyond its {what}"

    def _inside(self, arm: Arm, motion: Motion, sent: np.ndarray) -> np.ndarray:
        """The action, or the furthest one on the way there that leaves the tool no further outside."""
        assert self._last is not None
        last, columns = self._last, list(motion.columns)
        bound = max(self._depth(arm, last[columns]), 0.0) + _ROUNDING
        if self._depth(arm, sent[columns]) <= bound:
            return sent
        low, high = 0.0, 1.0
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            tried = last[columns] + middle * (sent[columns] - last[columns])
            low, high = (middle, high) if self._depth(arm, tried) <= bound else (low, middle)
        inside = sent.copy()
        inside[columns] = last[columns] + low * (sent[columns] - last[columns])
        return inside

    def _depth(self, arm: Arm, joints: np.ndarray) -> float:
        """How far the tool lies outside the workspace [m]; negative inside."""
        tool_m = tool_pose(arm, joints)[:3, 3]
        return float(
            np.maximum(self.limits.workspace_m[:, 0] - tool_m, tool_m - self.limits.workspace_m[:, 1]).max()
        )

    def _remember(self, sent: np.ndarray, now_s: float) -> None:
        assert self._last is not None
        time_s = self._share_of_period(now_s) * self.period_s
        if time_s > 0:
            self._rates = [_step(m, self._last, sent) / time_s for m in self.limits.motions]
        self._last, self._last_s = sent, now_s


def _step(motion: Motion, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Joint motion (N,) that leads from one action to another."""
    step = end - start
    if motion.turn:
        turn = list(motion.turn)
        step[turn] = rotvec_from_matrix(matrix_from_rotvec(end[turn]) @ matrix_from_rotvec(-start[turn]))
    return motion.joints_per @ step[list(motion.columns)]


def _towards(motion: Motion, start: np.ndarray, end: np.ndarray, fraction: float) -> np.ndarray:
    """The action that is this fraction of the way on; rotations about one axis."""
    action = start + fraction * (end - start)
    if motion.turn:
        turn = list(motion.turn)
        whole = rotvec_from_matrix(matrix_from_rotvec(end[turn]) @ matrix_from_rotvec(-start[turn]))
        action[turn] = rotvec_from_matrix(
            matrix_from_rotvec(fraction * whole) @ matrix_from_rotvec(start[turn])
        )
    return action
