"""One demonstrated episode of every world: which expert plays it, and what is kept of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.card.load import load_card
from kinema.commands.data.annotate import told_of
from kinema.schema import Captions
from kinema.worlds.recording import Recording
from kinema.worlds.tabletop.demonstrate import Noise, demonstrate
from kinema.worlds.tabletop.experts.expert import Expert
from kinema.worlds.variation import Variation

FIRST_SEED = 1_000_000  # seeds below are for evaluation
Demonstrate = Callable[..., Recording]  # of a seed and `noise`


@dataclass(frozen=True, kw_only=True)
class Task:
    """One kind of episode of one body.

    world: tabletop, metaworld, libero, aloha, simpler, road, ego or navigation
    noise: how much disturbs it
    """

    world: str
    card: str
    name: str
    noise: float
    image_size: int
    first_seed: int = FIRST_SEED
    policy: str | None = None  # an artifact that acts first; the expert then mends what it left (ACTS_FIRST)
    latency_s: float = 0.0  # the longest that this policy's answers are held back
    look: str = "plain"  # of the tabletop
    protocol: str = "kinema"  # whose sentences and pictures (metaworld)
    assets: str | None = None  # the folder of the world's downloads (simpler)
    views: int = 0  # of the card's cameras, the first so many; 0: all of them


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """One played episode as the writer wants it; arrays as in `Writer.add_episode`.

    captions: None where nobody watched; its recorded numbers are told then
    """

    arrays: Mapping[str, Any]
    success: bool
    captions: Captions | None = None


def play(task: Task, seed: int) -> Recorded:
    """One episode of a task; what its simulator takes long to build is kept for the next."""
    if task.world == "tabletop":
        return _play_tabletop(task, seed)
    if task.world == "metaworld":
        return _play_metaworld(task, seed)
    first = _First(task, seed) if task.policy else None
    demo = _DEMONSTRATED[task.world](task)(seed, noise=task.noise, **({"prelude": first} if first else {}))
    return Recorded(arrays=demo.arrays(), success=demo.success and not (first and first.solved))


def body(task: Task) -> EmbodimentCard:
    """The task's card, with the cameras that are recorded."""
    card = load_card(task.card)
    return card.model_copy(update={"cameras": card.cameras[: task.views]}) if task.views else card


@lru_cache(maxsize=2)
def _road(task: Task) -> Demonstrate:
    from kinema.worlds.road.demonstrate import demonstrate_road
    from kinema.worlds.road.env import RoadEnv

    return partial(demonstrate_road, RoadEnv(goal=task.name, card=body(task), image_size=task.image_size))


@lru_cache(maxsize=2)
def _navigation(task: Task) -> Demonstrate:
    from kinema.worlds.house.demonstrate import demonstrate_house
    from kinema.worlds.house.env import HouseEnv

    return partial(demonstrate_house, HouseEnv(errand=task.name, card=body(task), image_size=task.image_size))


@lru_cache(maxsize=2)
def _tabletop(task: Task) -> Any:
    from kinema.worlds.tabletop.env import TabletopEnv

    return TabletopEnv(
        card=load_card(task.card),
        family=task.name,
        variation=Variation(look=task.look),
        image_size=task.image_size,
    )


def _play_tabletop(task: Task, seed: int) -> Recorded:
    env = _tabletop(task)
    noise = Noise(scale=task.noise, share=0.4 if task.noise else 0.0)
    first = _First(task, seed) if task.policy else None
    demo = demonstrate(env, Expert(env), seed, noise, prelude=first)
    kept = demo.success and not (first and first.solved)
    told = None
    if kept:
        told = told_of(
            env.card,
            demo.instruction,
            state=demo.state,
            executed=demo.executed,
            events=demo.events,
            success=demo.success,
        )
    return Recorded(arrays=demo.arrays(), success=kept, captions=told)


@lru_cache(maxsize=1)
def _policy(folder: str) -> Any:
    from kinema.model.policy.act import LocalPolicy

    return LocalPolicy(Path(folder))


@dataclass(frozen=True, kw_only=True)
class Acting:
    """How a policy acts before the expert does: for how many steps, drawn between, and so many of a chunk."""

    steps: tuple[int, int]
    replan_steps: int


ACTS_FIRST: Mapping[str, Acting] = {
    "tabletop": Acting(steps=(4, 48), replan_steps=8),
    "simpler": Acting(steps=(0, 40), replan_steps=4),
    "navigation": Acting(steps=(0, 40), replan_steps=2),
}


