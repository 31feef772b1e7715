"""Noise-injected demonstrations: the expert's clean label beside the noisy action that was executed.

For stretches of an episode a temporally correlated disturbance is added to what is executed, as in DART
(Laskey et al. 2017, arXiv 1703.09327), so that the data holds states off the expert's path and the way back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.schema import KinemaError
from kinema.worlds.recording import Recording, record
from kinema.worlds.tabletop.env import TabletopEnv
from kinema.worlds.tabletop.experts.expert import Expert
from kinema.worlds.words.events import Event, Watcher


@dataclass(frozen=True, kw_only=True)
class Noise:
    """The disturbance of executed actions.

    scale: 0 for none, 1 for the standard size: 1.5 cm, 0.05 rad (tool rotation), 0.04 rad (joints)
    share: the share of steps that lie in noisy stretches, on average
    stretch_s: mean length of a noisy stretch
    correlation: of the disturbance over 0.1 s, in [0, 1)
    gripper_flip: probability per noisy stretch that the gripper's command is turned round for it
    """

    scale: float = 1.0
    share: float = 0.4
    stretch_s: float = 0.6
    correlation: float = 0.8
    gripper_flip: float = 0.05

    def __post_init__(self) -> None:
        if not (self.scale >= 0 and 0 <= self.share < 1 and self.stretch_s > 0 and 0 <= self.correlation < 1):
            raise KinemaError(f"noise out of range: {self}")


NO_NOISE = Noise(scale=0.0, share=0.0, gripper_flip=0.0)


@dataclass(frozen=True, kw_only=True)
class Demonstration(Recording):
    """One episode of an expert at the tabletop."""

    card: str
    family: str
    seed: int
    events: tuple[Event, ...]  # what truly happened, by step


class Disturbance:
    """Draws the disturbance of one episode, step by step."""

    def __init__(self, card: EmbodimentCard, noise: Noise, rng: np.random.Generator) -> None:
        self._noise, self._rng = noise, rng
        self._scale = noise.scale * np.array([_standard(channel.unit, card) for channel in card.actions])
        for i, channel in enumerate(card.actions):
            if channel.slot.split(".")[1] == "rot":
                self._scale[i] = 0.05 * noise.scale
        self._fraction = np.array([channel.unit == "fraction" for channel in card.actions])
        self._value = np.zeros(len(card.actions))
        self._left, self._flip = 0, False
        self._stretch = max(1.0, noise.stretch_s * card.control_hz)  # in control steps
        self._keep = noise.correlation ** (10.0 / card.control_hz)

    def apply(self, action: np.ndarray) -> np.ndarray:
        """The action to execute (D,) instead of the clean one."""
        noise, rng = self._noise, self._rng
        if self._left == 0:
            calm = self._stretch * (1 - noise.share) / max(noise.share, 1e-9)
            if noise.share > 0 and rng.random() < 1.0 / max(calm, 1.0):
                self._left = 1 + int(rng.geometric(1.0 / self._stretch))
                self._flip = bool(rng.random() < noise.gripper_flip)
                self._value = rng.standard_normal(len(action))
        if self._left == 0:
            return action
        self._left -= 1
        keep = self._keep
        self._value = keep * self._value + np.sqrt(1 - keep**2) * rng.standard_normal(len(action))
        noisy = action + self._scale * self._value
        if self._flip:
            noisy = np.where(self._fraction, 1.0 - action, noisy)
        return noisy


def _standard(unit: str, card: EmbodimentCard) -> float:
    return {"m": 0.015, "rad": 0.04}.get(unit, 0.0)


def demonstrate(
    env: TabletopEnv,
    expert: Expert,
    seed: int,
    noise: Noise = NO_NOISE,
    *,
    render: bool = True,
    linger: int = 2,
    prelude: Callable[[TabletopEnv], None] | None = None,
) -> Demonstration:
    """Run the expert for one episode from `seed`, until `linger` steps after success or `env.max_steps`.

    `prelude` may act first, unrecorded: the expert then shows the way out of the state it left behind.
    """
    env.reset(seed)
    if prelude is not None:
        prelude(env)
    disturbance = Disturbance(env.card, noise, np.random.default_rng([seed, 0x6E6F69]))
    watcher = Watcher(env)

    def act() -> np.ndarray:
        watcher.look()
        return expert.act()

    def disturb(clean: np.ndarray) -> np.ndarray:
        return env.scene.controller.clamp(disturbance.apply(clean))

    recording = record(env, act, disturb, linger=linger, over=env.over, render=render)
    watcher.look()
    return Demonstration(
        card=env.card.name, family=env.family, seed=seed, events=watcher.events, **vars(recording)
    )


@dataclass
class Tally:
    """How many episodes were tried and how many succeeded."""

    episodes: int = 0
    successes: int = 0

    @property
    def rate(self) -> float:
        return self.successes / self.episodes if self.episodes else 0.0


def demonstrations(
    env: TabletopEnv,
    count: int,
    *,
    first_seed: int = 0,
    noise: Noise = NO_NOISE,
    keep_failures: bool = False,
    tally: Tally | None = None,
) -> Iterator[Demonstration]:
    """Yield `count` demonstrations from seeds `first_seed`, `first_seed + 1`, ...; failures are left out.

    `tally` counts every episode that was tried. Raises KinemaError when fewer than one in four succeeds.
    """
    expert, tally = Expert(env), tally or Tally()
    given, seed = 0, first_seed
    while given < count:
        demo = demonstrate(env, expert, seed, noise)
        seed += 1
        tally.episodes += 1
        tally.successes += demo.success
        if tally.episodes >= 20 and tally.rate < 0.25:
            raise KinemaError(
                f"the {env.family} expert of {env.card.name} solved {tally.successes} of "
                f"{tally.episodes} episodes; noise {noise}"
            )
        if demo.success or keep_failures:
            given += 1
            yield demo
