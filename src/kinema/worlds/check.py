"""Does the expert solve what it claims? One row per body, family and variation.

python -m kinema.worlds.check --episodes 50
python -m kinema.worlds.check --robot panda --family stack --variation color --noise 1.0
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

import numpy as np

from kinema.card.load import card_names, load_card
from kinema.worlds.demonstrate import Noise, demonstrate
from kinema.worlds.experts.expert import Expert
from kinema.worlds.tabletop.env import TabletopEnv, families_for
from kinema.worlds.variation import Variation

_LAYOUT = argparse.RawDescriptionHelpFormatter

CLAIM = 0.95


@dataclass(frozen=True, kw_only=True)
class Row:
    """One body, family and variation. `steps` are the lengths of the solved episodes."""

    robot: str
    family: str
    variation: str
    episodes: int
    steps: tuple[int, ...]

    @property
    def rate(self) -> float:
        return len(self.steps) / self.episodes

    def __str__(self) -> str:
        median, late = np.percentile(self.steps, [50, 95]) if self.steps else (0, 0)
        return (
            f"{self.robot:8} {self.family:14} {self.variation:12} {len(self.steps):4d}/{self.episodes:<4d}"
            f" {100 * self.rate:5.1f} %   steps median {median:3.0f}, 95th percentile {late:3.0f}"
        )


def check(
    robot: str, family: str, variation: str, episodes: int, noise_scale: float = 0.0, first_seed: int = 0
) -> Row:
    """Run the expert without pictures; a success at reset counts as a failure."""
    env = TabletopEnv(card=load_card(robot), family=family, variation=Variation.named(variation))
    expert = Expert(env)
    noise = Noise(scale=noise_scale, share=0.4 if noise_scale else 0.0)
    solved = []
    for seed in range(first_seed, first_seed + episodes):
        env.reset(seed)
        done_at_reset = env.success()
        demo = demonstrate(env, expert, seed, noise, render=False, linger=0)
        if demo.success and not done_at_reset:
            solved.append(len(demo.action))
    env.close()
    return Row(robot=robot, family=family, variation=variation, episodes=episodes, steps=tuple(solved))


def tabletop_robots() -> tuple[str, ...]:
    """Names of the shipped cards that have tabletop families."""
    return tuple(name for name in card_names() if families_for(name))


def main(arguments: list[str] | None = None) -> int:
    """Print the table; returns 1 when a noiseless expert stays under 95 %."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--robot", choices=tabletop_robots(), action="append")
    parser.add_argument("--family", action="append")
    parser.add_argument("--variation", default="seen", help="seen, all, or axes joined by +")
    parser.add_argument("--noise", type=float, default=0.0, help="scale of the disturbance; 1 is standard")
    options = parser.parse_args(arguments)
    short = 0
    for robot in options.robot or tabletop_robots():
        for family in options.family or families_for(robot):
            row = check(robot, family, options.variation, options.episodes, options.noise)
            short += row.rate < CLAIM
            print(row, "" if row.rate >= CLAIM else "  below 95 %", flush=True)
    return int(short > 0 and options.noise == 0.0)


if __name__ == "__main__":
    sys.exit(main())
