"""`kinema data`: make demonstrations, look at them, check them, mend them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kinema.commands.data.fits import pairs
from kinema.commands.policies import bodies_in, bodies_of
from kinema.commands.rendering import require_rendering
from kinema.commands.terminal import (
    choose,
    examples,
    finite,
    refuse_unheeded,
    saved_on_interrupt,
    table,
    words,
    writable,
)
from kinema.schema import KinemaError

if TYPE_CHECKING:
    from kinema.commands.data.make import Task

app = typer.Typer(help="Data sets: make, inspect, verify, repair, stats.", no_args_is_help=False)
HEEDED = {  # of the options that not every world heeds
    "tabletop": (
        "robots",
        "families",
        "noise",
        "image_size",
        "policy",
        "latency_ms",
        "first_seed",
        "workers",
    ),
    "metaworld": ("families", "noise", "raw", "workers"),
    "hazards": ("robots", "policy"),
    "human": ("robots", "families", "image_size", "first_seed"),
    "looks": ("robots",),
    "road": ("families", "noise", "image_size", "views", "workers"),
}
WORLDS = tuple(HEEDED)

Folder = Annotated[Path, typer.Argument(help="Folder of a LeRobot data set (v3.0 or v2.1).")]


@app.command(
    "make",
    epilog=examples(
        "kinema data make tabletop --robots panda,ur5e --episodes 50 --workers 2 --out data/tabletop",
        "kinema data make metaworld --families reach-v3 --episodes 50 --out data/metaworld",
        "kinema data make hazards --episodes 600 --out data/hazards",
        "kinema data make looks --episodes 60 --out data/looks",
        "kinema data make road --episodes 50 --views 2 --out data/road",
        "kinema data make human --robots panda,ur5e --episodes 60 --out data/human",
    ),
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
        str, typer.Option(help="Families (or Meta-World tasks), with commas. Default: all.")
    ] = "",
    noise: Annotated[
        float, typer.Option(help="Disturbance of what is executed; 0 none, 1 usual.", min=0, callback=finite)
    ] = 1.0,
    image_size: Annotated[int, typer.Option(help="tabletop: pixels of a side.", min=16, max=1024)] = 96,
    policy: Annotated[
        Path | None,
        typer.Option(help="tabletop: this artifact acts first, then the expert mends what it left (DAgger)."),
    ] = None,
    latency_ms: Annotated[
        int, typer.Option(help="tabletop: that policy's answers come up to so much late.", min=0, max=1000)
    ] = 0,
    raw: Annotated[
        bool, typer.Option("--raw", help="metaworld: raw arrays, every second picture: for nano_metaworld.")
    ] = False,
    first_seed: Annotated[
        int, typer.Option(help="tabletop: the first scene; another round wants other scenes.", min=1_000_000)
    ] = 1_000_000,
    views: Annotated[int, typer.Option(help="road: how many of the car's cameras.", min=1, max=3)] = 3,
    workers: Annotated[int, typer.Option(help="Processes. The data do not depend on it.", min=1)] = 1,
) -> None:
    """Let scripted experts demonstrate and record it; labels stay clean where noise disturbs the motion."""
    choose("world", world, WORLDS)
    refuse_unheeded(ctx, world, HEEDED)
    require_rendering()
    from kinema.commands.data.make import make as record

    writable(out)
    if world == "hazards":
        _make_hazards(out, episodes=episodes, bodies=bodies_in(robots), policy=policy)
        return
    if world == "human":
        _make_human(out, bodies_in(robots), words(families), episodes, image_size, first_seed)
        return
    if world == "looks":
        _make_looks(out, episodes=episodes, bodies=bodies_in(robots))
        return
    names = words(families)
    if raw:
        _make_raw(names, out, episodes=episodes, noise=noise, workers=workers)
        return
    if world == "road":
        _make_road(
            out, names, episodes=episodes, noise=noise, image_size=image_size, views=views, workers=workers
        )
        return
    if world == "tabletop":
        tasks = [
            replace(
                task,
                first_seed=first_seed,
                policy=str(policy) if policy else None,
                latency_s=latency_ms / 1000,
            )
            for task in _tabletop_tasks(bodies_in(robots), names, noise, image_size)
        ]
        if policy is not None:
            _require_knowing(policy, [task.card for task in tasks])
    else:
        tasks = _metaworld_tasks(names, noise)
    with saved_on_interrupt(lambda: f"Finished episodes are in {out}; the same command goes on from there."):
        counts = record(tasks, out, episodes=episodes, workers=workers)
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


def _make_road(
    out: Path, names: Sequence[str], *, episodes: int, noise: float, image_size: int, views: int, workers: int
) -> None:
    """Drives by the scripted driver."""
    from kinema.commands.data.make import Task
    from kinema.commands.data.make import make as record
    from kinema.worlds.road.goals import GOALS

    goals = [choose("goal", name, GOALS) for name in names] or GOALS
    tasks = [
        Task(world="road", card="car", name=goal, noise=noise, image_size=image_size, views=views)
        for goal in goals
    ]
    with saved_on_interrupt(lambda: f"Finished episodes are in {out}; the same command goes on from there."):
        counts = record(tasks, out, episodes=episodes, workers=workers)
    _say(out, counts)


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


def _make_raw(names: Sequence[str], out: Path, *, episodes: int, noise: float, workers: int) -> None:
    from kinema.bench.metaworld.demos import Noise, Plan, collect_metaworld
    from kinema.bench.metaworld.tasks import TASKS

    tasks = tuple(choose("Meta-World task", name, TASKS) for name in names)
    plan = Plan(episodes=episodes, rendered_every=2, noise=Noise(sigma=(0.0, 0.25 * noise)))
    with saved_on_interrupt(lambda: f"Whole tasks are in {out}; the same command goes on from there."):
        counts = collect_metaworld(out, tasks, plan=plan, workers=workers)
    print(f"{out}: {sum(meta['episodes'] for meta in counts.values())} episodes of {len(counts)} tasks")


def _tabletop_tasks(robots: Sequence[str], names: Sequence[str], noise: float, image_size: int) -> list[Task]:
    from kinema.commands.data.make import Task
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


def _metaworld_tasks(names: Sequence[str], noise: float) -> list[Task]:
    from kinema.bench.metaworld.benchmark import CARD, RENDERING
    from kinema.bench.metaworld.tasks import TASKS
    from kinema.commands.data.make import Task

    wanted = [choose("Meta-World task", name, TASKS) for name in names] or TASKS
    size = RENDERING.size_px
    return [Task(world="metaworld", card=CARD, name=n, noise=noise, image_size=size) for n in wanted]


@app.command(
    "inspect",
    epilog=examples(
        "kinema data inspect data/tabletop/panda --out out/panda.html",
        "kinema data inspect data/tabletop/panda --rerun 3",
        "kinema data inspect data/theirs --map action=actions,observation.state=state,front=image",
    ),
)
def inspect(
    folder: Folder,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("out/inspect.html"),
    rerun: Annotated[
        int | None, typer.Option(help="Open this episode in rerun's viewer instead of writing a page.", min=0)
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(help="With --rerun: write a recording (.rrd) instead of opening the viewer."),
    ] = None,
    mapped: Annotated[
        str,
        typer.Option("--map", help="Other names, e.g. action=actions,observation.state=joint1+joint2."),
    ] = "",
) -> None:
    """Write a page with pictures, plots, instructions and faults; or show an episode in rerun."""
    from kinema.data.inspect import inspect as write_page
    from kinema.data.inspect import open_in_rerun

    columns = pairs(mapped)
    if rerun is not None:
        open_in_rerun(folder, rerun, save_to=save, columns=columns)
        print(f"episode {rerun}: {save or 'in the viewer'}")
        return
    if save is not None:
        raise KinemaError("--save belongs to --rerun; a page is written with --out")
    write_page(folder, out, columns=columns)
    print(f"page: {out}")


@app.command("verify", epilog=examples("kinema data verify data/tabletop/panda"))
def verify(
    folder: Folder,
    fast: Annotated[bool, typer.Option("--fast", help="Do not decode the pictures.")] = False,
) -> None:
    """Name every fault: files, videos, indices, times, values, statistics. Exit code 1 when there is one."""
    from kinema.data.verify import Kind, examine

    if not folder.is_dir():
        raise KinemaError(f"{folder} is not a folder; expected a LeRobot data set")
    told = examine(folder, decode=not fast)
    for fault in told:
        print(fault)
    faults = [fault for fault in told if fault.kind != Kind.REMARK]
    if not faults:
        print(f"{folder} is sound")
        return
    count = f"{len(faults)} fault{'s' * (len(faults) > 1)}"
    mendable = sum(fault.repairable for fault in faults)
    print(f"{count}; `kinema data repair {folder}` can mend {mendable}" if mendable else count)
    raise typer.Exit(1)


@app.command(
    "repair",
    epilog=examples(
        "kinema data repair data/tabletop/panda --dry-run", "kinema data repair data/tabletop/panda"
    ),
)
def repair(
    folder: Folder,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
) -> None:
    """Mend what can be mended, set aside what cannot, and keep a backup of the state before."""
    from kinema.data.repair import repair as mend

    actions = mend(folder, dry_run=dry_run)
    for action in actions:
        print(action)
    if not actions:
        print(f"{folder} is sound; nothing was done")
    if any(not action.mended for action in actions):
        raise typer.Exit(1)


@app.command(
    "mirror",
    epilog=examples(
        "kinema data mirror hf://datasets/lerobot/svla_so101_pickplace --into data/pickplace",
        "kinema data mirror s3://bucket/sets/mine --into /scratch/mine",
    ),
)
def mirror(
    url: Annotated[str, typer.Argument(help="Where a LeRobot set lies, as fsspec says it: hf://, s3://, …")],
    into: Annotated[Path, typer.Option(help="Folder for its metadata, and for its files as they are read.")],
) -> None:
    """Use a data set from afar without downloading it: metadata now, each file when it is first read."""
    from kinema.data.index import Index
    from kinema.data.remote import mirror as make

    index = Index.open(make(url, into))
    print(f"{into}: {index.num_episodes} episodes, {index.num_frames} frames; files come as they are read")


@app.command("stats", epilog=examples("kinema data stats data/tabletop/panda"))
def stats(
    folder: Folder,
    write: Annotated[bool, typer.Option("--write", help="Also write them into the data set.")] = False,
) -> None:
    """Measure every channel: range, quantiles, mean and deviation."""
    import numpy as np

    from kinema.data.lerobot import Dataset
    from kinema.data.measure import measure, write_statistics
    from kinema.data.metadata import channel_names

    dataset = Dataset.open(folder)
    measured = write_statistics(folder) if write else measure(dataset)
    print(f"{dataset.num_episodes} episodes, {dataset.num_frames} frames, {len(dataset.tasks)} instructions")
    columns = ("min", "q01", "q50", "q99", "max", "mean", "std")
    rows = []
    for feature, values in measured.items():
        names = channel_names(dataset.metadata.features[feature])
        for channel, *numbers in zip(names, *(np.ravel(values[column]) for column in columns)):
            rows.append((feature, channel, *(f"{number:.4g}" for number in numbers)))
    print(table(rows, ("feature", "channel", *columns)))


@app.command(
    "annotate",
    epilog=examples(
        "kinema data annotate data/tabletop/panda",
        "kinema data annotate data/videos --url http://localhost:8000/v1 --model vision",
    ),
)
def annotate(
    folder: Folder,
    url: Annotated[
        str, typer.Option(help="Let this OpenAI-compatible vision endpoint describe the pictures.")
    ] = "",
    model: Annotated[str, typer.Option(help="The endpoint's model; its key is in KINEMA_VISION_KEY.")] = "",
    limit: Annotated[int, typer.Option(help="At most so many new episodes; 0 for all.", min=0)] = 0,
) -> None:
    """Write captions in five layers to meta/captions.jsonl: from the numbers, or from the pictures."""
    from kinema.commands.data.annotate import annotate as write
    from kinema.commands.data.annotate import seen_by, shown
    from kinema.data.annotate import Annotator, Endpoint

    if model and not url:
        raise KinemaError("--model belongs to --url; without an endpoint nothing leaves this machine")
    with saved_on_interrupt(lambda: f"Captions are in {folder}; the same command goes on from there."):
        if url:
            with Annotator(Endpoint.given(url, model)) as annotator:
                written = write(folder, seen_by(annotator), limit=limit)
        else:
            written = write(folder, limit=limit)
    for line in shown(written):
        print(line)
    print(f"{folder}: {written.new} episodes described, {written.kept} kept from before")
    for episode, fault in written.faulty.items():
        print(f"episode {episode} was left out: {fault}")
    if written.faulty:
        raise typer.Exit(1)
