"""A source: the arrays of one body's demonstrations, ready to be cut into training windows.

Axes: N steps of all episodes on end, V views, S image side (or state width where it says so), P points,
D native channels, H horizon.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.card.prompt import asked_steps
from kinema.data.fits import fit
from kinema.data.frames import FrameCache
from kinema.data.lerobot import Dataset
from kinema.data.resample import Resampler
from kinema.data.set_map import SetMap
from kinema.schema import KinemaError
from kinema.space.codec import ChunkFrame
from kinema.space.stats import ChannelStats

_STATS_WINDOWS = 20_000


@dataclass(frozen=True, kw_only=True)
class Source:
    """One body's steps. `images(steps)` gives uint8 (n, V, S, S, 3) for step indices in `starts`."""

    name: str
    card: EmbodimentCard
    images: Callable[[np.ndarray], np.ndarray]
    state: np.ndarray  # float32 (N, state channels)
    action: np.ndarray  # float32 (N, D), what is right to do
    points: np.ndarray | None  # float32 (N, V, P, 3): u, v, visible
    episode_end: np.ndarray  # int64 (N,): one past the last step of the step's episode
    task_index: np.ndarray  # int64 (N,)
    tasks: Sequence[str]
    starts: np.ndarray  # int64 (M,), increasing: steps at which a window may begin
    ratio: float = 1.0  # steps for each control step of the card, where they were recorded at another rate
    executed: np.ndarray | None = None  # float32 (N, D), what was done; None: what was right
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not len(self.starts):
            raise KinemaError(f"source {self.name!r} has no window to train on")
        if self.action.shape[1:] != (len(self.card.actions),):
            raise KinemaError(
                f"source {self.name!r}: actions have {self.action.shape[1:]} channels, "
                f"card {self.card.name!r} has {len(self.card.actions)}"
            )
        if self.state.shape[1:] != (len(self.card.states),):
            raise KinemaError(
                f"source {self.name!r}: states have {self.state.shape[1:]} channels, "
                f"card {self.card.name!r} has {len(self.card.states)}"
            )

    def windows(self, starts: np.ndarray, horizon: int) -> tuple[np.ndarray, np.ndarray]:
        """Actions (n, H, D) from each start, padded by the last one, and bool (n, H): steps that are real.

        Steps are the card's control steps, whatever rate was recorded.
        """
        if self.ratio != 1:
            end = self.episode_end[starts]
            begin = np.searchsorted(self.episode_end, end)
            return Resampler(self.card.actions, self.ratio).windows(self.action, starts, begin, end, horizon)
        steps = starts[:, None] + np.arange(horizon)
        end = self.episode_end[starts][:, None]
        return self.action[np.minimum(steps, end - 1)], steps < end

    def place(self, start: int, horizon: int) -> str:
        """Data set, episode and frame of a window; if a number is not finite, the first frame with one."""
        end = int(self.episode_end[start])
        steps = np.arange(start, min(start + horizon, end))
        wrong = ~(np.isfinite(self.action[steps]).all(1) & np.isfinite(self.state[steps]).all(1))
        step = int(steps[wrong][0]) if wrong.any() else start
        ends = np.unique(self.episode_end)
        episode = int(np.searchsorted(ends, end))
        return f"{self.name}, episode {episode}, frame {step - (int(ends[episode - 1]) if episode else 0)}"

    def earlier(self, starts: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """For each start (n,) the last possible one at least `steps` (n,) control steps before it.

        It is of the same episode; where there is none, the start itself.
        """
        steps = np.ceil(steps * self.ratio - 1e-6).astype(np.int64)
        found = self.starts[np.maximum(np.searchsorted(self.starts, starts - steps, side="right") - 1, 0)]
        same = (found <= starts - steps) & (self.episode_end[found] == self.episode_end[starts])
        return np.where(same, found, starts)

    def done(self, steps: np.ndarray) -> np.ndarray:
        """The actions (n, D) that were carried out at these steps (n,)."""
        return (self.action if self.executed is None else self.executed)[steps]


def from_dataset(
    dataset: Dataset, card: EmbodimentCard, *, image_size: int, stride: int = 1, told: SetMap | None = None,
    cache: Path | None = None, mapped: bool = False,
) -> Source:  # fmt: skip
    """A LeRobot data set as a source, its frames decoded once into a cache; windows begin every `stride`.

    Raises KinemaError, before any picture is decoded, where the data set does not fit the card.

    told:   what the user says of the set (`data/set_map.py`); None reads `kinema.yaml` in its folder
    cache:  where decoded pictures are kept; None: see `FrameCache`
    mapped: read pictures from the disk's cache as they are asked for, instead of holding all in memory
    """
    fitting = fit(dataset, card, told)
    frames = FrameCache(dataset, size=image_size, cameras=fitting.cameras, directory=cache)
    # in memory where there is room: short of page cache, mapped pictures would be read again and again
    images = frames.__getitem__ if mapped else frames.in_memory().__getitem__
    begin, end = dataset.episode_bounds[dataset.episode_index].T
    row = np.arange(dataset.num_frames)
    whole = row + fitting.ratio - 1 <= end - 1 + 1e-6  # at least one control step is left
    return Source(
        name=dataset.root.name,
        card=card,
        images=images,
        state=fitting.state,
        action=fitting.action,
        executed=fitting.executed,
        points=fitting.points,
        episode_end=end,
        task_index=dataset.task_index,
        tasks=dataset.tasks,
        starts=np.flatnonzero(((row - begin) % stride == 0) & whole),
        ratio=fitting.ratio,
    )


def measure_stats(
    sources: Sequence[Source], horizon: int, seed: int = 0
) -> tuple[ChannelStats, ChannelStats]:
    """Action and state statistics of one body over all its sources, actions in the chunk's own frame."""
    card = sources[0].card
    horizon = asked_steps(card, horizon)
    frame, rng = ChunkFrame(card), np.random.default_rng(seed)
    actions, states = [], []
    for source in sources:
        count = min(len(source.starts), _STATS_WINDOWS // len(sources))
        starts = rng.choice(source.starts, count, replace=False)
        chunk, valid = source.windows(starts, horizon)
        actions.append(frame.enter(chunk, source.state[starts])[valid])
        states.append(source.state[source.starts])
    return (
        ChannelStats.of_channels(card.actions, np.concatenate(actions)),
        ChannelStats.of_channels(card.states, np.concatenate(states)),
    )
