"""`kinema data make hazards`: labelled chunks for the gate, in shards that a stopped run goes on from."""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from kinema.card.load import load_card
from kinema.data.hazards import write_shard
from kinema.schema import KinemaError, Observation, Question

# One range of seeds per purpose; what is judged uses seeds below a million, as everywhere.
FIRST_SEEDS = {"train": 3_000_000, "calibration": 2_000_000, "test": 700_000}
EPISODES_PER_SHARD = 14
_FIRST_SCENE, _EPISODES_TO_LOOK_AT = 3_500_000, 60
BODIES = ("panda", "ur5e", "aloha")


def make_hazards(
    out: Path, *, part: str, rounds: int, policy: Path | None = None, minutes: float | None = None,
    bodies: tuple[str, ...] = BODIES, first_seed: int | None = None,
) -> int:  # fmt: skip
    """Fill `out/part/<body>` with shards 0 ... rounds - 1, leaving out what is there; returns new samples.

    policy: an artifact whose proposals are judged beside the made-up chunks. Raises KinemaError.
    first_seed: where the scenes begin; default: the usual place of this part
    """
    if part not in FIRST_SEEDS:
        raise KinemaError(f"unknown part {part!r}; choices: {', '.join(FIRST_SEEDS)}")
    most = 100 if part == "train" else 3
    end, made = time.monotonic() + 60 * (minutes or 1e9), 0
    jobs = [(number, body) for number in range(rounds) for body in bodies]
    with tqdm(total=len(jobs), unit="shard") as bar:
        for number, body in jobs:
            first = (FIRST_SEEDS[part] if first_seed is None else first_seed) + number * EPISODES_PER_SHARD
            path = out / part / body / f"{first}.npz"
            if not path.exists() and time.monotonic() < end:
                samples = _play(body, range(first, first + EPISODES_PER_SHARD), most, policy)
                if samples:
                    write_shard(path, samples)
                made += len(samples)
            bar.set_postfix(samples=made)
            bar.update()
    return made


def make_scenes(out: Path, *, rounds: int, bodies: tuple[str, ...] = BODIES) -> int:
    """Fill `out/scenes/<body>` with scenes to look at, several times as many as labelled ones."""
    from kinema.worlds.hazards.data import looks
    from kinema.worlds.tabletop.env import families_for

    made = 0
    for number in tqdm(range(rounds), unit="shard"):
        for body in bodies:
            first = _FIRST_SCENE + number * _EPISODES_TO_LOOK_AT
            path = out / "scenes" / body / f"{first}.npz"
            if path.exists():
                continue
            families = families_for(body)
            seeds = range(first, first + _EPISODES_TO_LOOK_AT)
            found = [s for seed in seeds for s in looks(_env(body, families[seed % len(families)]), seed)]
            write_shard(path, found)
            made += len(found)
    return made


def _play(body: str, seeds: range, most: int, policy: Path | None) -> list[dict[str, Any]]:
    from kinema.worlds.hazards.data import samples
    from kinema.worlds.tabletop.env import families_for

    families = families_for(body)
    propose = _proposals(policy, body) if policy else None
    found = []
    for seed in seeds:
        env = _env(body, families[seed % len(families)])
        found += [vars(s) for s in samples(env, _bad(body), seed, most=most, propose=propose)]
    return found


@lru_cache(maxsize=32)
def _env(body: str, family: str) -> Any:
    from kinema.worlds.hazards.env import HazardEnv

    return HazardEnv(card=load_card(body), family=family)


@lru_cache
def _bad(body: str) -> Any:
    from kinema.worlds.hazards.bad_motion import BadMotion
    from kinema.worlds.hazards.data import STEPS

    return BadMotion(load_card(body), STEPS)


@lru_cache
def _policy(folder: Path) -> Any:
    from kinema.model.policy.act import LocalPolicy

    return LocalPolicy(folder)


def _proposals(folder: Path, body: str) -> Any:
    def propose(observation: Observation, seed: int) -> np.ndarray:
        question = Question(observation=observation, card=body, noise_seed=seed)
        return np.stack([chunk.values for chunk in _policy(folder).propose([question], 2)[0]])

    return propose
