"""`kinema eval planning`: tidying up with the plain sentence and with imagined sub-instructions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from kinema.commands import policies
from kinema.commands.eval.judged import Sitting, finish, play, rates_table, seed_line
from kinema.commands.imagine.dream import ORACLE


def evaluate_planning(
    policy: str, imagines: str, *, bodies: Sequence[str], replan: int, sitting: Sitting
) -> None:
    """Play the same scenes both ways; imagines: `oracle`, `shipped` or a world artifact's folder.

    Exits with 1 when an episode was an error.
    """
    from kinema.bench.benchmark import Factory
    from kinema.bench.seeds import seed_of
    from kinema.bench.settings import RunSettings

    bodies = list(bodies or ("panda",))
    acts, foresees = policies.policy_factory(policy, bodies), []
    arguments: dict[str, Any] = {}
    if imagines != ORACLE:
        from kinema.commands.eval.eval_world import eyes_factory, imagines_factory

        foresees = [imagines_factory(imagines)]
        arguments |= {"imagines": asdict(foresees[0]), "eyes": asdict(eyes_factory())}
    drawn = seed_of(sitting.seed, [acts, *foresees])
    settings = RunSettings(
        benchmark=Factory(
            target="kinema.bench.world.planning:PlanningBenchmark", arguments={"bodies": bodies}
        ),
        policy=acts,
        play=Factory(
            target="kinema.bench.world.planning:PlanningPlayer", arguments={"seed": drawn.value, **arguments}
        ),
        episodes=sitting.episodes,
        seed=drawn.value,
        seed_rule=drawn.rule,
        replan_steps=replan,
    )
    results = play(settings, sitting)
    ways = {name: count for name, count in results.groups.items() if count["kind"] == "way"}
    print(rates_table([((name,), count) for name, count in ways.items()], ("way",)))
    print(seed_line(results))
    print(f"results: {sitting.out / 'results.json'}")
    finish(sitting.out, results)
