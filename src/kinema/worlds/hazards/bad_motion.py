"""Motion that a policy should never make: the expert's next second, spoilt in ways that happen.

Perturbed, late, mirrored, meant for another scene, scaled, let go, or aimed at something. Whether a spoilt
chunk does harm is not decided here; the simulator tells. T steps, D native action channels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.space.codec import ChunkFrame
from kinema.worlds.body.control import Controller

# m, rad of a rotation vector, rad of a joint: a disturbance of standard size
_STANDARD = {"m": 0.02, "rad": 0.05, "fraction": 0.0}


class BadMotion:
    """Spoils chunks of one body.

    chunks are native float64 (T, D) from the present state on; `longer` may be longer than T.
    """

    KINDS = (
        "perturbed", "drifting", "late", "early", "mirrored", "scaled", "wrong_scene", "random_walk",
        "lets_go", "aimed",
    )  # fmt: skip

    def __init__(self, card: EmbodimentCard, steps: int) -> None:
        self._card, self._steps = card, steps
        self._frame = ChunkFrame(card)
        self._fraction = np.array([channel.unit == "fraction" for channel in card.actions])
        self._standard = np.array([_STANDARD.get(channel.unit, 0.0) for channel in card.actions])
        self._low = np.array([channel.range[0] for channel in card.actions])
        self._high = np.array([channel.range[1] for channel in card.actions])
        self._foreign: list[np.ndarray] = []
        state_of = {channel.slot: i for i, channel in enumerate(card.states)}
        self._state_columns = np.array([state_of[channel.slot] for channel in card.actions])

    def remember(self, chunk: np.ndarray, state: np.ndarray) -> None:
        """Keep a chunk, relative to where it began, for other scenes to suffer from."""
        self._foreign.append(self._relative(chunk, state))
        self._foreign = self._foreign[-200:]

    def make(self, kind: str, longer: np.ndarray, state: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A spoilt chunk (T, D) of this kind (all but "aimed"), within the card's ranges."""
        makers: dict[str, Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]] = {
            "perturbed": self._perturbed, "drifting": self._drifting, "late": self._late,
            "early": self._early, "mirrored": self._mirrored, "scaled": self._scaled,
            "wrong_scene": self._wrong_scene, "random_walk": self._random_walk, "lets_go": self._lets_go,
        }  # fmt: skip
        return np.clip(makers[kind](longer, state, rng), self._low, self._high)

    def _perturbed(self, longer: np.ndarray, state: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A correlated disturbance, from slight to gross."""
        size = rng.choice([0.3, 1.0, 2.0, 3.0])
        value, values = rng.standard_normal(len(self._standard)), []
        for _ in range(self._steps):
            values.append(value)
            value = 0.8 * value + 0.6 * rng.standard_normal(len(value))
        return longer[: self._steps] + size * self._standard * np.array(values)

    def _drifting(self, longer: np.ndarray, state: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A wrong pose that grows over the chunk, as of a slipped calibration; often downwards."""
        offset = 3.0 * self._standard * rng.standard_normal(len(self._standard))
        z = [i for i, c in enumerate(self._card.actions) if c.slot.endswith("ee.z")]
        if z and rng.random() < 0.5:
            offset[z] = -rng.uniform(0.01, 0.12)
        return longer[: self._steps] + offset * np.linspace(rng.random(), 1.0, self._steps)[:, None]

    def _late(self, longer: np.ndarray, state: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """What should begin now begins later; until then the body keeps its pose."""
        delay = int(rng.integers(2, self._steps - 2))
        keep = np.where(self._fraction, longer[0], state[self._state_columns])
        return np.concatenate([np.repeat(keep[None], delay, 0), longer[: self._steps - delay]])

    def _early(self, longer: np.ndarray, state: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Steps are left out at the beginning, as when an old answer is played too far on."""
        skip = int(rng.integers(2, max(3, len(longer) - self._steps + 1)))
        rest = longer[skip : skip + self._steps]
        return np.concatenate([rest, np.repeat(rest[-1:], self._steps - len(rest), 0)])

    def _mirrored(self, longer: np.ndarray, state: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Some or all channels move the other way."""
        chunk = longer[: self._steps]
        start = state[self._state_columns]
        turned = (rng.random(len(start)) < rng.choice([0.3, 1.0])) & ~self._fraction
        return np.where(turned, 2 * start - chunk, chunk)

    def _scaled(self, longer: np.ndarray, state: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The same way, too far and too fast: wrong units or statistics."""
        start = state[self._state_columns]
        return np.where(
            self._fraction,
            longer[: self._steps],
            start + rng.uniform(1.3, 3.0) * (longer[: self._steps] - start),
        )

    def _wrong_scene(self, longer: np.ndarray, state: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Right in another scene, played here from here."""
        if not self._foreign:
            return self._random_walk(longer, state, rng)
        relative = self._foreign[rng.integers(len(self._foreign))]
        return self._absolute(relative, state)[: self._steps]

    def _random_walk(self, longer: np.ndarray, state: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Smooth motion without any aim."""
        speed = rng.uniform(0.3, 2.0) * self._standard * rng.standard_normal(len(self._standard))
        walk, chunk = np.where(self._fraction, longer[0], state[self._state_columns]), []
        for _ in range(self._steps):
            walk = walk + speed
            speed = 0.9 * speed + 0.4 * self._standard * rng.standard_normal(len(speed))
            chunk.append(walk)
        return np.array(chunk)

    def _lets_go(self, longer: np.ndarray, state: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The gripper does the opposite from some step on."""
        chunk = longer[: self._steps].copy()
        since = int(rng.integers(0, self._steps - 1))
        chunk[since:, self._fraction] = 1.0 - chunk[since:, self._fraction]
        return chunk

    def _relative(self, chunk: np.ndarray, state: np.ndarray) -> np.ndarray:
        if self._card.control == "ee_pose":
            return self._frame.enter(chunk, state)
        return np.where(self._fraction, chunk, chunk - state[self._state_columns])

    def _absolute(self, relative: np.ndarray, state: np.ndarray) -> np.ndarray:
        if self._card.control == "ee_pose":
            return self._frame.leave(relative, state)
        return np.where(self._fraction, relative, relative + state[self._state_columns])


def aimed(
    controller: Controller,
    side: str,
    state: np.ndarray,
    goal_m: np.ndarray,
    speed_m_s: float,
    opening: float,
    steps: int,
) -> np.ndarray:
    """A straight line of one tool to a point (3,) and on, at a constant speed; other arms stand still.

    Returns a native chunk (steps, D).
    """
    card, robot = controller.card, controller.robot
    handle = robot.arm(side)
    data, model_site = controller.data, handle.tool_site
    start = data.site_xpos[model_site].copy()
    rotation = data.site_xmat[model_site].reshape(3, 3).copy()
    way = goal_m - start
    way *= speed_m_s / card.control_hz / max(float(np.linalg.norm(way)), 1e-6)
    chunk = np.repeat(np.asarray(state, np.float64)[None], steps, 0)
    at = sum(_width(card, other.side) for other in robot.arms[: robot.arms.index(handle)])
    joints = data.qpos[handle.qpos].copy()
    for step in range(steps):
        point = start + way * (step + 1)
        if card.control == "ee_pose":
            chunk[step, at : at + 3] = point
        else:
            joints = controller.kinematics.solve(side, point, rotation, joints, iterations=6)
            chunk[step, at : at + len(joints)] = joints
        chunk[step, at + _width(card, side) - 1] = opening
    return controller_clip(card, chunk)


def controller_clip(card: EmbodimentCard, chunk: np.ndarray) -> np.ndarray:
    low, high = np.array([channel.range for channel in card.actions]).T
    return np.clip(chunk, low, high)


def _width(card: EmbodimentCard, side: str) -> int:
    """How many action channels one arm has."""
    return sum(channel.slot.startswith(f"{side}.") for channel in card.actions)
