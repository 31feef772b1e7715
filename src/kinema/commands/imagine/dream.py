"""`kinema dream`: training data from imagination: first picture and sentence, film, actions, data set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from kinema.commands.policies import bodies_in
from kinema.commands.rendering import require_rendering
from kinema.commands.shipped import ARTIFACTS
from kinema.commands.terminal import choose, examples, saved_on_interrupt, table, words, writable
from kinema.schema import KinemaError

if TYPE_CHECKING:
    from kinema.bench.metrics.tracks import Eyes
    from kinema.data.lerobot_write import Writer
    from kinema.model.film.inverse_artifact import FilmReader
    from kinema.schema import Film, Imagines
    from kinema.space.motion import Motion
    from kinema.worlds.tabletop.env import TabletopEnv

FIRST_SEED = 3_000_000  # of scenes to dream of; demonstrations begin at 1 000 000, evaluation is below
ORACLE = "oracle"
EXAMPLES = examples(
    "kinema dream --families pick_place,button --episodes 20 --out data/dreams",
    "kinema dream --world oracle --families button --episodes 5 --replay --out out/dreams",
)


def dream(
    world: Annotated[
        str, typer.Option(help="Who imagines: `shipped`, a world artifact's folder, or `oracle` (simulator).")
    ] = "shipped",
    reader: Annotated[
        str, typer.Option(help="What reads actions from films: `shipped` or the folder of a film reader.")
    ] = "shipped",
    robots: Annotated[str, typer.Option(help="Bodies, with commas between.")] = "panda",
    families: Annotated[str, typer.Option(help="Families of tasks, with commas.")] = "pick_place,button",
    episodes: Annotated[int, typer.Option(help="Dreams of each body and family.", min=1)] = 20,
    first_seed: Annotated[int, typer.Option(help="Seed of the first scene.", min=1_000_000)] = FIRST_SEED,
    replay: Annotated[
        bool, typer.Option("--replay", help="Try every dream's actions in the true world, and report it.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder of the data sets, one below it for each body.")] = Path(
        "data/dreams"
    ),
) -> None:
    """Imagine obeying sentences in new scenes, read the actions from the films, write LeRobot data sets."""
    require_rendering()
    from kinema.card.load import load_card
    from kinema.data.dreamed import DREAMED
    from kinema.data.lerobot_write import Writer
    from kinema.worlds.tabletop.env import families_for

    reads = film_reader(reader)
    if world != ORACLE:
        from kinema.commands.eval.eval_world import imagines_factory

        imagines_factory(world, others=(ORACLE,))
    bodies = bodies_in(robots)
    for body in bodies:
        reads.codec(body)
        for family in words(families):
            choose(f"family of {body}", family, families_for(body))
        if (out / body).exists():
            raise KinemaError(f"{out / body} exists already; choose another --out")
    writable(out)
    size, eyes = reads.model.config.image_size, _eyes()
    fates: list[Fate] = []
    with saved_on_interrupt(lambda: f"Whole dreams are in {out}."):
        for body in bodies:
            card = load_card(body)
            with Writer(out / body, card=card, image_size=size, features={DREAMED: [DREAMED]}) as writer:
                for family in words(families):
                    for one in _dreams(world, reads, body, family, episodes, first_seed):
                        fates.append(_keep(one, writer, eyes, replay))
            _write_log(out, world, reader, reads, fates)
    print(report(fates))
    written = [str(out / body) for body in bodies if any(fate.kept and fate.card == body for fate in fates)]
    print(f"data sets: {', '.join(written) or 'none, no dream was kept'}; what became of each: {out / LOG}")


LOG = "dreamed.jsonl"


@dataclass(frozen=True, kw_only=True)
class Fate:
    """What became of one dream. success: of its actions in the true world, None where that was not tried."""

    card: str
    family: str
    seed: int
    instruction: str
    kept: bool
    faults: tuple[str, ...]
    drift: float
    success: bool | None


@dataclass(frozen=True, kw_only=True)
class _Dream:
    env: TabletopEnv
    seed: int
    film: Film
    motion: Motion


def film_reader(name: str) -> FilmReader:
    """The shipped film reader or the one in a folder. KinemaError when it is not there."""
    from kinema.model.film.inverse_artifact import load

    return load(reader_folder(name))


def reader_folder(name: str) -> Path:
    """Where the film reader lies. KinemaError when it is not there."""
    folder = ARTIFACTS / "inverse" if name == "shipped" else Path(name)
    if not folder.is_dir():
        raise KinemaError(f"there is no film reader in {folder}; train one with: kinema train nano_inverse")
    return folder


def imagination(name: str, env: TabletopEnv) -> Imagines:
    """Who imagines in this world: `oracle` (the simulator itself), the shipped model or one in a folder."""
    if name == ORACLE:
        from kinema.worlds.tabletop.true_future import TrueFuture

        return TrueFuture(env)
    from kinema.commands.eval.eval_world import imagines_factory

    return imagines_factory(name).build()


def _eyes() -> Eyes | None:
    """The shipped detector, which finds what the sentences point at, where there is one."""
    from kinema.commands.eval.eval_world import eyes_factory

    return eyes_factory().build() if (ARTIFACTS / "film_detector").is_dir() else None


def _dreams(
    world: str, reads: FilmReader, body: str, family: str, episodes: int, first_seed: int
) -> Iterator[_Dream]:
    from tqdm import tqdm

    from kinema.card.load import load_card
    from kinema.worlds.tabletop.env import TabletopEnv

    env = TabletopEnv(card=load_card(body), family=family, image_size=reads.model.config.image_size)
    imagines = imagination(world, env)
    for seed in tqdm(range(first_seed, first_seed + episodes), desc=f"{body} {family}", unit="dream"):
        env.reset(seed)
        seen = env.observe()
        film = imagines.imagine(seen.images, env.instruction, body, seed=seed)
        yield _Dream(env=env, seed=seed, film=film, motion=reads.read(film, seen.state))
    env.close()


def _keep(one: _Dream, writer: Writer, eyes: Eyes | None, replay: bool) -> Fate:
    """Write the dream unless it has faults; replay it when asked."""
    from kinema.data.dreamed import DreamLimits, episode, faults

    points, unseen = (None, ()) if eyes is None else _looked_at(one, eyes)
    found = (*faults(one.motion, one.env.card, DreamLimits()), *unseen)
    if not found:
        writer.add_episode(**episode(one.film, one.motion, points=points))
    return Fate(
        card=one.env.card.name,
        family=one.env.family,
        seed=one.seed,
        instruction=one.film.instruction,
        kept=not found,
        faults=found,
        drift=round(float(one.motion.drift.mean()), 4),
        success=_replayed(one.env, one.seed, one.motion.actions) if replay else None,
    )


def _looked_at(one: _Dream, eyes: Eyes) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Where the sentence points in the film, and why the film does not show what it asks for."""
    from kinema.bench.metrics.following import judge
    from kinema.bench.metrics.tracks import track
    from kinema.commands.imagine.dream_points import point_labels

    tracks = track(one.film, eyes)
    points = point_labels(tracks, one.film.instruction)
    if points is None:
        return None, ("the sentence names nothing that could be pointed at",)
    shown = judge(tracks, one.film.instruction, one.env.card)
    if not shown.right_thing:
        return points, (f"the film moves {', '.join(shown.moved) or 'nothing'}, not the {shown.named}",)
    return points, () if shown.placed else (f"the {shown.named} does not end where it should",)


