"""The last thing before the motor: whatever is asked, what is sent keeps to the card.

In this order:

1. an action that is missing, misshapen, not finite or late is not used, nor is any while the measured state
   is not finite, a torque is beyond the motor's limit or the body does not follow: it holds its position;
2. ranges of the channels, which for tool poses are the workspace too;
3. joint speed, acceleration and the distance from the measured position, tool poses by the joint motion
   they stand for, and the workspace box, for joints by the card's kinematics (`runtime/arm_limiter.py`);
   the speed of a hand's values;
4. commands that come faster than the card's rate may move less each, in proportion.

Holding keeps these limits too. Where the card limits braking, an arm that holds at speed comes to a stand
at its acceleration, so what is sent may lie beyond what was asked; where it does not, at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kinema.card.card import Channel, EmbodimentCard
from kinema.card.kinematics import joints_by_slot, tools_in
from kinema.runtime.arm_limiter import ArmLimiter
from kinema.runtime.limits import Limits, Motion, limits_of
from kinema.runtime.policy import hold_action
from kinema.schema import KinemaError

RANGE_TOLERANCE = 0.02  # of a channel's range: by how much a state may lie outside when a run begins
OPENING_TOLERANCE = 0.05  # the same for grippers and hands, whose zero is where something stopped them
_ROUNDING = 1e-9
_AT_THE_LIMIT = 0.999
_STOOD_PERIODS = 1.5  # without a command for longer, the body has come to where it was told to go
# What a driver most often says instead of a card's unit.
_USUAL_UNITS = {"rad": ("deg", np.pi / 180), "m": ("mm", 1e-3), "fraction": ("percent", 1e-2)}


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """What may be sent, and why it is not what was asked.

    action:   float64 (D,)
    fresh:    whether it comes from the asked action; otherwise the body holds
    astray:   whether the body is not where the plan takes it to be, so that the plan is worth nothing
    changes:  one sentence for each limit that was applied, empty when the asked action passed as it was
    """

    action: np.ndarray
    fresh: bool
    astray: bool = False
    changes: tuple[str, ...] = ()


class Guard:
    """Holds one body's limits. `anchor` first: it must know where the body stands."""

    def __init__(self, card: EmbodimentCard) -> None:
        self.card = card
        self.limits: Limits = limits_of(card)
        self.period_s = 1.0 / card.control_hz
        self._arms = [_limiter(card, self.limits, motion) for motion in self.limits.motions]
        self._last: np.ndarray | None = None
        self._rates: list[np.ndarray] = []  # velocity of each arm's channels
        self._last_s: float | None = None
        self._before: tuple[np.ndarray, list[np.ndarray]] = (np.empty(0), [])  # the last command but one

    def anchor(self, state: np.ndarray) -> np.ndarray:
        """Forget what was sent: the body stands at the measured state (S,). Returns the action that keeps it.

        Raises KinemaError unless the state is finite and, but for a small share, within the card's ranges.
        """
        state = np.asarray(state, np.float64)
        _refuse_unless_sound(self.card, self.limits, state)
        self._last = hold_action(self.card, state)
        self._rates = [np.zeros(len(motion.columns)) for motion in self.limits.motions]
        self._last_s = None
        self._before = (self._last, self._rates)
        return self._last.copy()

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
        measured = hold_action(self.card, state)
        near = self._unwrapped(measured)
        astray = self._astray(measured, near)
        overload = self._overload(torque)
        fault = self._blind(state, now_s) or astray or self._unusable(asked, due_s, now_s) or overload
        held = self._hold(near, relax=bool(overload or astray)) if fault else None
        target = np.asarray(asked, np.float64) if held is None else held
        sent, rates, changes = self._within(target, near, self._elapsed_s(now_s), fresh=not fault)
        self._before = (self._last, self._rates)
        self._last, self._rates = sent, rates
        self._last_s = now_s if np.isfinite(now_s) else self._last_s
        changes = (fault, *changes) if fault else changes
        return Guarded(action=sent.copy(), fresh=not fault, astray=bool(astray), changes=changes)

    def not_sent(self) -> None:
        """What `check` allowed last did not reach the body: it stands at what was sent before."""
        self._last, self._rates = self._before[0], [np.zeros_like(rate) for rate in self._before[1]]

    @property
    def at_rest(self) -> bool:
        """Whether the commands stand still."""
        return all(np.abs(rates).max() <= 1e-6 for rates in self._rates)

    @property
    def time_to_stand_s(self) -> float:
        """How long the body takes to come to a stand from where it is."""
        return max((arm.time_to_stand_s(v) for arm, v in zip(self._arms, self._rates)), default=0.0)

    # -- what is not used at all

    def _blind(self, state: np.ndarray, now_s: float) -> str:
        if not np.isfinite(now_s):
            return f"the clock says {now_s}: holding"
        if not np.isfinite(state).all():
            bad = [c.name for c, v in zip(self.card.states, state) if not np.isfinite(v)]
            return f"the measured {', '.join(bad)} not finite: holding"
        return ""

    def _astray(self, measured: np.ndarray, near: np.ndarray) -> str:
        """Why the body is not where it was told to be; "" when it is, or nobody knows."""
        if not np.isfinite(measured).all():
            return ""
        assert self._last is not None
        if (turned := np.abs(near - measured) > _ROUNDING).any():
            names = [c.name for c, out in zip(self.card.actions, turned) if out]
            return f"{', '.join(names)} reported a whole turn away: holding"
        for arm in self._arms:
            ahead = arm.ahead(self._last, near)
            if (joint := int(ahead.argmax())) >= 0 and ahead[joint] >= _AT_THE_LIMIT:
                name = f"{arm.motion.side} {arm.motion.joints[joint]}"
                return f"{name} does not follow: further from its command than the card allows: holding"
        return ""

    def _unusable(self, asked: np.ndarray | None, due_s: float | None, now_s: float) -> str:
        if asked is None:
            return "no action is due: holding"
        values = np.asarray(asked, np.float64)
        if values.shape != self.limits.low.shape:
            return f"an action of shape {values.shape} instead of {self.limits.low.shape}: holding"
        if not np.isfinite(values).all():
            bad = [c.name for c, v in zip(self.card.actions, values) if not np.isfinite(v)]
            return f"{', '.join(bad)} not finite: holding"
        if due_s is not None and not due_s + self.card.motion.late_s >= now_s - _ROUNDING:
            return f"late by {now_s - due_s:.3f} s: holding"
        return ""

    def _overload(self, torque: np.ndarray | None) -> str:
        if torque is None:
            return ""
        over = np.flatnonzero(np.abs(torque) > self.limits.effort * (1 + _ROUNDING))
        if not len(over):
            return ""
        joints = list(joints_by_slot(self.card).values())
        said = [f"{joints[i].name} {abs(torque[i]):.3g} of {self.limits.effort[i]:.3g}" for i in over]
        return f"torque beyond the limit ({', '.join(said)}): holding"

    def _hold(self, measured: np.ndarray, *, relax: bool) -> np.ndarray:
        """The card's hold: the last position while the body is near it, else the measured one.

        relax: the measured one in any case, so that a body that presses too hard stops pressing.
        The gripper keeps its last command in both cases: the measured opening would let go of what it holds.
        """
        assert self._last is not None
        if self.card.hold.action == "zero":
            return np.where([self.card.keeps(channel) for channel in self.card.actions], self._last, 0.0)
        target = self._last.copy()
        if not np.isfinite(measured).all():
            return target
        for motion in self.limits.motions:
            away = np.abs(_step(motion, measured, self._last))
            if relax or (away > motion.speed * self.period_s).any():  # pushed, stuck or running behind
                target[list(motion.columns)] = measured[list(motion.columns)]
        return target

    def _unwrapped(self, measured: np.ndarray) -> np.ndarray:
        """The measured action (D,), angles as near to the last command as whole turns bring them."""
        assert self._last is not None
        near = measured.copy()
        for motion in self.limits.motions:
            at = np.array(motion.columns)[motion.wraps]
            turns = np.rint((self._last[at] - measured[at]) / (2 * np.pi))
            near[at] += 2 * np.pi * np.where(np.isfinite(turns), turns, 0.0)
        return near

    # -- how far it may go

    def _elapsed_s(self, now_s: float) -> float:
        """The time this command may use: never more than a control period, less in a burst."""
        if not np.isfinite(now_s):
            return 0.0
        if self._last_s is None:
            return self.period_s
        elapsed_s = now_s - self._last_s
        if elapsed_s > _STOOD_PERIODS * self.period_s:
            self._rates = [np.zeros_like(rates) for rates in self._rates]
        return self.period_s if elapsed_s > self.period_s * (1.0 - 1e-6) else max(elapsed_s, 0.0)

    def _within(
        self, target: np.ndarray, measured: np.ndarray, time_s: float, *, fresh: bool
    ) -> tuple[np.ndarray, list[np.ndarray], tuple[str, ...]]:
        """What may be sent, the velocity of each arm's channels then, and what was changed."""
        assert self._last is not None
        limits, changes, rates = self.limits, [], []
        if self.card.hold.action == "position" and not fresh:  # who stands outside holds there
            sent = np.clip(target, np.minimum(limits.low, self._last), np.maximum(limits.high, self._last))
        else:
            sent = np.clip(target, limits.low, limits.high)
        if (outside := np.abs(sent - target) > _ROUNDING).any():
            names = [c.name for c, out in zip(self.card.actions, outside) if out]
            changes.append(f"{', '.join(names)} beyond the range")
        if name := self._slowed(sent, time_s):
            changes.append(f"{name} beyond its speed")
        at = measured if np.isfinite(measured).all() else None
        for arm, velocity in zip(self._arms, self._rates):
            step = arm.limited(self._last, sent, velocity=velocity, time_s=time_s, measured=at)
            columns = list(arm.motion.columns)
            sent[columns] = step.action[columns]
            rates.append(step.velocity)
            if step.why:
                changes.append(step.why + (" at this rate of commands" if 0 < time_s < self.period_s else ""))
        return sent, rates, tuple(changes)

    def _slowed(self, sent: np.ndarray, time_s: float) -> str:
        """Keep the hands' values to their speed, in place; the names of those that were faster."""
        assert self._last is not None
        hands = np.flatnonzero(np.isfinite(self.limits.speed))
        reach, step = self.limits.speed[hands] * time_s, sent[hands] - self._last[hands]
        sent[hands] = self._last[hands] + np.clip(step, -reach, reach)
        return ", ".join(self.card.actions[i].name for i in hands[np.abs(step) > reach + _ROUNDING])


