"""Shards of looks at long tasks on disk: pictures, and of which steps it is known whether they were done.

One .npz of plain arrays per run of seeds, without pickle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from kinema.schema import KinemaError

NONE = -1  # the place of a step that has none


@dataclass(frozen=True, kw_only=True)
class StepLooks:
    """N looks of V views of a body with S states, and P questions about them.

    images: uint8 (N, V, H, H, 3); state: float32 (N, S); seed: int64 (N,) of the episode
    back:   bool (N,) whether the body was back where it began
    look:   int64 (P,) which look a question is about
    thing, place: int64 (P,) the step's things by number in `things`; a place may be NONE
    done:   bool (P,) the answer
    """

    card: str
    things: tuple[str, ...]
    cameras: tuple[str, ...]
    images: np.ndarray
    state: np.ndarray
    seed: np.ndarray
    back: np.ndarray
    look: np.ndarray
    thing: np.ndarray
    place: np.ndarray
    done: np.ndarray

    def __post_init__(self) -> None:
        looks, questions = len(self.images), len(self.look)
        if {len(self.state), len(self.seed), len(self.back)} != {looks}:
            raise KinemaError(f"{looks} pictures of long tasks need as many states, seeds and places")
        if {len(self.thing), len(self.place), len(self.done)} != {questions}:
            raise KinemaError(f"{questions} questions about long tasks need as many things, places, answers")
        if questions and not 0 <= self.look.min() <= self.look.max() < looks:
            raise KinemaError(f"questions about long tasks are of looks 0 ... {looks - 1}")


_WORDS = ("card", "things", "cameras")


def write_steps(path: Path, steps: StepLooks) -> None:
    """Write one shard whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    arrays = {f.name: np.asarray(getattr(steps, f.name)) for f in fields(steps)}
    np.savez_compressed(partial, **arrays)  # type: ignore[arg-type]
    partial.replace(path)


def read_steps(folder: Path) -> StepLooks:
    """All shards of a folder. Raises KinemaError when there are none or their words differ."""
    paths = [path for path in sorted(folder.glob("*.npz")) if ".partial" not in path.name]
    if not paths:
        raise KinemaError(f"no looks at long tasks in {folder}; make them with: kinema data make steps")
    shards = [_read(path) for path in paths]
    first = shards[0]
    for path, shard in zip(paths, shards):
        if any(getattr(shard, word) != getattr(first, word) for word in _WORDS):
            raise KinemaError(f"{path} is of another body, other cameras or other things than {paths[0]}")
    begins = np.cumsum([0, *(len(shard.images) for shard in shards)])
    arrays = {f.name for f in fields(StepLooks)} - {*_WORDS, "look"}
    joined = {name: np.concatenate([getattr(shard, name) for shard in shards]) for name in arrays}
    look = np.concatenate([shard.look + begin for shard, begin in zip(shards, begins)])
    return StepLooks(card=first.card, things=first.things, cameras=first.cameras, look=look, **joined)


def _read(path: Path) -> StepLooks:
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {f.name: file[f.name] for f in fields(StepLooks)}
    except (OSError, ValueError, KeyError) as error:
        raise KinemaError(f"{path} is damaged: {error}") from None
    card, things, cameras = (found.pop(name) for name in _WORDS)
    return StepLooks(
        card=str(card), things=tuple(map(str, things)), cameras=tuple(map(str, cameras)), **found
    )


def with_places(steps: Sequence[tuple[str, str]], things: Sequence[str]) -> tuple[list[int], list[int]]:
    """The numbers of the things and of the places that steps name."""
    numbers = {name: i for i, name in enumerate(things)}
    return [numbers[thing] for thing, _ in steps], [numbers.get(place, NONE) for _, place in steps]
