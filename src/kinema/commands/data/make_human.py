"""`kinema data make human`: a hand's tasks in four aligned streams, with each body's joints, as LeRobot sets.

One folder per body. All bodies share the hand's episodes: the same seed is the same performance. The streams
are eight cameras, `human_front` to `robot_side`; the column `hand` holds the grasp frame's path. Captions
(`meta/captions.jsonl`) tell of the robot in the scene, whose states and actions the set holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from kinema.card.card import EmbodimentCard
from kinema.card.load import card_names, load_card
from kinema.commands.data.annotate import annotate_rest, told_of
from kinema.data.aligned import HAND, HAND_CHANNELS, SCENE, SCENE_CHANNELS, STREAMS, camera_name
from kinema.data.captions import CaptionFile
from kinema.data.lerobot import Dataset
from kinema.data.lerobot_write import Writer
from kinema.data.metadata import INFO
from kinema.schema import KinemaError

FIRST_SEED = 1_000_000
_ENOUGH_TRIED, _FEWEST_SUCCESSES = 20, 0.25


def make_human(
    out: Path,
    *,
    robots: Sequence[str],
    families: Sequence[str],
    episodes: int,
    image_size: int,
    first_seed: int = FIRST_SEED,
) -> dict[str, int]:
    """Record `episodes` of the hand for every body under `out/<body>`; a stopped recording goes on.

    Returns episodes by body. Raises KinemaError for a body that cannot reach the table.
    """
    cards = {name: load_card(name) for name in robots}
    _check_reach(cards)
    with ExitStack() as stack:
        writers = {name: _writer(stack, out / name, card, image_size) for name, card in cards.items()}
        captions = {name: stack.enter_context(CaptionFile(out / name).writing()) for name in cards}
        done = {name: _last_seed(out / name, writer) for name, writer in writers.items()}
        worlds = _Worlds(cards, image_size)
        seed, tried, solved = min(done.values(), default=-1) + 1 or first_seed, 0, 0
        seed = max(seed, first_seed)
        total = episodes * len(writers)
        with tqdm(total=total, initial=sum(w.num_episodes for w in writers.values()), unit="episode") as bar:
            while any(writer.num_episodes < episodes for writer in writers.values()):
                wanted = [n for n, w in writers.items() if w.num_episodes < episodes and done[n] < seed]
                if wanted:
                    written = _record(worlds, families[seed % len(families)], seed, wanted, writers, captions)
                    tried, solved = tried + 1, solved + bool(written)
                    bar.update(written)
                if tried >= _ENOUGH_TRIED and solved < _FEWEST_SUCCESSES * tried:
                    raise KinemaError(
                        f"the hand solved {solved} of {tried} episodes of {', '.join(families)}"
                    )
                seed += 1
        worlds.close()
    for name in cards:
        annotate_rest(out / name)
    return {name: writer.num_episodes for name, writer in writers.items()}


def staged_robots() -> tuple[str, ...]:
    """The shipped bodies that can work at the hand's table."""
    from kinema.worlds.hand.stage import reaches

    return tuple(name for name in card_names() if reaches(load_card(name)))


def _check_reach(cards: Mapping[str, EmbodimentCard]) -> None:
    from kinema.worlds.hand.stage import reaches

    if short := [name for name, card in cards.items() if not reaches(card)]:
        raise KinemaError(
            f"{', '.join(short)} cannot work at the hand's table (one arm that reaches its corners); "
            f"choices: {', '.join(staged_robots())}"
        )


class _Worlds:
    """One compiled world per family for the hand, and per family and body for the robots."""

    def __init__(self, cards: Mapping[str, EmbodimentCard], image_size: int) -> None:
        self._cards, self._size = cards, image_size
        self._worlds: dict[tuple[str, str], Any] = {}

    def hand(self, family: str) -> Any:
        from kinema.worlds.hand.stage import HandWorld

        if ("", family) not in self._worlds:
            self._worlds["", family] = HandWorld(family=family, image_size=self._size)
        return self._worlds["", family]

    def robot(self, name: str, family: str) -> Any:
        from kinema.worlds.hand.stage import StagedWorld

        if (name, family) not in self._worlds:
            self._worlds[name, family] = StagedWorld(
                card=self._cards[name], family=family, image_size=self._size
            )
        return self._worlds[name, family]

    def close(self) -> None:
        for world in self._worlds.values():
            world.close()


def _record(
    worlds: _Worlds,
    family: str,
    seed: int,
    robots: Sequence[str],
    writers: Mapping[str, Writer],
    captions: Mapping[str, CaptionFile],
) -> int:
    from kinema.worlds.hand.aligned import aligned, perform

    done = perform(worlds.hand(family), seed)
    if not done.success:
        return 0
    for name in robots:
        world = worlds.robot(name, family)
        path, streams = aligned(world, done)
        steps = len(path.state)
        hand = np.column_stack([done.path.position_m, done.path.opening, done.path.gap_m])
        writers[name].add_episode(
            images={
                camera_name(stream, view): frames
                for stream, views in streams.items()
                for view, frames in views.items()
            },
            state=path.state,
            action=path.action,
            task=done.instruction,
            success=np.arange(steps) == steps - 1,
            extra={HAND: hand, SCENE: np.tile([float(seed), float(_number(family))], (steps, 1))},
        )
        told = told_of(
            world.card,
            done.instruction,
            state=path.state,
            executed=path.action,
            events=done.events,
            success=True,
        )
        if told:
            captions[name].add(writers[name].num_episodes - 1, told)
    return len(robots)


def _number(family: str) -> int:
    from kinema.worlds.hand.stage import FAMILIES

    return FAMILIES.index(family)


def _writer(stack: ExitStack, root: Path, card: EmbodimentCard, image_size: int) -> Writer:
    from kinema.worlds.hand.stage import T_robot_table, cameras

    shown = tuple(
        camera.model_copy(update={"name": camera_name(stream, camera.name)})
        for stream in STREAMS
        for camera in cameras(T_robot_table(card))
    )
    writer = Writer(
        root,
        card=card.model_copy(update={"cameras": shown}),
        image_size=image_size,
        features={HAND: HAND_CHANNELS, SCENE: SCENE_CHANNELS},
        resume=root.exists(),
    )
    return stack.enter_context(writer)


def _last_seed(root: Path, writer: Writer) -> int:
    if not writer.num_episodes or not (root / INFO).exists():
        return -1
    return int(Dataset.open(root).column(SCENE)[:, 0].max())
