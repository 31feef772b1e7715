"""`kinema eval planning`: tidying up with the plain sentence and with imagined sub-instructions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kinema.commands import policies
from kinema.commands.dream import ORACLE
from kinema.commands.terminal import saved_on_interrupt, table


def evaluate_planning(
    policy: str, imagines: str, *, bodies: Sequence[str], episodes: int, seed: int, replan: int, workers: int,
    out: Path,
) -> None:  # fmt: skip
    """Play the same scenes both ways; imagines: `oracle`, `shipped` or a world artifact's folder."""
    from kinema.bench.benchmark import Factory
    from kinema.bench.run import run
    from kinema.bench.settings import RunSettings

    bodies = list(bodies or ("panda",))
    arguments: dict[str, Any] = {"seed": seed}
    if imagines != ORACLE:
        from kinema.commands.eval_world import eyes_factory, imagines_factory

        arguments |= {"imagines": asdict(imagines_factory(imagines)), "eyes": asdict(eyes_factory())}
    settings = RunSettings(
        benchmark=Factory(target="kinema.bench.planning:PlanningBenchmark", arguments={"bodies": bodies}),
        policy=policies.policy_factory(policy, bodies),
        play=Factory(target="kinema.bench.planning:PlanningPlayer", arguments=arguments),
        episodes=episodes,
        seed=seed,
        replan_steps=replan,
    )
    with saved_on_interrupt(lambda: f"Finished episodes are in {out}; the same command goes on from there."):
        results = run(settings, out, workers=workers)
    rows = []
    for name, count in results.groups.items():
        if count["kind"] == "way":
            low, high = count["ci95"]
            rate = "-" if count["success_rate"] is None else f"{count['success_rate']:.1%}"
            rows.append(
                (name, rate, f"{low:.1%} to {high:.1%}", str(count["episodes"]), str(count["errors"]))
            )
    print(table(rows, ("way", "success", "95 % interval", "episodes", "errors")))
    print(f"results: {out / 'results.json'}")
