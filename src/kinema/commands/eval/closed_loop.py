"""A policy in training, judged by acting: a few episodes of every task, each time as the same scenes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from kinema.bench.results import Results
from kinema.bench.run import run as judge
from kinema.bench.settings import RunSettings
from kinema.commands.eval.played import PLAYED, Told, trained_for
from kinema.commands.policies import bodies_of, policy_factory
from kinema.commands.terminal import say_error
from kinema.schema import KinemaError

_EPISODES = 2
_FIRST = 22  # where start states are numbered (LIBERO has 50, SimplerEnv 24): the last that both have
_SEED = 7  # not the default of `kinema eval`, so that what is watched is not what is reported


def closed_loop(folder: Path) -> Callable[[Path], Mapping[str, float]]:
    """A function that lets an artifact act in every benchmark of the bodies it was trained on.

    It returns what is logged, see `scalars`. Where no benchmark has its bodies, or one cannot be played here,
    that is said, and the training goes on.
    """
    evaluations = folder / "evaluations"
    rounds = count(len(list(evaluations.glob("*/"))))  # a run that goes on goes on counting

    def evaluate(artifact: Path) -> Mapping[str, float]:
        out = evaluations / f"{next(rounds):03d}"
        bodies = bodies_of(artifact)
        benchmarks = trained_for(bodies)
        if not benchmarks:
            say_error(f"not judged: no benchmark has {' or '.join(bodies)}")
        found: dict[str, float] = {}
        for name in benchmarks:
            try:
                found |= scalars(name, _judged(name, artifact, out / name).groups)
            except KinemaError as error:
                say_error(f"not judged on {name}: {error}")
        return found

    return evaluate


def _judged(name: str, artifact: Path, out: Path) -> Results:
    played = PLAYED[name]
    judged = played.judged(Told(policy=str(artifact), episodes=_EPISODES, first=_FIRST))
    settings = RunSettings(
        benchmark=judged.benchmark, policy=policy_factory(str(artifact)), episodes=_EPISODES, first=_FIRST,
        seed=_SEED, replan_steps=played.replan_steps,
    )  # fmt: skip
    results = judge(settings, out, workers=1, quiet=True)
    if errors := sum(group["errors"] for group in results.tasks.values()):
        episodes = sum(group["episodes"] for group in results.tasks.values())
        say_error(
            f"{errors} of {episodes} episodes of this evaluation were errors and are in no success rate; "
            f"the causes are in {out}"
        )
    return results


def scalars(benchmark: str, groups: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """What is logged of an evaluation, by group: success where anything was scored, and the errors.

    `success_with_errors` counts an error as a failure; it stands wherever there was an error.
    """
    found: dict[str, float] = {}
    for which, group in groups.items():
        name = f"{benchmark}/{which}"
        if group["success_rate"] is not None:
            found[f"success/{name}"] = group["success_rate"]
        found[f"errors/{name}"] = group["errors"]
        if group["errors"]:
            found[f"success_with_errors/{name}"] = group["successes"] / group["episodes"]
    return found
