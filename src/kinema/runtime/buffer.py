"""Actions by the time at which they are due, and how a new chunk takes over from the running one.

An action's time is when its target should be reached: the end of the control period in which it is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.schema import ActionChunk, KinemaError
from kinema.space.rotation import matrix_from_rotvec, rotvec_from_matrix

_ROUNDING_S = 1e-6
_SAME = 1e-3  # m or rad: less than a plan means

Splice = Callable[["ChunkBuffer", ActionChunk, float], ActionChunk]


class Mixing:
    """Native actions between two others: numbers linearly, rotation vectors about one axis.

    Openings of grippers are not mixed: half open is a command that nobody gave.
    """

    def __init__(self, card: EmbodimentCard) -> None:
        slots = [channel.slot for channel in card.actions]
        self._steps = np.array(["gripper" in slot or "hand" in slot for slot in slots])
        sides = {slot.split(".")[0] for slot in slots if ".rot." in slot}
        self._turns = [[slots.index(f"{side}.rot.{i}") for i in range(3)] for side in sorted(sides)]

    def between(self, start: np.ndarray, end: np.ndarray, weight: np.ndarray | float) -> np.ndarray:
        """Actions (..., D): `start` at weight (...) 0, `end` at 1; grippers change at any weight above 0."""
        w = np.asarray(weight, np.float64)[..., None]
        mixed = start + w * (end - start)
        mixed[..., self._steps] = np.where(w > 0, end, start)[..., self._steps]
        for turn in self._turns:
            R_start = matrix_from_rotvec(start[..., turn])
            whole = rotvec_from_matrix(matrix_from_rotvec(end[..., turn]) @ np.swapaxes(R_start, -1, -2))
            mixed[..., turn] = rotvec_from_matrix(matrix_from_rotvec(w * whole) @ R_start)
        return mixed


class ChunkBuffer:
    """The plan that is being played. Empty at first, and after `clear`."""

    def __init__(self, card: EmbodimentCard) -> None:
        self.card = card
        self.period_s = 1.0 / card.control_hz
        self.mixing = Mixing(card)
        self.plan: ActionChunk | None = None

    def clear(self) -> None:
        self.plan = None

    def splice(self, chunk: ActionChunk, now_s: float, how: Splice) -> None:
        """Let a new chunk take over. Raises KinemaError when this body cannot play it."""
        check_chunk(chunk, self.card)
        self.plan = how(self, chunk, now_s)

    def at(self, due_s: float) -> np.ndarray | None:
        """The action (D,) for a target time; None before the plan, after it and without one.

        Between two actions it is the mixture of both; the first one also holds for the period before it.
        """
        return None if self.plan is None else self.sample(self.plan, due_s)

    def sample(self, plan: ActionChunk, due_s: float) -> np.ndarray | None:
        times_s = plan.times_s
        if not times_s[0] - self.period_s - _ROUNDING_S <= due_s <= times_s[-1] + _ROUNDING_S:
            return None
        after = int(np.searchsorted(times_s, due_s - _ROUNDING_S))
        if after == 0 or times_s[after] <= due_s + _ROUNDING_S:
            return plan.values[after].copy()
        share = (due_s - times_s[after - 1]) / (times_s[after] - times_s[after - 1])
        return self.mixing.between(plan.values[after - 1], plan.values[after], share)

    def committed(self, now_s: float, latency_s: float) -> ActionChunk | None:
        """What will be played before an answer that takes `latency_s` can change it; None for nothing."""
        if self.plan is None:
            return None
        steps = int(np.ceil(latency_s / self.period_s - _ROUNDING_S))
        due_s = now_s + self.period_s * (1 + np.arange(steps))
        found = [(at, action) for at in due_s if (action := self.at(at)) is not None]
        if not found:
            return None
        times_s, values = zip(*found)
        return ActionChunk(values=np.stack(values), times_s=np.array(times_s), card=self.plan.card)


def check_chunk(chunk: ActionChunk, card: EmbodimentCard) -> None:
    """Raise KinemaError unless the chunk can be played by this body.

    It has at most the card's number of steps, and lasts no longer than they do. Nothing lengthens an answer:
    one that begins with committed actions has as many of its own less.
    """
    wanted = len(card.actions)
    if chunk.card != card.name:
        raise KinemaError(f"a chunk for {chunk.card!r} cannot be played by {card.name}")
    if not 0 < len(chunk.values) <= card.chunk or chunk.values.shape[1] != wanted:
        raise KinemaError(
            f"a chunk for {card.name} has shape (1 ... {card.chunk}, {wanted}); got {chunk.values.shape}"
        )
    if not (np.isfinite(chunk.values).all() and np.isfinite(chunk.times_s).all()):
        raise KinemaError(f"a chunk for {card.name} has values or times that are not finite")
    if (np.diff(chunk.times_s) <= 0).any():
        raise KinemaError(f"the times of a chunk for {card.name} do not increase: {chunk.times_s}")
    lasts_s, most_s = chunk.times_s[-1] - chunk.times_s[0], card.chunk / card.control_hz
    if lasts_s > most_s + _ROUNDING_S:
        raise KinemaError(f"a chunk for {card.name} lasts {most_s:.3g} s at most; got {lasts_s:.3g} s")


def check_times(chunk: ActionChunk, card: EmbodimentCard, observed_s: float) -> None:
    """Raise KinemaError unless the chunk begins within a chunk's length of its observation."""
    ahead_s, period_s = chunk.times_s[0] - observed_s, 1.0 / card.control_hz
    if not -period_s - _ROUNDING_S <= ahead_s <= card.chunk * period_s + _ROUNDING_S:
        raise KinemaError(
            f"a chunk for {card.name} begins {ahead_s:.3g} s after its observation; "
            f"it may from {-period_s:.3g} to {card.chunk * period_s:.3g} s"
        )


