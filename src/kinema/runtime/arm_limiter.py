"""How far one arm may go in one command: the longest step on the way asked for that keeps its limits.

A body with a torso is limited as one arm with all its joints and tools, for the torso moves every tool.

A step ends somewhere, at a speed. Where braking is limited it is only taken when the arm could still come
to a stand from there, along a straight line, within its ranges and its workspace. So the hardest braking is
always allowed next, and where the way asked for is not, the step lies between that braking and that way.

One limit goes before that of the acceleration: a command that would be further ahead of the measured arm
than the card allows stops at once. The arm does not follow it anyway.

Braking is straight: every joint slows down in proportion, as fast as the one that takes longest can. From
the velocity v it takes t = max |v| / a and covers v t / 2, whatever the rate of the commands.

n: the arm's moving channels, N: its joints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kinema.runtime.limits import Limits, Motion

_ROUNDING = 1e-9
_BISECTIONS = 14
_ON_THE_WAY_TO_A_STAND = (1.0, 0.5)  # where the tool is looked at; the end of the step as well


@dataclass(frozen=True, kw_only=True)
class LimitedStep:
    """What may be sent: the action (D,), the velocity of the arm's channels (n,), and what forbids more."""

    action: np.ndarray
    velocity: np.ndarray
    why: str = ""


class ArmLimiter:
    """One arm's limits.

    tools: where an action (D,) brings its tools (K, 3) [m]; given where the workspace has to be looked up by
        kinematics
    """

    def __init__(
        self,
        motion: Motion,
        limits: Limits,
        *,
        limits_braking: bool,
        tools: Callable[[np.ndarray], np.ndarray] | None,
    ) -> None:
        self.motion, self._limits, self._limits_braking, self._tools = motion, limits, limits_braking, tools

    def limited(
        self,
        last: np.ndarray,
        wanted: np.ndarray,
        *,
        velocity: np.ndarray,
        time_s: float,
        measured: np.ndarray | None,
    ) -> LimitedStep:
        """From the last action (D,) towards the wanted one (D,) in `time_s`.

        velocity: of the channels (n,) before; measured: the action (D,) that the arm stands at, None where
        nobody knows
        """
        step = self.motion.between(last, wanted)
        if time_s <= 0:
            why = f"{self.motion.part} beyond its speed at this rate of commands"
            return LimitedStep(
                action=last, velocity=velocity, why=why if np.abs(step).max() > _ROUNDING else ""
            )
        bounds = _Bounds(self, last, velocity, time_s, measured)
        why = bounds.forbids(step)
        if not why:
            columns = list(self.motion.columns)
            action = last.copy()
            action[columns] = wanted[columns]
            return LimitedStep(action=action, velocity=step / time_s)
        taken = bounds.longest(step)
        return LimitedStep(action=self.motion.moved(last, taken), velocity=taken / time_s, why=why)

    def time_to_stand_s(self, velocity: np.ndarray) -> float:
        """How long braking takes from a velocity of the channels (n,)."""
        if not self._limits_braking:
            return 0.0
        return float((np.abs(self.motion.joints_per @ velocity) / self.motion.acceleration).max())

    def ahead(self, action: np.ndarray, measured: np.ndarray) -> np.ndarray:
        """How far each joint (N,) of an action (D,) is from where it is measured, 1 at the card's limit."""
        joints = self.motion.joints_per @ self.motion.between(measured, action)
        return np.abs(joints) / self.motion.tracking

    def depth_m(self, action: np.ndarray) -> np.ndarray:
        """How far each tool (K,) lies outside the workspace; negative inside."""
        assert self._tools is not None
        tools_m, box = self._tools(action), self._limits.workspace_m
        return np.maximum(box[:, 0] - tools_m, tools_m - box[:, 1]).max(axis=1)


