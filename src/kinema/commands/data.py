"""`kinema data`: make demonstrations, look at them, check them, mend them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kinema.commands.terminal import choose, examples, saved_on_interrupt, words

if TYPE_CHECKING:
    from kinema.commands.make_data import Task

app = typer.Typer(help="Data sets: make, inspect, verify, repair, stats.", no_args_is_help=False)
WORLDS = ("tabletop", "metaworld")

Folder = Annotated[Path, typer.Argument(help="Folder of a LeRobot data set (v3.0 or v2.1).")]


@app.command(
    "make",
    epilog=examples(
        "kinema data make tabletop --robots panda,ur5e --episodes 50 --workers 2 --out data/tabletop",
        "kinema data make metaworld --families reach-v3 --episodes 50 --out data/metaworld",
    ),
)
def make(
    world: Annotated[str, typer.Argument(help=f"Which world: {' or '.join(WORLDS)}.")],
    out: Annotated[
        Path, typer.Option(help="Folder of the data sets, one per body; a stopped run goes on there.")
    ],
    episodes: Annotated[
        int, typer.Option(help="Successful episodes per body and family (or task).", min=1)
    ] = 50,
    robots: Annotated[str, typer.Option(help="tabletop: bodies, with commas.")] = "panda,ur5e,aloha",
    families: Annotated[
        str, typer.Option(help="Families (or Meta-World tasks), with commas. Default: all.")
    ] = "",
    noise: Annotated[
        float, typer.Option(help="Disturbance of what is executed; 0 none, 1 usual.", min=0)
    ] = 1.0,
    image_size: Annotated[int, typer.Option(help="tabletop: pixels of a side.", min=16, max=1024)] = 96,
    workers: Annotated[int, typer.Option(help="Processes. The data do not depend on it.", min=1)] = 1,
) -> None:
    """Let scripted experts demonstrate and record it; labels stay clean where noise disturbs the motion."""
    from kinema.commands.make_data import make as record

    choose("world", world, WORLDS)
    names = words(families)
    if world == "tabletop":
        tasks = _tabletop_tasks(words(robots), names, noise, image_size)
    else:
        tasks = _metaworld_tasks(names, noise)
    with saved_on_interrupt(lambda: f"Finished episodes are in {out}; the same command goes on from there."):
        counts = record(tasks, out, episodes=episodes, workers=workers)
    for card, count in counts.items():
        print(f"{out / card}: {count} episodes")


def _tabletop_tasks(robots: Sequence[str], names: Sequence[str], noise: float, image_size: int) -> list[Task]:
    from kinema.card.load import load_card
    from kinema.commands.make_data import Task
    from kinema.worlds.tabletop.env import families_for

    tasks = []
    for robot in robots:
        known = families_for(load_card(robot).name)
        wanted = [choose(f"family of {robot}", name, known) for name in names] or known
        tasks += [
            Task(world="tabletop", card=robot, name=n, noise=noise, image_size=image_size) for n in wanted
        ]
    return tasks


def _metaworld_tasks(names: Sequence[str], noise: float) -> list[Task]:
    from kinema.bench.metaworld import CARD, RENDERING
    from kinema.bench.metaworld_tasks import TASKS
    from kinema.commands.make_data import Task

    wanted = [choose("Meta-World task", name, TASKS) for name in names] or TASKS
    size = RENDERING.size_px
    return [Task(world="metaworld", card=CARD, name=n, noise=noise, image_size=size) for n in wanted]
