"""What `kinema data make` makes: for each world the options it heeds, and how its data are made.

Refusals come from here, before a folder is made or a simulator is started.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kinema.commands.policies import bodies_of, tabletop_bodies
from kinema.commands.terminal import choose, saved_on_interrupt
from kinema.schema import KinemaError

if TYPE_CHECKING:
    from kinema.commands.data.play import Task

IMAGE_SIZE_PX = 96  # of the worlds that are ours
BODIES = ("panda", "ur5e", "aloha")


@dataclass(frozen=True, kw_only=True)
class Told:
    """The options that say what is made. Each world heeds some; the others are refused before.

    names: families or tasks; none: all
    size_px: None: the world's own
    """

    out: Path
    episodes: int
    bodies: tuple[str, ...]
    names: tuple[str, ...] = ()
    noise: float = 1.0
    size_px: int | None = None
    policy: Path | None = None
    latency_s: float = 0.0
    look: str = "plain"
    protocol: str = "kinema"
    raw: bool = False
    first_seed: int = 1_000_000
    views: int = 3
    assets: str | None = None
    workers: int = 1
    ray: str | None = None


@dataclass(frozen=True, kw_only=True)
class Made:
    """heeds:  of the options that not every world heeds
    bodies: where none are told; none: every one that the world has
    """

    heeds: tuple[str, ...]
    make: Callable[[Told], None]
    bodies: tuple[str, ...] = BODIES


def _demonstrated(tasks: Callable[[Told], list[Task]], told: Told) -> None:
    """Episodes by scripted experts, as LeRobot sets."""
    from kinema.commands.data.make import make

    chosen = tasks(told)
    with _going_on("episodes", told.out):
        counts = make(chosen, told.out, episodes=told.episodes, workers=told.workers, ray=told.ray)
    _say(told.out, counts)


def _tabletop(told: Told) -> list[Task]:
    from kinema.commands.data.play import Task
    from kinema.worlds.tabletop.env import families_for, playable, spelled_out
    from kinema.worlds.variation import LOOKS

    look = choose("look", told.look, tuple(LOOKS))
    if away := sorted(set(told.bodies) - set(tabletop_bodies(told.bodies))):
        choices = ", ".join(tabletop_bodies())
        raise KinemaError(f"{', '.join(away)} does not stand at the tabletop; choices: {choices}")
    policy = _acting(told, told.bodies)
    return [
        Task(
            world="tabletop", card=body, name=name, noise=told.noise, look=look, first_seed=told.first_seed,
            image_size=told.size_px or IMAGE_SIZE_PX, latency_s=told.latency_s,
            policy=policy,
        )
        for body in told.bodies
        for name in _chosen(
            f"family of {body}",
            spelled_out(body, told.names) or families_for(body),
            playable(body),
        )
    ]  # fmt: skip


def _ego(told: Told) -> list[Task]:
    from kinema.commands.data.play import Task
    from kinema.worlds.ego.world import CARD
    from kinema.worlds.hand.stage import FAMILIES

    size_px = told.size_px or IMAGE_SIZE_PX
    return [
        Task(world="ego", card=CARD, name=name, noise=0.0, image_size=size_px, first_seed=told.first_seed)
        for name in _chosen("family of the hand", told.names, FAMILIES)
    ]


def _road(told: Told) -> list[Task]:
    from kinema.commands.data.play import Task
    from kinema.worlds.road.goals import GOALS

    size_px = told.size_px or IMAGE_SIZE_PX
    return [
        Task(world="road", card="car", name=goal, noise=told.noise, image_size=size_px, views=told.views)
        for goal in _chosen("goal", told.names, GOALS)
    ]


def _navigation(told: Told) -> list[Task]:
    from kinema.bench.navigation.benchmark import bases
    from kinema.commands.data.play import Task
    from kinema.worlds.house.errands import ERRANDS

    size_px = told.size_px or IMAGE_SIZE_PX
    bodies = _chosen("base", told.bodies, bases())
    policy = _acting(told, bodies)
    return [
        Task(
            world="navigation", card=body, name=errand, noise=told.noise, image_size=size_px,
            first_seed=told.first_seed, policy=policy,
        )
        for body in bodies
        for errand in _chosen("errand", told.names, ERRANDS)
    ]  # fmt: skip


def _metaworld(told: Told) -> list[Task]:
    from kinema.bench.metaworld.benchmark import CARD
    from kinema.bench.metaworld.protocols import PROTOCOLS
    from kinema.bench.metaworld.tasks import TASKS
    from kinema.commands.data.play import Task

    protocol = choose("protocol", told.protocol, tuple(PROTOCOLS))
    size_px = told.size_px or PROTOCOLS[protocol].demonstrated.size_px
    return [
        Task(world="metaworld", card=CARD, name=name, noise=told.noise, image_size=size_px, protocol=protocol)
        for name in _chosen("Meta-World task", told.names, TASKS)
    ]


def _libero(told: Told) -> list[Task]:
    """A suite's name stands for all of its tasks. Raises KinemaError without LIBERO's environment."""
    from kinema.bench.libero.benchmark import CARD, RENDERING
    from kinema.bench.libero.expert import SUITES as WITH_EXPERT
    from kinema.bench.libero.suites import LIBERO, SUITES
    from kinema.commands.data.play import Task

    tasks = {suite: [f"{suite}/{n}" for n in range(SUITES[suite].tasks)] for suite in WITH_EXPERT}
    known = (*tasks, *(task for group in tasks.values() for task in group))
    chosen = [choose("LIBERO suite or task", name, known) for name in told.names or tasks]
    wanted = dict.fromkeys(task for name in chosen for task in tasks.get(name, [name]))
    LIBERO.python()
    size_px = RENDERING.size_px
    return [
        Task(world="libero", card=CARD, name=name, noise=told.noise, image_size=size_px) for name in wanted
    ]


def _aloha(told: Told) -> list[Task]:
    from kinema.bench.aloha.benchmark import CARD, INSTRUCTIONS, RENDERING
    from kinema.commands.data.play import Task

    return [
        Task(world="aloha", card=CARD, name=name, noise=told.noise, image_size=RENDERING.width_px)
        for name in _chosen("ALOHA task", told.names, INSTRUCTIONS)
    ]


def _simpler(told: Told) -> list[Task]:
    from kinema.bench.simpler.benchmark import CARD, RENDERING, SIMPLER, TASKS
    from kinema.commands.data.play import Task

    wanted = _chosen("SimplerEnv task", told.names, TASKS)
    SIMPLER.python()
    policy = _acting(told, (CARD,))
    size_px, assets = RENDERING.width_px, told.assets
    return [
        Task(
            world="simpler", card=CARD, name=name, noise=told.noise, image_size=size_px, assets=assets,
            policy=policy, first_seed=told.first_seed,
        )
        for name in wanted
    ]  # fmt: skip


def _make_metaworld(told: Told) -> None:
    if told.raw:
        _make_raw(told)
    else:
        _demonstrated(_metaworld, told)


def _make_navigation(told: Told) -> None:
    """Recorded episodes, or files as R2R-CE has them: told ways alone, the same for every base."""
    if not told.raw:
        _demonstrated(_navigation, told)
        return
    from kinema.bench.navigation.own_episodes import SPLIT, write_split
    from kinema.worlds.house.env import HouseEnv

    seeds = range(told.first_seed, told.first_seed + told.episodes)
    count = write_split(told.out, HouseEnv(), seeds)
    print(f"{told.out / SPLIT}: {count} episodes")


def _make_raw(told: Told) -> None:
    from kinema.bench.disturbance import Noise
    from kinema.bench.metaworld.demos import Plan, collect_metaworld
    from kinema.bench.metaworld.protocols import PROTOCOLS
    from kinema.bench.metaworld.tasks import TASKS

    tasks = tuple(choose("Meta-World task", name, TASKS) for name in told.names)
    protocol = choose("protocol", told.protocol, tuple(PROTOCOLS))
    plan = Plan(
        protocol=protocol, episodes=told.episodes, rendered_every=PROTOCOLS[protocol].rendered_every,
        noise=Noise(sigma=(0.0, 0.25 * told.noise)), size_px=told.size_px,
    )  # fmt: skip
    with saved_on_interrupt(lambda: f"Whole tasks are in {told.out}; the same command goes on from there."):
        counts = collect_metaworld(told.out, tasks, plan=plan, workers=told.workers, ray=told.ray)
    print(f"{told.out}: {sum(meta['episodes'] for meta in counts.values())} episodes of {len(counts)} tasks")


def _make_hazards(told: Told) -> None:
    """Labelled chunks for the gate: `episodes` per body to learn from, and as many for its thresholds."""
    from kinema.commands.data.make_hazards import EPISODES_PER_SHARD, FIRST_SEEDS, make_hazards, make_scenes
    from kinema.commands.policies import artifact_folder

    if told.policy is not None:
        _require_knowing(told.policy, told.bodies)
    folder = told.policy or artifact_folder("shipped", told.bodies)
    rounds = -(-told.episodes // EPISODES_PER_SHARD)
    with _going_on("shards", told.out):
        made = make_scenes(told.out, rounds=rounds, bodies=told.bodies)
        print(f"{told.out / 'scenes'}: {made} new scenes")
        for part in FIRST_SEEDS:
            made = make_hazards(told.out, part=part, rounds=rounds, policy=folder, bodies=told.bodies)
            print(f"{told.out / part}: {made} new states")


def _make_human(told: Told) -> None:
    """A hand's tasks in four aligned streams; `episodes` in all, not per family."""
    from kinema.commands.data.make_human import make_human
    from kinema.worlds.hand.stage import FAMILIES

    families = _chosen("family of the hand", told.names, FAMILIES)
    with _going_on("episodes", told.out):
        counts = make_human(
            told.out,
            robots=told.bodies,
            families=families,
            episodes=told.episodes,
            image_size=told.size_px or IMAGE_SIZE_PX,
            first_seed=told.first_seed,
        )
    print(f"{', '.join(families)} in four streams:")
    _say(told.out, counts)