class _Bounds:
    """What one step must keep. Steps are motions of the channels (n,) from the last action."""

    def __init__(
        self,
        limiter: ArmLimiter,
        last: np.ndarray,
        velocity: np.ndarray,
        time_s: float,
        measured: np.ndarray | None,
    ) -> None:
        self._limiter, self._motion, self._last, self._time_s = limiter, limiter.motion, last, time_s
        limits, columns = limiter._limits, list(limiter.motion.columns)
        # An arm that stands outside may move in, and not further out.
        self._low = np.minimum(limits.low, last)[columns] - _ROUNDING
        self._high = np.maximum(limits.high, last)[columns] + _ROUNDING
        self._at = last[columns]
        # A rotation vector is never longer than half a turn: most cards' ranges do not bind it.
        bind = (limits.low > -np.pi) | (limits.high < np.pi)
        self._turn_binds = bool(bind[list(self._motion.turn)].any())
        stand_s = limiter.time_to_stand_s(velocity)
        self._brake = velocity * time_s * max(1.0 - time_s / stand_s, 0.0) if stand_s > 0 else 0.0 * velocity
        before = self._motion.joints_per @ velocity * time_s
        gain = self._motion.acceleration * time_s**2 * (1 + 1e-9) + 1e-12
        self._least, self._most = before - gain, before + gain
        if not limiter._limits_braking:
            self._least, self._most = np.minimum(self._least, 0.0), np.maximum(self._most, 0.0)
        self._measured = measured
        # One that was pushed away may come back, and not go further.
        self._ahead = 1.0 if measured is None else np.maximum(limiter.ahead(last, measured), 1.0)
        self._depth_m: np.ndarray | None = None

    def forbids(self, step: np.ndarray) -> str:
        """The first limit that a step breaks, in words; empty when it breaks none."""
        return self._too_fast(step) or self._too_sudden(step) or self._too_far(step) or self._outside(step)

    def longest(self, step: np.ndarray) -> np.ndarray:
        """The furthest allowed step between braking and the one asked for."""
        motion = self._motion
        brake = self._brake
        if self._too_far(brake) or self._outside(brake):  # the body's doing: it was pushed, or its frame is
            brake = _furthest(0.0 * brake, brake, lambda s: not (self._too_far(s) or self._outside(s)))
        fast = np.abs(motion.joints_per @ step) / (motion.speed * self._time_s)
        step = step / max(float(fast.max()), 1.0)
        held = _furthest(brake, step, lambda s: not (self._too_sudden(s) or self._too_far(s)))
        if not self._outside(held):  # asked last, since kinematics take time
            return held
        return _furthest(brake, held, lambda s: not self._outside(s))

    def _too_fast(self, step: np.ndarray) -> str:
        share = np.abs(self._motion.joints_per @ step) / (self._motion.speed * self._time_s)
        return self._named(share - 1.0, "beyond its speed", 1e-9)

    def _too_sudden(self, step: np.ndarray) -> str:
        joints = self._motion.joints_per @ step
        return self._named(np.maximum(self._least - joints, joints - self._most), "beyond its acceleration")

    def _named(self, excess: np.ndarray, what: str, tolerance: float = 0.0) -> str:
        joint = int(excess.argmax())
        if excess[joint] <= tolerance:
            return ""
        return f"{self._motion.side} {self._motion.joints[joint]} {what}"

    def _stands(self, step: np.ndarray) -> np.ndarray:
        """The step (n,) after which the arm stands, when it brakes at the end of this one."""
        velocity = step / self._time_s
        return step + velocity * self._limiter.time_to_stand_s(velocity) / 2

    def _too_far(self, step: np.ndarray) -> str:
        for end in (step, self._stands(step)):
            if self._leaves_the_range(end):
                return f"{self._motion.part} could not stop within its range"
        if self._measured is None:
            return ""
        ahead = self._limiter.ahead(self._motion.moved(self._last, step), self._measured)
        return self._named(ahead - self._ahead, "too far ahead of where it is measured", _ROUNDING)

    def _leaves_the_range(self, step: np.ndarray) -> bool:
        motion = self._motion
        if motion.turn and self._turn_binds:
            values = motion.moved(self._last, step)[list(motion.columns)]
            return bool(((values < self._low) | (values > self._high)).any())
        values = self._at + step
        outside = (values < self._low) | (values > self._high)
        return bool(outside[: len(outside) - len(motion.turn)].any())

    def _outside(self, step: np.ndarray) -> str:
        """Whether a tool would leave the workspace, or leave it further."""
        if self._limiter._tools is None:
            return ""
        if self._depth_m is None:
            self._depth_m = np.maximum(self._limiter.depth_m(self._last), 0.0) + _ROUNDING
        stand = self._stands(step)
        ends = (
            [step + share * (stand - step) for share in _ON_THE_WAY_TO_A_STAND]
            if (stand != step).any()
            else []
        )
        for end in (step, *ends):
            if (self._limiter.depth_m(self._motion.moved(self._last, end)) > self._depth_m).any():
                return f"{self._motion.side} tool beyond the workspace"
        return ""


def _furthest(start: np.ndarray, end: np.ndarray, allowed: Callable[[np.ndarray], bool]) -> np.ndarray:
    """The last allowed point found on the way from an allowed start (n,) to an end (n,)."""
    if allowed(end):
        return end
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if allowed(start + middle * (end - start)) else (low, middle)
    return start + low * (end - start)