class _First:
    """Lets a task's policy act for a random number of steps (Kelly et al. 2019, HG-DAgger, arXiv 1810.02890).

    solved: what it solved by itself, which teaches nothing new
    """

    def __init__(self, task: Task, seed: int) -> None:
        self._task, self._seed = task, seed
        self.solved = False

    def __call__(self, env: Any) -> None:
        task, how = self._task, ACTS_FIRST[self._task.world]
        assert task.policy is not None
        rng = np.random.default_rng([self._seed, 0x707265])
        steps, latency_s = int(rng.integers(*how.steps)), rng.uniform(0.0, task.latency_s)
        policy = _policy(task.policy)
        policy.reset(self._seed)
        if task.latency_s:
            _act_late(env, policy, steps, latency_s)
            steps = 0
        while steps > 0 and not env.success():
            chunk = policy.infer(env.observe(), task.card)
            for action in chunk.values[: min(how.replan_steps, steps)]:
                env.step(action)
            steps -= how.replan_steps
        self.solved = bool(env.success())


def _act_late(env: Any, policy: Any, steps: int, latency_s: float) -> None:
    """The same through the runtime's control loop, to which every answer comes late."""
    from kinema.runtime.clock import SimulatedClock
    from kinema.runtime.inference import SimulatedInference
    from kinema.runtime.loop import ControlLoop
    from kinema.runtime.robot import Body
    from kinema.runtime.strategy import strategy
    from kinema.worlds.tabletop.simulated_robot import SimulatedRobot

    clock = SimulatedClock()
    robot = SimulatedRobot(env, clock.now_s)
    with Body(env.card, robot) as body:
        inference = SimulatedInference(policy, lambda _: latency_s)
        loop = ControlLoop(body, inference, clock, strategy("in_painting", env.card))
        loop.run(env.instruction, max_steps=steps, done=robot.success)


@lru_cache(maxsize=2)
def _metaworld(task: Task) -> Any:
    from kinema.bench.metaworld.demos import Plan

    return Plan(protocol=task.protocol, size_px=task.image_size).env(task.name)


def _play_metaworld(task: Task, seed: int) -> Recorded:
    from kinema.bench.disturbance import Noise
    from kinema.bench.metaworld.demos import Plan, record

    env = _metaworld(task)
    images, episode = record(env, seed, Plan(noise=Noise(sigma=(0.0, 0.25 * task.noise))))
    arrays = {
        "images": {env.rendering.camera: np.stack(images)},
        "state": episode["state"],
        "action": episode["action"],
        "executed": episode["executed"],
        "points": episode["points"],
        "task": env.instruction,
        "success": np.arange(len(images)) >= episode["success_step"],
    }
    return Recorded(arrays=arrays, success=episode["success_step"] >= 0)


@lru_cache(maxsize=1)
def _libero(task: Task) -> Demonstrate:
    from kinema.bench.libero.benchmark import LiberoBenchmark
    from kinema.bench.libero.demos import demonstrate_libero

    suite, _, _ = task.name.partition("/")
    return partial(
        demonstrate_libero, LiberoBenchmark((suite,), size_px=task.image_size, look="reduced").make(task.name)
    )


@lru_cache(maxsize=2)
def _aloha(task: Task) -> Demonstrate:
    from kinema.bench.aloha.benchmark import AlohaBenchmark
    from kinema.bench.aloha.demos import demonstrate_aloha

    return partial(demonstrate_aloha, AlohaBenchmark(look="reduced").make(f"act/{task.name}"))


@lru_cache(maxsize=1)
def _simpler(task: Task) -> Demonstrate:
    from kinema.bench.simpler.benchmark import SimplerBenchmark
    from kinema.bench.simpler.demos import demonstrate_simpler

    return partial(
        demonstrate_simpler, SimplerBenchmark(assets=task.assets, size_px=task.image_size).make(task.name)
    )


@lru_cache(maxsize=3)
def _ego(task: Task) -> Demonstrate:
    from kinema.worlds.ego.demonstrate import demonstrate_ego
    from kinema.worlds.ego.world import EgoWorld

    return partial(demonstrate_ego, EgoWorld(family=task.name, image_size=task.image_size))


_DEMONSTRATED: Mapping[str, Callable[[Task], Demonstrate]] = {
    "libero": _libero, "aloha": _aloha, "simpler": _simpler, "road": _road,
    "navigation": _navigation, "ego": _ego,
}  # fmt: skip