def _make_questions(told: Told) -> None:
    """Pictures of `episodes` scenes of each family, and what is asked of them, as LLaVA's JSON."""
    from kinema.commands.data.make_questions import FILE, make_questions
    from kinema.worlds.tabletop.env import FAMILIES
    from kinema.worlds.variation import LOOKS

    variation = {"plain": "seen", "wide": "wide"}[choose("look", told.look, tuple(LOOKS))]
    families = tuple(choose("family", name, FAMILIES) for name in told.names)
    with _going_on("parts", told.out):
        made = make_questions(
            told.out,
            scenes=told.episodes,
            first_seed=told.first_seed,
            bodies=told.bodies,
            families=families,
            variation=variation,
            image_size=told.size_px or IMAGE_SIZE_PX,
        )
    print(f"{told.out / FILE}: {made} questions")


def _make_looks(told: Told) -> None:
    """Labelled pictures for the film detector: `episodes` of each family, and a sixth as many to judge by."""
    from kinema.commands.data.make_looks import make_looks

    with _going_on("shards", told.out):
        for part, count in (("test", max(1, told.episodes // 6)), ("train", told.episodes)):
            made = make_looks(told.out, part=part, episodes=count, bodies=told.bodies)
            print(f"{told.out / part}: {made} new pictures")


def _make_steps(told: Told) -> None:
    """Looks at long tasks for the success check, and a fifth as many to judge it by."""
    from kinema.commands.data.make_steps import make_steps

    with _going_on("shards", told.out):
        for part, count in (("test", max(1, told.episodes // 5)), ("train", told.episodes)):
            made = make_steps(told.out, part=part, episodes=count)
            print(f"{told.out / part}: {made} new looks")


def _chosen(what: str, names: Sequence[str], known: Sequence[str] | Mapping[str, object]) -> tuple[str, ...]:
    """The names, or all that are known where there are none. Raises KinemaError for one that is not."""
    return tuple(choose(what, name, tuple(known)) for name in names) or tuple(known)


def _acting(told: Told, bodies: Sequence[str]) -> str | None:
    """The artifact that acts first. Raises KinemaError unless it knows the bodies."""
    if told.policy is None:
        return None
    _require_knowing(told.policy, bodies)
    return str(told.policy)


def _require_knowing(policy: Path, bodies: Sequence[str]) -> None:
    """Raises KinemaError unless this is the folder of an artifact that was trained on all of these bodies."""
    known = bodies_of(policy)
    if unknown := sorted(set(bodies) - set(known)):
        raise KinemaError(f"{policy} was not trained on {', '.join(unknown)}; it knows {', '.join(known)}")


def _going_on(what: str, out: Path) -> AbstractContextManager[None]:
    return saved_on_interrupt(lambda: f"Finished {what} are in {out}; the same command goes on from there.")


def _say(out: Path, counts: Mapping[str, int]) -> None:
    """What is in the data sets by body, with how many captions."""
    from kinema.data.captions import read_captions

    for card, count in counts.items():
        print(f"{out / card}: {count} episodes, {len(read_captions(out / card))} with captions")


MADE = {
    "tabletop": Made(
        heeds=(
            "robots", "families", "noise", "image_size", "policy", "look", "latency_ms", "first_seed",
            "workers", "ray",
        ),
        make=partial(_demonstrated, _tabletop),
    ),
    "metaworld": Made(
        heeds=("families", "noise", "image_size", "protocol", "raw", "workers", "ray"),
        make=_make_metaworld,
    ),
    "libero": Made(heeds=("families", "noise", "workers"), make=partial(_demonstrated, _libero)),
    "aloha": Made(heeds=("families", "noise", "workers", "ray"), make=partial(_demonstrated, _aloha)),
    "simpler": Made(
        heeds=("families", "noise", "assets", "policy", "first_seed", "workers"),
        make=partial(_demonstrated, _simpler),
    ),
    "hazards": Made(heeds=("robots", "policy"), make=_make_hazards),
    "human": Made(heeds=("robots", "families", "image_size", "first_seed"), make=_make_human),
    "questions": Made(
        heeds=("robots", "families", "image_size", "look", "first_seed"), make=_make_questions
    ),
    "ego": Made(
        heeds=("families", "image_size", "first_seed", "workers", "ray"),
        make=partial(_demonstrated, _ego),
    ),
    "looks": Made(heeds=("robots",), make=_make_looks),
    "steps": Made(heeds=(), make=_make_steps, bodies=()),
    "navigation": Made(
        heeds=(
            "robots", "families", "noise", "image_size", "policy", "raw", "first_seed", "workers", "ray",
        ),
        make=_make_navigation,
        bodies=(),
    ),
    "road": Made(
        heeds=("families", "noise", "image_size", "views", "workers", "ray"),
        make=partial(_demonstrated, _road),
    ),
}  # fmt: skip
