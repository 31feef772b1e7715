"""`kinema train`: run a recipe, from data to an artifact."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kinema.commands.terminal import examples, saved_on_interrupt
from kinema.commands.train.budget import Options
from kinema.schema import KinemaError

if TYPE_CHECKING:
    from kinema.recipes.recipe import Recipe
    from kinema.train.run import TrainConfig

EXAMPLES = examples(
    "kinema train debug --out runs/debug",
    "kinema train nano_tabletop --data data --minutes 60 --evaluate-every 2000",
    "kinema train nano_tabletop --resume",
)
_EVALUATION_SEED = 7  # not the default of `kinema eval`, so that what is watched is not what is reported


def train(
    recipe: Annotated[
        str,
        typer.Argument(help="The recipe: debug, nano_tabletop, nano_metaworld, nano_gate, nano_world, ..."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the checkpoint, logs and artifact. Default: runs/<recipe>.")
    ] = None,
    data: Annotated[Path, typer.Option(help="Folder below which the recipe looks for its data.")] = Path(
        "data"
    ),
    steps: Annotated[int | None, typer.Option(help="Steps, instead of the recipe's.", min=1)] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Train for this long instead of by steps.", min=0.01)
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint in the folder.")
    ] = False,
    init: Annotated[Path | None, typer.Option(help="Start from this artifact's weights.")] = None,
    device: Annotated[
        str, typer.Option(help="cpu, or what torch sees here: cuda, cuda:1, mps, xpu.")
    ] = "cpu",
    precision: Annotated[
        str, typer.Option(help="auto (bf16 where the device has units for it), fp32 or bf16.")
    ] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads of each process.", min=1)] = 1,
    processes: Annotated[
        int, typer.Option(help="Processes that share every batch; on two free cores 2 is fastest.", min=1)
    ] = 1,
    lr_scale: Annotated[
        float,
        typer.Option(help="Scales the recipe's learning rates; below 1 to go on from --init.", min=1e-4),
    ] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, order and noise.", min=0)] = None,
    most_clipped: Annotated[
        float,
        typer.Option(
            help="Share of a channel's targets that the statistics of --init may clip.", min=0, max=1
        ),
    ] = 0.1,
    cache: Annotated[
        Path | None,
        typer.Option(help="Folder of decoded pictures. Default: KINEMA_CACHE, else in the data sets."),
    ] = None,
    evaluate_every: Annotated[
        int, typer.Option(help="Act in the worlds every so many steps, and log the success; 0 never.", min=0)
    ] = 0,
) -> None:
    """Train a policy and write its artifact: weights, cards, statistics, tokenizer, example, provenance."""
    from kinema import recipes
    from kinema.bench.provenance import source_commit
    from kinema.train.run import run
    from kinema.train.stop import STOPPING

    # a run in the background ignores Ctrl-C and gets SIGTERM; both must leave a checkpoint behind
    for number in STOPPING:
        if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    folder = out or Path("runs") / recipe
    if cache is not None:
        os.environ["KINEMA_CACHE"] = str(cache)
    options = Options(
        steps=steps, minutes=minutes, device=device, precision=precision, resume=resume, threads=threads,
        processes=processes,
    )  # fmt: skip
    if (folder / "checkpoint").exists() and not resume:
        raise KinemaError(f"{folder} holds a run; add --resume to go on with it, or choose another --out")
    if recipe in (*recipes.GATES, *recipes.INVERSES, *recipes.WORLDS, *recipes.DETECTORS):
        _refuse_options_of_policies(
            recipe,
            init=init,
            processes=processes,
            lr_scale=lr_scale,
            seed=seed,
            evaluate_every=evaluate_every,
        )
        _train_another(recipe, options, data=data, out=folder, init=init)
        return
    chosen = recipes.get(recipe)
    config = _config(chosen, options, seed=seed)
    optim = config.loop.optim.scaled(lr_scale)
    loop = replace(config.loop, evaluate_every=evaluate_every, optim=optim)
    config = replace(config, loop=loop, most_clipped=most_clipped)
    print(f"recipe {chosen.name}: {chosen.summary}")
    sources = chosen.sources(data)
    with saved_on_interrupt(lambda: f"The checkpoint is in {folder}; --resume goes on from there."):
        artifact = run(
            config,
            sources,
            folder,
            resume=resume,
            init=init,
            evaluate=_closed_loop(folder) if evaluate_every else None,
            commit=source_commit(),
        )
    print(f"artifact:    {artifact}")
    print(f"tensorboard: tensorboard --logdir {folder / 'tensorboard'}")


def _refuse_options_of_policies(
    recipe: str, *, init: Path | None, processes: int, lr_scale: float, seed: int | None,
    evaluate_every: int,
) -> None:  # fmt: skip
    """Raise KinemaError when an option is given that this kind of recipe would not heed."""
    from kinema import recipes

    given = {
        "--init": init is not None and recipe not in recipes.STARTED,
        "--processes": processes != 1 and recipe not in recipes.WORLDS,
        "--lr-scale": lr_scale != 1.0,
        "--seed": seed is not None,
        "--evaluate-every": evaluate_every != 0,
    }
    if names := [name for name, is_given in given.items() if is_given]:
        raise KinemaError(f"{', '.join(names)}: not for {recipe}, which would not heed it; policies do")


def _train_another(recipe: str, options: Options, *, data: Path, out: Path, init: Path | None) -> None:
    """Train what is no policy: a gate, a reader or a judge of films, a part of a world model."""
    from kinema import recipes

    if recipe in recipes.GATES:
        from kinema.commands.train.train_gate import train_gate

        print(f"gate: {train_gate(recipes.GATES[recipe](), options, data=data, out=out)}")
    elif recipe in recipes.INVERSES:
        from kinema.commands.train.train_inverse import train_inverse

        train_inverse(recipes.INVERSES[recipe](), options, data=data, out=out)
    elif recipe in recipes.DETECTORS:
        from kinema.commands.train.train_detector import train_detector

        train_detector(recipes.DETECTORS[recipe](), options, data=data, out=out)
    else:
        _world(recipe, options, data=data, out=out, init=init)


def _world(recipe: str, options: Options, *, data: Path, out: Path, init: Path | None) -> None:
    from kinema.commands.train.train_scene2robot import train_scene2robot
    from kinema.commands.train.train_world import train_vae, train_world
    from kinema.recipes.scene2robot import nano_scene2robot, nano_scene2robot_vae
    from kinema.recipes.world import nano_vae, nano_world, nano_world_text

    there: dict[str, Any] = dict(data=data, out=out)
    trainings: dict[str, Callable[[], Path]] = {
        "nano_vae": lambda: train_vae(nano_vae(), options, init=init, **there),
        "nano_world": lambda: train_world(nano_world(), options, init=init, **there),
        "nano_world_text": lambda: train_world(nano_world_text(), options, init=init, **there),
        "nano_scene2robot_vae": lambda: train_vae(nano_scene2robot_vae(), options, init=init, **there),
        "nano_scene2robot": lambda: train_scene2robot(nano_scene2robot(), options, **there),
    }
    print(f"{recipe}: {trainings[recipe]()}")


def _config(recipe: Recipe, options: Options, *, seed: int | None) -> TrainConfig:
    loop = options.of(recipe.train.loop)
    if seed is not None:
        loop = replace(loop, seed=seed)
    return replace(recipe.train, loop=loop, threads=options.threads, processes=options.processes)


def _closed_loop(folder: Path) -> Callable[[Path], Mapping[str, float]]:
    """A function that lets an artifact act on the bodies it was trained on, and returns what came of it."""
    from itertools import count

    from kinema.bench.benchmark import Factory
    from kinema.bench.run import RunSettings
    from kinema.bench.run import run as judge
    from kinema.commands.policies import bodies_of, policy_factory, tabletop_bodies

    rounds = count()

    def evaluate(artifact: Path) -> Mapping[str, float]:
        known = bodies_of(artifact)
        bodies = [name for name in known if name in tabletop_bodies()]
        if bodies:
            benchmark = Factory(
                target="kinema.bench.tabletop:TabletopBenchmark", arguments={"bodies": bodies}
            )
        else:
            benchmark = Factory(target="kinema.bench.metaworld.benchmark:MetaworldBenchmark")
        settings = RunSettings(
            benchmark=benchmark, policy=policy_factory(str(artifact)), episodes=2, seed=_EVALUATION_SEED
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