def _replayed(env: TabletopEnv, seed: int, actions: np.ndarray, rest: int = 5) -> bool:
    """Whether the actions, played blindly from the scene of this seed, ever reach the goal."""
    env.reset(seed)
    for action in [*actions, *[actions[-1]] * rest]:
        env.step(action)
        if env.success():
            return True
    return False


def _write_log(out: Path, world: str, reader: str, reads: FilmReader, fates: list[Fate]) -> None:
    about = {
        "provenance": "dreamed",
        "world": world,
        "reader": reader,
        "reader_steps": reads.provenance.get("steps"),
    }
    lines = [json.dumps(about), *(json.dumps(asdict(fate)) for fate in fates)]
    out.mkdir(parents=True, exist_ok=True)  # which no dream was kept in
    (out / LOG).write_text("\n".join(lines) + "\n")


def report(fates: list[Fate]) -> str:
    """Kept and refused dreams by body and family, and how their actions fared in the true world."""
    rows = []
    for key in dict.fromkeys((fate.card, fate.family) for fate in fates):
        group = [fate for fate in fates if (fate.card, fate.family) == key]
        kept = [fate for fate in group if fate.kept]
        refused = [fate for fate in group if not fate.kept]
        rows.append((*key, f"{len(kept)} of {len(group)}", _fared(group), _fared(kept), _fared(refused)))
    return table(rows, ("body", "family", "kept", "replayed: all", "kept", "refused"))


def _fared(group: list[Fate]) -> str:
    from kinema.bench.metrics.intervals import wilson95

    tried = [fate.success for fate in group if fate.success is not None]
    if not tried:
        return "-"
    low, high = wilson95(sum(tried), len(tried))
    return f"{sum(tried)}/{len(tried)} ({low:.0%} to {high:.0%})"
