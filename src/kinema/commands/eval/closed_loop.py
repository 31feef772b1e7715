"""A policy in training, judged by acting: a few episodes of every task, each time as the same scenes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from kinema.bench.run import RunSettings
from kinema.bench.run import run as judge
from kinema.commands.eval.played import PLAYED, Told
from kinema.commands.policies import bodies_of, policy_factory, tabletop_bodies

_EPISODES = 2
_SEED = 7  # not the default of `kinema eval`, so that what is watched is not what is reported


def closed_loop(folder: Path) -> Callable[[Path], Mapping[str, float]]:
    """A function that lets an artifact act on the bodies it was trained on, and returns what came of it."""
    rounds = count()

    def evaluate(artifact: Path) -> Mapping[str, float]:
        bodies = tuple(name for name in bodies_of(artifact) if name in tabletop_bodies())
        played = PLAYED["tabletop" if bodies else "metaworld"]
        judged = played.judged(Told(policy=str(artifact), episodes=_EPISODES, bodies=bodies))
        settings = RunSettings(
            benchmark=judged.benchmark, policy=policy_factory(str(artifact)), episodes=_EPISODES, seed=_SEED
        )
        out = folder / "evaluations" / f"{next(rounds):03d}"
        results = judge(settings, out, workers=1, quiet=True)
        if errors := sum(group["errors"] for group in results.tasks.values()):
            episodes = sum(group["episodes"] for group in results.tasks.values())
            print(
                f"kinema: {errors} of {episodes} episodes of this evaluation were errors and are in no "
                f"success rate; the causes are in {out}",
                file=sys.stderr,
            )
        return scalars(results.groups)

    return evaluate


def scalars(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """What is logged of an evaluation, by group: success where anything was scored, and the errors.

    `success_with_errors` counts an error as a failure; it stands wherever there was an error.
    """
    found: dict[str, float] = {}
    for name, group in groups.items():
        if group["success_rate"] is not None:
            found[f"success/{name}"] = group["success_rate"]
        found[f"errors/{name}"] = group["errors"]
        if group["errors"]:
            found[f"success_with_errors/{name}"] = group["successes"] / group["episodes"]
    return found
