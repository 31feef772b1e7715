"""Does the expert solve what it claims, and does what sees nothing solve nothing?

python -m kinema.worlds.tabletop.check --episodes 50
python -m kinema.worlds.tabletop.check --robot panda --family stack --variation color --noise 1.0
python -m kinema.worlds.tabletop.check --policy random --robot panda --family push
python -m kinema.worlds.tabletop.check --policy walk --robot car
python -m kinema.worlds.tabletop.check --robot panda --family dynamic
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.card.load import card_names, load_card
from kinema.worlds.road.env import RoadEnv
from kinema.worlds.road.goals import GOALS
from kinema.worlds.tabletop import blind
from kinema.worlds.tabletop.demonstrate import Noise, demonstrate
from kinema.worlds.tabletop.env import TabletopEnv, families_for, spelled_out
from kinema.worlds.tabletop.experts.expert import Expert
from kinema.worlds.variation import Variation

CLAIM = 0.95  # of the expert
CHANCE = 0.02  # at most, of what sees nothing
POLICIES = ("expert", "random", *blind.KINDS)
BLIND_SEED = 600_000  # where the episodes of blind motion begin
_OTHER_WORLDS: dict[str, tuple[str, ...]] = {"car": GOALS, "human_hand": ("pick_place", "push", "button")}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One body, family and variation. `steps` are the lengths of the solved episodes."""

    robot: str
    family: str
    variation: str
    episodes: int
    steps: tuple[int, ...]
    policy: str = "expert"

    @property
    def rate(self) -> float:
        return len(self.steps) / self.episodes

    @property
    def ok(self) -> bool:
        return self.rate >= CLAIM if self.policy == "expert" else self.rate <= CHANCE

    def __str__(self) -> str:
        median, late = np.percentile(self.steps, [50, 95]) if self.steps else (0, 0)
        bar = "" if self.ok else "  below 95 %" if self.policy == "expert" else "  above 2 %"
        return (
            f"{self.policy:8} {self.robot:12} {self.family:14} {self.variation:12}"
            f" {len(self.steps):4d}/{self.episodes:<4d} {100 * self.rate:5.1f} %"
            f"   steps median {median:3.0f}, 95th percentile {late:3.0f}{bar}"
        )


def check(
    robot: str | EmbodimentCard,
    family: str,
    variation: str,
    episodes: int,
    noise_scale: float = 0.0,
    first_seed: int = 0,
) -> Row:
    """Run the expert without pictures; a success at reset counts as a failure."""
    card = load_card(robot) if isinstance(robot, str) else robot
    env = TabletopEnv(card=card, family=family, variation=Variation.named(variation))
    expert = Expert(env)
    noise = Noise(scale=noise_scale, share=0.4 if noise_scale else 0.0)
    solved = []
    for seed in range(first_seed, first_seed + episodes):
        env.reset(seed)
        done_at_reset = env.holds()
        demo = demonstrate(env, expert, seed, noise, render=False, linger=0)
        if demo.success and not done_at_reset:
            solved.append(len(demo.action))
    env.close()
    return Row(robot=card.name, family=family, variation=variation, episodes=episodes, steps=tuple(solved))


def check_blind(
    robot: str | EmbodimentCard,
    family: str,
    policy: str,
    episodes: int,
    first_seed: int = BLIND_SEED,
    variation: str = "seen",
) -> Row:
    """How often motion that sees nothing reaches the goal, without pictures."""
    env = _world(robot, family, variation)
    solved = []
    for seed in range(first_seed, first_seed + episodes):
        env.reset(seed)
        motion = blind.Blind(env.card, policy, env.state(), seed)
        steps = play(env, motion.act)
        if env.success():
            solved.append(steps)
    env.close()
    return Row(
        robot=env.card.name,
        family=family,
        variation=variation,
        episodes=episodes,
        steps=tuple(solved),
        policy=policy,
    )


def play(env: TabletopEnv | RoadEnv, act: Callable[[], np.ndarray]) -> int:
    """Act until success, or the end; how many steps it took."""
    for step in range(env.max_steps):
        if env.success() or env.over():
            return step
        env.step(act())
    return env.max_steps


def _world(robot: str | EmbodimentCard, family: str, variation: str) -> TabletopEnv | RoadEnv:
    told = Variation.named(variation)
    if robot == "car":
        return RoadEnv(goal=family, variation=told, image_size=16)
    if robot == "human_hand":
        from kinema.worlds.hand.stage import HandWorld

        return HandWorld(family=family, variation=told)
    card = load_card(robot) if isinstance(robot, str) else robot
    return TabletopEnv(card=card, family=family, variation=told)


def tabletop_robots() -> tuple[str, ...]:
    """Names of the shipped cards that have tabletop families."""
    return tuple(name for name in card_names() if families_for(name))


def goals_of(robot: str) -> tuple[str, ...]:
    """The families, or goals, that a body has in its world."""
    return _OTHER_WORLDS[robot] if robot in _OTHER_WORLDS else families_for(robot)


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns 1 when the expert stays under 95 % or blind motion gets above 2 %."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--robot", action="append", help="a shipped body, car, human_hand, or a card's file")
    parser.add_argument("--family", action="append")
    parser.add_argument("--first-seed", type=int, default=BLIND_SEED, help="of the episodes of blind motion")
    parser.add_argument("--variation", default="seen", help="seen, all, or axes joined by +")
    parser.add_argument("--noise", type=float, default=0.0, help="scale of the disturbance; 1 is standard")
    parser.add_argument(
        "--policy", choices=POLICIES, default="expert", help="random: uniform, walk and drift"
    )
    options = parser.parse_args(arguments)
    policies = ("uniform", "walk", "drift") if options.policy == "random" else (options.policy,)
    short = 0
    for robot in options.robot or tabletop_robots():
        robot = robot if robot in _OTHER_WORLDS else load_card(robot).name
        for family in spelled_out(robot, options.family or goals_of(robot)):
            for policy in policies:
                if policy == "expert":
                    row = check(robot, family, options.variation, options.episodes, options.noise)
                else:
                    row = check_blind(
                        robot, family, policy, options.episodes, options.first_seed, options.variation
                    )
                short += not row.ok
                print(row, flush=True)
    return int(short > 0 and options.noise == 0.0)


if __name__ == "__main__":
    sys.exit(main())
