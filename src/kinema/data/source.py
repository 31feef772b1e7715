"""A source: one body's demonstrations, ready to be cut into training windows, whatever their number.

Nothing here needs the steps in memory: a window is found by its number from the episodes' bounds, and rows
are read when they are asked for. Arrays serve as well.

Axes: N steps of all episodes on end, E episodes, M windows, n of them asked for, V views, S image side (or
state width where it says so), P points, D native channels, H horizon.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.card.prompt import asked_steps
from kinema.data.disk_array import cache_folder
from kinema.data.fits import fit
from kinema.data.frames import Way, images_of
from kinema.data.index import Index
from kinema.data.lerobot import Dataset
from kinema.data.metadata import ACTION, EXECUTED, INTERVENTION, POINTS, STATE
from kinema.data.numbers import TASK, Column, Numbers, read_part, sample_files
from kinema.data.resample import Resampler
from kinema.data.set_map import SetMap, set_map_of
from kinema.schema import KinemaError
from kinema.space.codec import ChunkFrame
from kinema.space.stats import ChannelStats

Kind = Literal["robot", "ego", "navigation", "synthetic", "vision_language"]

_STATS_WINDOWS = 20_000
_SAMPLED_FRAMES = 250_000  # whose numbers are compared with the card before training; smaller sets whole


class Rows(Protocol):
    """What gives rows (*steps.shape, ...) by step: an array, or a column that is read from the disk."""

    def __getitem__(self, steps: np.ndarray) -> np.ndarray: ...


class Starts(Protocol):
    """Increasing steps at which windows may begin (M,): an array, or `EvenStarts`."""

    def __len__(self) -> int: ...
    def __getitem__(self, windows: np.ndarray) -> np.ndarray: ...
    def searchsorted(self, steps: np.ndarray, side: Literal["right"]) -> np.ndarray:
        """How many starts are not after each of these steps (n,)."""
        ...


class EvenStarts:
    """Every `stride`-th step of each episode, as far as at least `least` steps are left."""

    def __init__(self, bounds: np.ndarray, stride: int, least: float) -> None:
        """bounds: int64 (E, 2)"""
        self._begin, self._end, self._stride = bounds[:, 0], bounds[:, 1], stride
        left = self._end - self._begin - least + 1e-6
        self._last = np.cumsum(
            np.where(left >= 0, left // stride + 1, 0).astype(np.int64)
        )  # one past, by episode

    def __len__(self) -> int:
        return int(self._last[-1]) if len(self._last) else 0

    def __getitem__(self, windows: np.ndarray) -> np.ndarray:
        windows = np.asarray(windows, np.int64)
        if windows.size and not (windows.min() >= 0 and windows.max() < len(self)):
            raise IndexError(f"windows {windows} of {len(self)}")
        episode = np.searchsorted(self._last, windows, side="right")
        return self._begin[episode] + (windows - self._first(episode)) * self._stride

    def searchsorted(self, steps: np.ndarray, side: Literal["right"]) -> np.ndarray:
        episode = np.searchsorted(self._end, steps, side="right").clip(0, len(self._end) - 1)
        first, since = self._first(episode), steps - self._begin[episode]
        return first + np.clip(since // self._stride + 1, 0, self._last[episode] - first)

    def _first(self, episode: np.ndarray) -> np.ndarray:
        return np.where(episode > 0, self._last[episode - 1], 0)


@dataclass(frozen=True, kw_only=True)
class Source:
    """One body's steps. `images(steps)` gives uint8 (n, V, S, S, 3) for step indices in `starts`."""

    name: str
    card: EmbodimentCard
    images: Callable[[np.ndarray], np.ndarray]
    state: Rows  # float32 (N, state channels)
    action: Rows  # float32 (N, D), what is right to do
    points: Rows | None  # float32 (N, V, P, 3): u, v, visible
    ends: np.ndarray  # int64 (E,), increasing: one past the last step of each episode
    task_index: Rows  # int64 (N,)
    tasks: Sequence[str]
    starts: Starts  # (M,)
    ratio: float = 1.0  # steps for each control step of the card, where they were recorded at another rate
    executed: Rows | None = None  # float32 (N, D), what was done; None: what was right
    weight: float = 1.0
    kind: Kind = "robot"  # of its share of a mixture (`shares.py`)
    sampled: np.ndarray | None = None  # int64 (m,): the episodes that stand for all; None: every one
    held_out: tuple[int, ...] = ()  # positions of episodes in which no window begins
    shown: Rows | None = None  # bool (N,): steps that a person showed; None: all may be learnt from

    def __post_init__(self) -> None:
        if not len(self.starts):
            raise KinemaError(f"source {self.name!r} has no window to train on")
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise KinemaError(f"source {self.name!r}: its weight must be above 0, got {self.weight}")
        first = self.starts[np.zeros(1, np.int64)]
        for what, rows, channels in (
            ("actions", self.action, self.card.actions), ("states", self.state, self.card.states),
        ):  # fmt: skip
            if (width := rows[first].shape[1:]) != (len(channels),):
                raise KinemaError(
                    f"source {self.name!r}: {what} have {width[0]} channels, card {self.card.name!r} has "
                    f"{len(channels)}"
                )

    @property
    def steps(self) -> int:
        """N."""
        return int(self.ends[-1])

    def bounds(self, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First step, and one past the last (n,), of the episodes that these steps (n,) are of."""
        episode = np.searchsorted(self.ends, steps, side="right")
        return np.where(episode > 0, self.ends[episode - 1], 0), self.ends[episode]

    def windows(self, starts: np.ndarray, horizon: int) -> tuple[np.ndarray, np.ndarray]:
        """Actions (n, H, D) from each start, padded by the last one, and bool (n, H): steps that are real.

        Steps are the card's control steps, whatever rate was recorded. What a policy did on the way is not
        real where a person showed the rest.
        """
        actions, real = self._windows(starts, horizon)
        if self.shown is not None:
            steps = starts[:, None] + np.rint(np.arange(horizon) * self.ratio).astype(np.int64)
            real = real & self.shown[np.minimum(steps, self.steps - 1)]
        return actions, real

    def _windows(self, starts: np.ndarray, horizon: int) -> tuple[np.ndarray, np.ndarray]:
        begin, end = self.bounds(starts)
        if self.ratio == 1:
            steps = starts[:, None] + np.arange(horizon)
            return self.action[np.minimum(steps, end[:, None] - 1)], steps < end[:, None]
        first = np.maximum(starts - 1, begin)  # of the rows that a step may lie between
        rows = int(np.ceil(horizon * self.ratio)) + 3
        steps = first[:, None] + np.arange(rows)
        actions = self.action[np.minimum(steps, end[:, None] - 1)]
        at = np.arange(len(starts)) * rows  # of each window's rows among all that were read
        return Resampler(self.card.actions, self.ratio).windows(
            actions.reshape(-1, actions.shape[-1]), at + starts - first, at,
            at + (steps < end[:, None]).sum(1), horizon,
        )  # fmt: skip

    def sampled_starts(self) -> np.ndarray:
        """Steps (m,) at which windows begin, where numbers are measured: all, or those of `sampled`."""
        if self.sampled is None:
            return self.starts[np.arange(len(self.starts))]
        begin = np.append(0, self.ends)[self.sampled]
        first, last = (
            self.starts.searchsorted(at - 1, side="right") for at in (begin, self.ends[self.sampled])
        )
        return self.starts[np.concatenate([np.arange(a, b) for a, b in zip(first, last)])]

    def place(self, start: int, horizon: int) -> str:
        """Data set, episode and frame of a window; if a number is not finite, the first frame with one."""
        (begin,), (end,) = self.bounds(np.array([start]))
        steps = np.arange(start, min(start + horizon, end))
        wrong = ~(np.isfinite(self.action[steps]).all(1) & np.isfinite(self.state[steps]).all(1))
        step = int(steps[wrong][0]) if wrong.any() else start
        episode = int(np.searchsorted(self.ends, start, side="right"))
        return f"{self.name}, episode {episode}, frame {step - int(begin)}"

    def earlier(self, starts: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """For each start (n,) the last possible one at least `steps` (n,) control steps before it.

        It is of the same episode; where there is none, the start itself.
        """
        before = starts - np.ceil(steps * self.ratio - 1e-6).astype(np.int64)
        found = self.starts[np.maximum(self.starts.searchsorted(before, side="right") - 1, 0)]
        return np.where((found <= before) & (found >= self.bounds(starts)[0]), found, starts)

    def done(self, steps: np.ndarray) -> np.ndarray:
        """The actions (n, D) that were carried out at these steps (n,)."""
        return (self.action if self.executed is None else self.executed)[steps]


def from_dataset(
    index: Index, card: EmbodimentCard, *, image_size: int, stride: int = 1, told: SetMap | None = None,
    pictures: Way = "cache", cache: Path | None = None, hold_out: int = 0,
) -> Source:  # fmt: skip
    """A data set of the card's body; windows begin every `stride` frames of each episode.

    Raises KinemaError, before any picture is decoded, where the data set does not fit the card: what it says
    of itself, and the numbers of up to 250,000 of its frames. The rest is looked at when it is read.

    told:   what the user says of the set (`data/set_map.py`); None reads `kinema.yaml` in its folder
    pictures: decoded as they are asked for, or once into the cache (see `data/frames.py`)
    cache:  where numbers and decoded pictures are kept; None: see `cache_folder`
    hold_out: the last of every so many episodes is held out (`held_out`); 0: none
    """
    files = sample_files(index, _SAMPLED_FRAMES)
    fitting = fit(index if isinstance(index, Dataset) else read_part(index, files), card, told)
    by_whom = index.has(INTERVENTION) and (told or set_map_of(index.root)).learn_from == "person"
    names = [name for name in (STATE, ACTION, EXECUTED, POINTS) if index.has(name)]
    numbers = Numbers(index, [*names, *([INTERVENTION] if by_whom else [])], cache_folder(index.root, cache))
    images = images_of(index, pictures, size=image_size, cameras=fitting.cameras, directory=cache)
    views = tuple(index.camera_names.index(name) for name in fitting.cameras)
    away = held_out(index.num_episodes, hold_out)
    learnt = np.delete(index.episode_bounds, away, axis=0)
    pointed = _Pointed(views=views, of=len(index.camera_names))
    starts: Starts = EvenStarts(learnt, stride, fitting.ratio)  # at least one control step is left
    shown = _Made(numbers[INTERVENTION], _whether) if by_whom else None
    if shown is not None:
        every = starts[np.arange(len(starts))]
        starts = every[shown[every]]
        if not len(starts):
            raise KinemaError(
                f"{index.root}: its column {INTERVENTION!r} says that a person had the body at none of the "
                "steps to learn from; `learn_from: all` in its kinema.yaml learns from the policy's, too"
            )
    return Source(
        name=index.root.name,
        card=card,
        images=images,
        state=_Made(numbers[STATE], fitting.states) if index.has(STATE) else _Nothing(),
        action=_Made(numbers[ACTION], fitting.actions),
        executed=_Made(numbers[EXECUTED], fitting.actions) if index.has(EXECUTED) else None,
        points=_Made(numbers[POINTS], pointed) if index.has(POINTS) else None,
        ends=index.episode_bounds[:, 1],
        task_index=_Made(numbers[TASK], _first),
        tasks=index.tasks,
        starts=starts,
        shown=shown,
        ratio=fitting.ratio,
        sampled=None if len(files) == len(index.episodes.data) else index.episodes_in_data(files),
        held_out=tuple(away.tolist()),
    )


def _whether(values: np.ndarray) -> np.ndarray:
    """bool (n,) of a column with one number, (n, 1)."""
    return np.asarray(values[:, 0] > 0)


def held_out(episodes: int, every: int) -> np.ndarray:
    """Positions (k,) of those among so many episodes that are not learnt from: the last of every `every`.

    The rule looks at no data, and gives the same episodes whenever it is asked. 0: none.
    """
    return np.arange(every - 1, episodes, every) if every else np.zeros(0, np.int64)


@dataclass(frozen=True)
class _Made:
    """Rows that are made from those of a column."""

    column: Column
    make: Callable[[np.ndarray], np.ndarray]  # (n, m) to (n, ...)

    def __getitem__(self, steps: np.ndarray) -> np.ndarray:
        steps = np.asarray(steps, np.int64)
        values = self.make(self.column[steps.reshape(-1)])
        return values.reshape(*steps.shape, *values.shape[1:])


def _first(values: np.ndarray) -> np.ndarray:
    return values[:, 0]


@dataclass(frozen=True, kw_only=True)
class _Pointed:
    """Pointing labels (n, V, P, 3) of some of a set's views."""

    views: tuple[int, ...]
    of: int

    def __call__(self, values: np.ndarray) -> np.ndarray:
        if not self.of or values.shape[1] % (3 * self.of):
            raise KinemaError(f"{POINTS} has {values.shape[1]} values for {self.of} cameras")
        return values.astype(np.float32).reshape(len(values), self.of, -1, 3)[:, list(self.views)]


class _Nothing:
    """The state of a body that has none."""

    def __getitem__(self, steps: np.ndarray) -> np.ndarray:
        return np.zeros((*np.shape(steps), 0), np.float32)


def measure_stats(
    sources: Sequence[Source], horizon: int, seed: int = 0
) -> tuple[ChannelStats, ChannelStats]:
    """Action and state statistics of one body over all its sources, actions in the chunk's own frame."""
    card = sources[0].card
    horizon = asked_steps(card, horizon)
    frame, rng = ChunkFrame(card), np.random.default_rng(seed)
    actions, states = [], []
    for source in sources:
        seen = source.sampled_starts()
        starts = rng.choice(seen, min(len(seen), _STATS_WINDOWS // len(sources)), replace=False)
        chunk, valid = source.windows(starts, horizon)
        actions.append(frame.enter(chunk, source.state[starts])[valid])
        states.append(source.state[seen])
    return (
        ChannelStats.of_channels(card.actions, np.concatenate(actions)),
        ChannelStats.of_channels(card.states, np.concatenate(states)),
    )
