"""`kinema reinforce`: a policy goes on from what it tried itself, by success and failure alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kinema.commands.terminal import RAY_HELP, choose, examples, positive, saved_on_interrupt, words, writable
from kinema.schema import KinemaError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kinema.bench.settings import RunSettings
    from kinema.data.batch import Batch

EXAMPLES = examples(
    "kinema reinforce nano --benchmark tabletop --robots panda --tasks panda/push --rounds 10 --workers 2",
    "kinema reinforce nano_metaworld --benchmark metaworld --tasks push-v3,peg-insert-side-v3 --recipe "
    "nano_metaworld --data data",
    "kinema reinforce nano --benchmark tabletop --rule flow_sde --judge-every 2",
)
_SEEDS_OF_A_RUN = 1_000  # at most so many rounds


def reinforce(
    policy: Annotated[
        str, typer.Argument(help="The artifact to begin from: a shipped one's name or a folder.")
    ],
    benchmark: Annotated[str, typer.Option(help="Whose tasks: tabletop, metaworld, libero, aloha, simpler.")],
    out: Annotated[
        Path, typer.Option(help="Folder of the rounds and of the artifact; a stopped run goes on there.")
    ] = Path("runs/reinforced"),
    tasks: Annotated[str, typer.Option(help="Which of its tasks, with commas. Default: all.")] = "",
    robots: Annotated[str, typer.Option(help="tabletop: bodies, with commas.")] = "",
    suites: Annotated[str, typer.Option(help="libero, aloha: suites, with commas.")] = "",
    assets: Annotated[str, typer.Option(help="simpler: the folder of ManiSkill's downloads.")] = "",
    protocol: Annotated[str, typer.Option(help="metaworld: kinema's or lerobot's.")] = "kinema",
    rule: Annotated[
        str,
        typer.Option(help="weighted (flow loss, by what a chunk was worth) or flow_sde (PPO)."),
    ] = "weighted",
    rounds: Annotated[int, typer.Option(help="Of playing and learning.", min=1, max=_SEEDS_OF_A_RUN)] = 10,
    episodes: Annotated[int, typer.Option(help="Of a task in a round.", min=1)] = 32,
    most_steps: Annotated[
        int | None, typer.Option(help="Where an episode ends at the latest. Default: the benchmark's.", min=1)
    ] = None,
    replan: Annotated[
        int | None, typer.Option(help="Steps played of a chunk. Default: as `kinema eval`.", min=1)
    ] = None,
    updates: Annotated[int, typer.Option(help="weighted: steps of learning in a round.", min=1)] = 100,
    epochs: Annotated[int, typer.Option(help="flow_sde: over a round's chunks.", min=1)] = 4,
    lr: Annotated[float, typer.Option(help="Learning rate of the decoder.", callback=positive)] = 5e-5,
    recipe: Annotated[
        str, typer.Option(help="weighted: the recipe that reads demonstrations, for half of every step.")
    ] = "",
    data: Annotated[Path, typer.Option(help="Where that recipe's demonstrations lie.")] = Path("data"),
    judge_every: Annotated[
        int, typer.Option(help="Judge every so many rounds on scenes kept for it; the best is kept.", min=0)
    ] = 0,
    judge_episodes: Annotated[int, typer.Option(help="Of a task, then.", min=1)] = 20,
    seed: Annotated[int, typer.Option(help="Of scenes, noise and order.", min=0)] = 0,
    workers: Annotated[int, typer.Option(help="Processes that play.", min=1)] = 1,
    ray: Annotated[str | None, typer.Option(help=RAY_HELP)] = None,
) -> None:
    """Let a policy try, and make what led to success likelier. Only its decoder changes."""
    from kinema.bench.benchmark import Factory
    from kinema.bench.run import select_tasks
    from kinema.bench.settings import RunSettings
    from kinema.commands.eval.played import PLAYED, Told
    from kinema.commands.policies import artifact_folder, bodies_of
    from kinema.commands.reinforce.page import write_page
    from kinema.train.reinforce.learner import LearnConfig
    from kinema.train.reinforce.loop import ReinforceConfig
    from kinema.train.reinforce.loop import reinforce as go_on

    played = PLAYED[choose("benchmark", benchmark, tuple(PLAYED))]
    folder = artifact_folder(policy)
    config = ReinforceConfig(
        rounds=rounds, seed=seed, judge_every=judge_every,
        learn=LearnConfig(rule=rule, updates=updates, epochs=epochs, lr=lr),  # type: ignore[arg-type]
    )  # fmt: skip
    if recipe and rule != "weighted":
        raise KinemaError("--recipe gives demonstrations, which only --rule weighted learns from")
    judged = played.judged(
        Told(
            policy=str(folder), episodes=episodes, bodies=words(robots), suites=words(suites),
            assets=assets or None, protocol=protocol,
        )
    )  # fmt: skip
    if not set(judged.bodies) & set(bodies_of(folder)):
        raise KinemaError(
            f"{folder} knows {', '.join(bodies_of(folder))}, none of {', '.join(judged.bodies)}"
        )
    select_tasks(judged.benchmark.build(), words(tasks))
    batches = _demonstrations(recipe, data, folder) if recipe else None
    out = writable(out)
    replan_steps = replan or played.replan_steps

    def settings(
        target: str, artifact: Path, where: Path, count: int, number: int, **told: object
    ) -> RunSettings:
        return RunSettings(
            benchmark=judged.benchmark,
            policy=Factory(
                target=f"kinema.model.policy.{target}", arguments={"folder": str(artifact), **told}
            ),
            play=Factory(
                target="kinema.commands.reinforce.trying:Trying",
                arguments={"out": str(where), "most_steps": most_steps},
            ),
            episodes=count, seed=seed * (_SEEDS_OF_A_RUN + 1) + number, seed_rule="of training scenes",
            replan_steps=replan_steps, tasks=words(tasks),
        )  # fmt: skip

    def collect(artifact: Path, number: int, where: Path) -> None:
        trying = "flow_sde" if rule == "flow_sde" else "noise"
        _play(
            settings("explorer:Explorer", artifact, where, episodes, number, trying=trying),
            where,
            workers,
            ray,
        )

    def judge(artifact: Path, number: int, where: Path) -> float:
        kept = settings("act:LocalPolicy", artifact, where, judge_episodes, _SEEDS_OF_A_RUN)
        return _play(kept, where, workers, ray)

    about = {
        "benchmark": benchmark, "tasks": words(tasks), "robots": words(robots), "suites": words(suites),
        "protocol": protocol, "episodes": episodes, "most_steps": most_steps, "replan": replan_steps,
        "recipe": recipe,
    }  # fmt: skip
    with saved_on_interrupt(lambda: f"What was played is in {out}; the same command goes on from there."):
        artifact = go_on(folder, out, config, collect, judge if judge_every else None, batches, about)
    print(f"page:     {write_page(out)}")
    print(f"artifact: {artifact}")
    print(f"judge it: kinema eval {benchmark} --policy {artifact}")


def _play(settings: RunSettings, where: Path, workers: int, ray: str | None) -> float:
    """Play a run's episodes; the rate of success, where errors count as failures."""
    from kinema.bench.run import run

    results = run(settings, where, workers=workers, ray=ray)
    if (errors := results.overall["errors"]) and results.first_error:
        print(f"{errors} episodes ended in an error, such as: {results.first_error['cause']}", flush=True)
    return float(results.overall["published_rate"] or 0.0)


def _demonstrations(name: str, data: Path, start: Path) -> Callable[[int], Batch]:
    """Batches of the recipe's demonstrations, as the policy to start from reads them."""
    from kinema import recipes
    from kinema.data.stream import Feed
    from kinema.train.stage import Setting
    from kinema.train.stages.policy import PolicyStage

    stage = recipes.get(name).stage(Setting(data=data, out=data, init=start))
    if not isinstance(stage, PolicyStage):
        raise KinemaError(f"recipe {name} trains no policy")
    return stage.stream(Feed(batch_size=64)).batch
