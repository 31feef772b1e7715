"""`kinema eval long`: tasks of four to eight steps, with a planner and without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from kinema.commands import policies
from kinema.commands.eval.judged import Sitting, finish, play, rates_table, seed_line
from kinema.commands.long_tasks import check_factory, planner_factory
from kinema.commands.terminal import table

MEASURES = ("steps", "steps_done", "tries", "retries", "plans", "claims_success")


def evaluate_long(
    policy: str, planner: str, model: str | None, *, bodies: Sequence[str], tasks: Sequence[str],
    replan: int, sitting: Sitting,
) -> None:  # fmt: skip
    """Play the same scenes every way. Exits with 1 when an episode was an error."""
    from kinema.bench.benchmark import Factory
    from kinema.bench.long.benchmark import WAYS
    from kinema.bench.seeds import seed_of
    from kinema.bench.settings import RunSettings

    bodies = list(bodies or ("panda",))
    acts, plans, checks = (
        policies.policy_factory(policy, bodies),
        planner_factory(planner, model),
        check_factory(),
    )
    ways = [way for way in WAYS if policy != "expert" or way != "whole"]
    drawn = seed_of(sitting.seed, [acts, checks])
    settings = RunSettings(
        benchmark=Factory(
            target="kinema.bench.long.benchmark:LongBenchmark", arguments={"bodies": bodies, "ways": ways}
        ),
        policy=acts,
        play=Factory(
            target="kinema.bench.long.benchmark:LongPlayer",
            arguments={"seed": drawn.value, "planner": asdict(plans), "check": asdict(checks)},
        ),
        episodes=sitting.episodes,
        seed=drawn.value,
        seed_rule=drawn.rule,
        replan_steps=replan,
        tasks=tuple(tasks),
    )
    results = play(settings, sitting)
    print(rates_table([((name,), count) for name, count in results.groups.items()], ("way",)))
    rows = [
        (name, *(f"{count['measures'][m]:.2f}" if m in count["measures"] else "-" for m in MEASURES))
        for name, count in results.groups.items()
    ]
    print(table(rows, ("way", *MEASURES)))
    print(seed_line(results))
    print(f"results: {sitting.out / 'results.json'}")
    finish(sitting.out, results)