def _limiter(card: EmbodimentCard, limits: Limits, motion: Motion) -> ArmLimiter:
    tools = None
    if card.control == "joint_position":
        sides = [arm.side for arm in card.arms if motion.side in (arm.side, "body")]
        tools = tools_in(card, [channel.slot for channel in card.actions], sides)
    return ArmLimiter(motion, limits, limits_braking=card.motion.limits_braking, tools=tools)


def _refuse_unless_sound(card: EmbodimentCard, limits: Limits, state: np.ndarray) -> None:
    if state.shape != (len(card.states),):
        raise KinemaError(f"{card.name} state must have shape ({len(card.states)},), got {state.shape}")
    bad = [channel.name for channel, value in zip(card.states, state) if not np.isfinite(value)]
    if bad:
        raise KinemaError(f"{card.name}: the measured state is not finite in {bad}; cannot start")
    driven = {}
    if card.hold.action == "position":
        driven = {c.slot: (low, high) for c, low, high in zip(card.actions, limits.low, limits.high)}
    told = []
    for channel, value in zip(card.states, state):
        low, high = driven.get(channel.slot, channel.range)
        hand = channel.slot.split(".")[1] in ("gripper", "hand")
        margin = (OPENING_TOLERANCE if hand else RANGE_TOLERANCE) * (high - low)
        if not low - margin <= value <= high + margin:
            told.append(_outside(channel, value, low, high, margin))
    if told:
        raise KinemaError(f"{card.name} cannot start where it is measured: {'; '.join(told)}")


def _outside(channel: Channel, value: float, low: float, high: float, margin: float) -> str:
    said = f"{channel.name} is {value:.4g}, its range [{low:.4g}, {high:.4g}] {channel.unit}"
    other, scale = _USUAL_UNITS.get(channel.unit, ("", 0.0))
    if other and low - margin <= value * scale <= high + margin:
        return f"{said}; in {other}, a wiring file says so: `{channel.name}: {{key: ..., unit: {other}}}`"
    return (
        f"{said}; move it in by hand, or if its zero is another, a wiring file says so: "
        f"`{channel.name}: {{key: ..., unit: ..., zero: ...}}`"
    )


def _step(motion: Motion, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Joint motion (N,) that leads from one action to another."""
    return motion.joints_per @ motion.between(start, end)
