"""`kinema data make`: demonstrations by scripted experts, and labelled pictures and chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kinema.commands.policies import bodies_in, bodies_of
from kinema.commands.rendering import require_rendering
from kinema.commands.terminal import (
    RAY_HELP,
    choose,
    examples,
    finite,
    refuse_unheeded,
    saved_on_interrupt,
    words,
    writable,
)
from kinema.schema import KinemaError

if TYPE_CHECKING:
    from kinema.commands.data.play import Task

HEEDED = {  # of the options that not every world heeds
    "tabletop": (
        "robots",
        "families",
        "noise",
        "image_size",
        "policy",
        "look",
        "latency_ms",
        "first_seed",
        "workers",
        "ray",
    ),
    "metaworld": ("families", "noise", "image_size", "raw", "workers", "ray"),
    "libero": ("families", "noise", "workers"),
    "aloha": ("families", "noise", "workers", "ray"),
    "simpler": ("families", "noise", "assets", "workers"),
    "hazards": ("robots", "policy"),
    "human": ("robots", "families", "image_size", "first_seed"),
    "looks": ("robots",),
    "road": ("families", "noise", "image_size", "views", "workers", "ray"),
}
WORLDS = tuple(HEEDED)
IMAGE_SIZE_PX = 96  # of the worlds that are ours


EXAMPLES = examples(
    "kinema data make tabletop --robots panda,ur5e --episodes 50 --workers 2 --out data/tabletop",
    "kinema data make tabletop --look wide --episodes 50 --image-size 128 --out data/wide",
    "kinema data make metaworld --families reach-v3 --episodes 50 --out data/metaworld",
    "kinema data make libero --families object,spatial/0 --episodes 50 --workers 2 --out data/libero",
    "kinema data make aloha --episodes 50 --workers 2 --out data/aloha",
    "kinema data make simpler --families stack_cube --episodes 50 --out data/simpler",
    "kinema data make hazards --episodes 600 --out data/hazards",
    "kinema data make looks --episodes 60 --out data/looks",
    "kinema data make road --episodes 50 --views 2 --out data/road",
    "kinema data make human --robots panda,ur5e --episodes 60 --out data/human",
)


def make(
    ctx: typer.Context,
    world: Annotated[str, typer.Argument(help=f"Which world: {' or '.join(WORLDS)}.")],
    out: Annotated[
        Path, typer.Option(help="Folder of the data sets, one per body; a stopped run goes on there.")
    ],
    episodes: Annotated[
        int, typer.Option(help="Successful episodes per body and family (or task).", min=1)
    ] = 50,
    robots: Annotated[str, typer.Option(help="tabletop: bodies, with commas.")] = "panda,ur5e,aloha",
    families: Annotated[
        str,
        typer.Option(
            help="Families, tasks of Meta-World, ALOHA or SimplerEnv, LIBERO's suites or tasks. Default: all."
        ),
    ] = "",
    assets: Annotated[
        str, typer.Option(help="simpler: the folder of ManiSkill's downloads. Default: its own.")
    ] = "",
    noise: Annotated[
        float, typer.Option(help="Disturbance of what is executed; 0 none, 1 usual.", min=0, callback=finite)
    ] = 1.0,
    image_size: Annotated[
        int | None, typer.Option(help="Pixels of a side. Default: 96, metaworld 128.", min=16, max=1024)
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(help="tabletop: this artifact acts first, then the expert mends what it left (DAgger)."),
    ] = None,
    latency_ms: Annotated[
        int, typer.Option(help="tabletop: that policy's answers come up to so much late.", min=0, max=1000)
    ] = 0,
    look: Annotated[
        str, typer.Option(help="tabletop: plain, or wide for things, words and rooms of all kinds.")
    ] = "plain",
    raw: Annotated[
        bool, typer.Option("--raw", help="metaworld: raw arrays, every second picture: for nano_metaworld.")
    ] = False,
    first_seed: Annotated[
        int, typer.Option(help="tabletop: the first scene; another round wants other scenes.", min=1_000_000)
    ] = 1_000_000,
    views: Annotated[int, typer.Option(help="road: how many of the car's cameras.", min=1, max=3)] = 3,
    workers: Annotated[int, typer.Option(help="Processes. The data do not depend on it.", min=1)] = 1,
    ray: Annotated[str | None, typer.Option(help=RAY_HELP)] = None,
) -> None:
    """Let scripted experts demonstrate and record it; labels stay clean where noise disturbs the motion."""
    choose("world", world, WORLDS)
    refuse_unheeded(ctx, world, HEEDED)
    require_rendering()
    from kinema.commands.data.make import make as record
    from kinema.worlds.variation import LOOKS

    writable(out)
    if world == "hazards":
        _make_hazards(out, episodes=episodes, bodies=bodies_in(robots), policy=policy)
        return
    if world == "human":
        size = image_size or IMAGE_SIZE_PX
        _make_human(out, bodies_in(robots), words(families), episodes, size, first_seed)
        return
    if world == "looks":
        _make_looks(out, episodes=episodes, bodies=bodies_in(robots))
        return
    names = words(families)
    if raw:
        _make_raw(names, out, episodes=episodes, noise=noise, size_px=image_size, workers=workers, ray=ray)
        return
    if world == "road":
        tasks = _road_tasks(names, noise, image_size or IMAGE_SIZE_PX, views)
    elif world == "tabletop":
        tasks = [
            replace(
                task,
                look=choose("look", look, tuple(LOOKS)),
                first_seed=first_seed,
                policy=str(policy) if policy else None,
                latency_s=latency_ms / 1000,
            )
            for task in _tabletop_tasks(bodies_in(robots), names, noise, image_size or IMAGE_SIZE_PX)
        ]
        if policy is not None:
            _require_knowing(policy, [task.card for task in tasks])
    elif world == "libero":
        tasks = _libero_tasks(names, noise)
    elif world == "aloha":
        tasks = _aloha_tasks(names, noise)
    elif world == "simpler":
        tasks = _simpler_tasks(names, noise, assets)
    else:
        tasks = _metaworld_tasks(names, noise, image_size)
    with saved_on_interrupt(lambda: f"Finished episodes are in {out}; the same command goes on from there."):
        counts = record(tasks, out, episodes=episodes, workers=workers, ray=ray)
    _say(out, counts)


def _require_knowing(policy: Path, bodies: Sequence[str]) -> None:
    """Raises KinemaError unless this is the folder of an artifact that was trained on all of these bodies."""
    known = bodies_of(policy)
    if unknown := sorted(set(bodies) - set(known)):
        raise KinemaError(f"{policy} was not trained on {', '.join(unknown)}; it knows {', '.join(known)}")


def _say(out: Path, counts: Mapping[str, int]) -> None:
    """What is in the data sets by body, with how many captions."""
    from kinema.data.captions import read_captions

    for card, count in counts.items():
        print(f"{out / card}: {count} episodes, {len(read_captions(out / card))} with captions")


def _make_hazards(out: Path, *, episodes: int, bodies: tuple[str, ...], policy: Path | None) -> None:
    """Labelled chunks for the gate: `episodes` per body to learn from, and as many for its thresholds."""
    from kinema.commands.data.make_hazards import EPISODES_PER_SHARD, FIRST_SEEDS, make_hazards, make_scenes
    from kinema.commands.policies import artifact_folder

    if policy is not None:
        _require_knowing(policy, bodies)
    folder = policy or artifact_folder("shipped", bodies)
    rounds = -(-episodes // EPISODES_PER_SHARD)
    with saved_on_interrupt(lambda: f"Finished shards are in {out}; the same command goes on from there."):
        made = make_scenes(out, rounds=rounds, bodies=bodies)
        print(f"{out / 'scenes'}: {made} new scenes")
        for part in FIRST_SEEDS:
            made = make_hazards(out, part=part, rounds=rounds, policy=folder, bodies=bodies)
            print(f"{out / part}: {made} new states")


def _make_human(
    out: Path, robots: Sequence[str], families: Sequence[str], episodes: int, image_size: int, first_seed: int
) -> None:
    """A hand's tasks in four aligned streams; `episodes` in all, not per family."""
    from kinema.commands.data.make_human import make_human
    from kinema.worlds.hand.stage import FAMILIES

    wanted = [choose("family of the hand", name, FAMILIES) for name in families] or FAMILIES
    with saved_on_interrupt(lambda: f"Finished episodes are in {out}; the same command goes on from there."):
        counts = make_human(
            out,
            robots=robots,
            families=wanted,
            episodes=episodes,
            image_size=image_size,
            first_seed=first_seed,
        )
    print(f"{', '.join(wanted)} in four streams:")
    _say(out, counts)