def take_over(buffer: ChunkBuffer, new: ActionChunk, now_s: float) -> ActionChunk:
    """The new chunk from now on, as it is."""
    return new


class StartAnew:
    """The new chunk's first `steps` actions from now on, however old its question is.

    For a body that stood still while it waited.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __call__(self, buffer: ChunkBuffer, new: ActionChunk, now_s: float) -> ActionChunk:
        times_s = new.times_s[: self.steps] - new.times_s[0] + now_s + buffer.period_s
        return replace(new, values=new.values[: self.steps], times_s=times_s)


class Blend:
    """Fades from the running plan to the new one over `blend_s`, where both have actions."""

    def __init__(self, blend_s: float) -> None:
        if not blend_s > 0:
            raise KinemaError(f"blend_s must be above 0; got {blend_s}")
        self.blend_s = blend_s

    def __call__(self, buffer: ChunkBuffer, new: ActionChunk, now_s: float) -> ActionChunk:
        old = buffer.plan
        if old is None:
            return new
        # The instant of the change belongs to the plan too, so that it is continuous there.
        times_s = np.union1d(new.times_s, [now_s] if new.times_s[0] - buffer.period_s <= now_s else [])
        times_s = times_s[times_s <= new.times_s[-1]]
        values = np.stack([self._mixed(buffer, old, new, at, now_s) for at in times_s])
        return replace(new, values=values, times_s=times_s)

    def _mixed(
        self, buffer: ChunkBuffer, old: ActionChunk, new: ActionChunk, at_s: float, now_s: float
    ) -> np.ndarray:
        fresh = buffer.sample(new, at_s)
        assert fresh is not None
        before = buffer.sample(old, at_s)
        weight = float(np.clip((at_s - now_s) / self.blend_s, 0.0, 1.0))
        return fresh if before is None else buffer.mixing.between(before, fresh, weight)


class Continue(Blend):
    """For answers that begin with what was committed: the new chunk as it is where it agrees with the old.

    An answer that took longer than was foreseen begins with less than was played; it is faded in.
    """

    def __call__(self, buffer: ChunkBuffer, new: ActionChunk, now_s: float) -> ActionChunk:
        if buffer.plan is None:
            return new
        ours, theirs = buffer.at(now_s), buffer.sample(new, now_s)
        agree = ours is not None and theirs is not None and np.abs(ours - theirs).max() < _SAME
        return new if agree else super().__call__(buffer, new, now_s)
