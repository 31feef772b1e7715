"""Where the recipes' demonstrations lie below the data folder, and how they are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.card.load import load_card
from kinema.data.fits import card_of, open_index
from kinema.data.frames import Way
from kinema.data.raw_steps import raw_source
from kinema.data.set_map import set_map_of
from kinema.data.source import Kind, Source, from_dataset
from kinema.data.whole import no_pictures
from kinema.schema import KinemaError
from kinema.train.recipe import Recipe
from kinema.train.stage import Stage
from kinema.worlds.planner.plan import plan

TABLETOP, METAWORLD_RAW, DREAMS = "tabletop", "metaworld_raw", "dreams"
DREAM_STEPS = 3  # control steps from one imagined picture to the next


def with_sources(recipe: Recipe, sources: Sequence[Source]) -> Recipe:
    """A policy's recipe that learns from these sources instead of what lies below a data folder."""
    stage: Callable[..., Stage] = recipe.stage
    return replace(recipe, stage=partial(stage, sources=lambda data, pictures: sources))


def made_sources(
    data: Path, pictures: Way = "cache", *, image_size: int, world: str = TABLETOP, which: str | None = None
) -> list[Source]:
    """One source per data set of a world, see `made_folders`."""
    kind: Kind = "navigation" if world == "navigation" else "robot"
    found = [_open(root, image_size, pictures) for root in made_folders(data, world, which)]
    return [replace(source, kind=kind) for source in found]


def dream_sources(data: Path, pictures: Way = "cache", *, image_size: int) -> list[Source]:
    """What `kinema dream` wrote below data/dreams; windows begin only where a picture was imagined."""
    folders = _made_by("kinema dream", data, DREAMS)
    return [_open(root, image_size, pictures, stride=DREAM_STEPS) for root in folders]


def metaworld_sources(data: Path, pictures: Way = "cache", *, image_size: int = 128) -> list[Source]:
    """Meta-World's tasks from the raw arrays of `kinema data make metaworld --raw` in data/metaworld_raw and
    data/metaworld_raw_* (another protocol's), one source a task and folder.

    All tasks weigh the same, and a task's folders by their pictures.
    Raw, because every second picture is enough to begin windows at and halves the rendering, and because
    goal markers of two or three pixels do not survive video compression. They are held in memory.
    """
    folders = sorted(path.parent for path in data.glob(f"{METAWORLD_RAW}*/*/meta.json"))
    if not folders:
        raise KinemaError(
            f"no demonstrations below {data / METAWORLD_RAW}; make them with: "
            f"kinema data make metaworld --raw --out {data / METAWORLD_RAW}"
        )
    card = load_card("sawyer_metaworld")
    sources = [raw_source(folder, card, image_size=image_size) for folder in folders]
    pictures_of: Counter[str] = Counter()
    for folder, source in zip(folders, sources, strict=True):
        pictures_of[folder.name] += len(source.starts)
    return [
        replace(
            source, name=f"{folder.parent.name}/{folder.name}",
            weight=len(source.starts) / pictures_of[folder.name],
        )
        for folder, source in zip(folders, sources, strict=True)
    ]  # fmt: skip


def made_folders(data: Path, world: str = TABLETOP, which: str | None = None) -> list[Path]:
    """What `kinema data make WORLD` wrote to data/<which> and data/<which>_* (corrections, other rounds).

    which: the world's name, if not told. Raises KinemaError when there is none.
    """
    return _made_by(f"kinema data make {world}", data, which or world)


def _made_by(command: str, data: Path, which: str) -> list[Path]:
    folders = [data / which, *sorted(data.glob(f"{which}_*"))]
    found = [path.parent.parent for folder in folders for path in sorted(folder.glob("*/meta/info.json"))]
    if not found:
        raise KinemaError(f"no data set below {data / which}; make it with: {command} --out {data / which}")
    return found


def planned_sources(names: Sequence[str], *, each: int, seed: int = 0) -> list[Source]:
    """So many planned trajectories of each of these bodies, from their cards alone and without pictures."""
    return [_planned(load_card(name), each, seed) for name in names]


def _planned(card: EmbodimentCard, count: int, seed: int) -> Source:
    found = plan(card, count, seed)
    lengths = np.diff(found.ends, prepend=0)
    return Source(
        name=f"planned/{card.name}", card=card, kind="synthetic", images=no_pictures, state=found.state,
        action=found.action, points=None, ends=found.ends, tasks=found.sentences,
        task_index=np.repeat(np.arange(count), lengths), starts=np.arange(len(found.state)),
    )  # fmt: skip


def named_sources(
    roots: Sequence[Path], pictures: Way = "cache", *, card: str | None, image_size: int, hold_out: int = 0
) -> list[Source]:
    """These data sets, of this body (a name or a path); None: of the one that each says."""
    return [_open(root, image_size, pictures, card=card, hold_out=hold_out) for root in roots]


def _open(
    root: Path, image_size: int, pictures: Way, stride: int = 1, card: str | None = None, hold_out: int = 0
) -> Source:
    index, told = open_index(root), set_map_of(root)
    if card is not None:
        told = told.model_copy(update={"card": card})
    return from_dataset(
        index, card_of(index, told), image_size=image_size, stride=stride, told=told, pictures=pictures,
        hold_out=hold_out,
    )  # fmt: skip