def _make_looks(out: Path, *, episodes: int, bodies: tuple[str, ...]) -> None:
    """Labelled pictures for the film detector: `episodes` of each family, and a sixth as many to judge by."""
    from kinema.commands.data.make_looks import make_looks

    with saved_on_interrupt(lambda: f"Finished shards are in {out}; the same command goes on from there."):
        for part, count in (("test", max(1, episodes // 6)), ("train", episodes)):
            made = make_looks(out, part=part, episodes=count, bodies=bodies)
            print(f"{out / part}: {made} new pictures")


def _make_raw(
    names: Sequence[str], out: Path, *, episodes: int, noise: float, size_px: int | None, workers: int,
    ray: str | None,
) -> None:  # fmt: skip
    from kinema.bench.disturbance import Noise
    from kinema.bench.metaworld.demos import Plan, collect_metaworld
    from kinema.bench.metaworld.protocols import RENDERING
    from kinema.bench.metaworld.tasks import TASKS

    tasks = tuple(choose("Meta-World task", name, TASKS) for name in names)
    plan = Plan(
        episodes=episodes, rendered_every=2, noise=Noise(sigma=(0.0, 0.25 * noise)),
        size_px=size_px or RENDERING.size_px,
    )  # fmt: skip
    with saved_on_interrupt(lambda: f"Whole tasks are in {out}; the same command goes on from there."):
        counts = collect_metaworld(out, tasks, plan=plan, workers=workers, ray=ray)
    print(f"{out}: {sum(meta['episodes'] for meta in counts.values())} episodes of {len(counts)} tasks")


def _tabletop_tasks(robots: Sequence[str], names: Sequence[str], noise: float, image_size: int) -> list[Task]:
    from kinema.commands.data.play import Task
    from kinema.worlds.tabletop.env import families_for

    tasks = []
    for robot in robots:
        known = families_for(robot)
        wanted = [choose(f"family of {robot}", name, known) for name in names] or known
        tasks += [
            Task(
                world="tabletop",
                card=robot,
                name=n,
                noise=noise,
                image_size=image_size,
            )
            for n in wanted
        ]
    return tasks


def _road_tasks(names: Sequence[str], noise: float, image_size: int, views: int) -> list[Task]:
    from kinema.commands.data.play import Task
    from kinema.worlds.road.goals import GOALS

    goals = [choose("goal", name, GOALS) for name in names] or GOALS
    return [
        Task(world="road", card="car", name=goal, noise=noise, image_size=image_size, views=views)
        for goal in goals
    ]


def _metaworld_tasks(names: Sequence[str], noise: float, size_px: int | None) -> list[Task]:
    from kinema.bench.metaworld.benchmark import CARD
    from kinema.bench.metaworld.protocols import RENDERING
    from kinema.bench.metaworld.tasks import TASKS
    from kinema.commands.data.play import Task

    wanted = [choose("Meta-World task", name, TASKS) for name in names] or TASKS
    size = size_px or RENDERING.size_px
    return [Task(world="metaworld", card=CARD, name=n, noise=noise, image_size=size) for n in wanted]


def _libero_tasks(names: Sequence[str], noise: float) -> list[Task]:
    """A suite's name stands for all of its tasks. Raises KinemaError without LIBERO's environment."""
    from kinema.bench.libero.benchmark import CARD, RENDERING
    from kinema.bench.libero.expert import SUITES as WITH_EXPERT
    from kinema.bench.libero.suites import LIBERO, SUITES
    from kinema.commands.data.play import Task

    tasks = {suite: [f"{suite}/{n}" for n in range(SUITES[suite].tasks)] for suite in WITH_EXPERT}
    known = (*tasks, *(task for group in tasks.values() for task in group))
    chosen = [choose("LIBERO suite or task", name, known) for name in names or tasks]
    wanted = dict.fromkeys(task for name in chosen for task in tasks.get(name, [name]))
    LIBERO.python()
    size = RENDERING.size_px
    return [Task(world="libero", card=CARD, name=n, noise=noise, image_size=size) for n in wanted]


def _aloha_tasks(names: Sequence[str], noise: float) -> list[Task]:
    from kinema.bench.aloha.benchmark import CARD, INSTRUCTIONS, RENDERING
    from kinema.commands.data.play import Task

    wanted = [choose("ALOHA task", name, tuple(INSTRUCTIONS)) for name in names or INSTRUCTIONS]
    size = RENDERING.width_px
    return [Task(world="aloha", card=CARD, name=n, noise=noise, image_size=size) for n in wanted]


def _simpler_tasks(names: Sequence[str], noise: float, assets: str) -> list[Task]:
    from kinema.bench.simpler.benchmark import CARD, RENDERING, SIMPLER, TASKS
    from kinema.commands.data.play import Task

    wanted = [choose("SimplerEnv task", name, tuple(TASKS)) for name in names or TASKS]
    SIMPLER.python()
    size, folder = RENDERING.width_px, assets or None
    return [
        Task(world="simpler", card=CARD, name=n, noise=noise, image_size=size, assets=folder) for n in wanted
    ]
