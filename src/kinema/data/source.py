"""A source: the arrays of one body's demonstrations, ready to be cut into training windows.

Axes: N steps of all episodes on end, V views, S image side (or state width where it says so), P points,
D native channels, H horizon.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.data.frames import FrameCache
from kinema.data.lerobot import Dataset
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
        """Actions (n, H, D) from each start, padded by the last one, and bool (n, H): real steps."""
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
        """For each start (n,) the last possible one at least `steps` (n,) before it, in the same episode.

        Where there is none, the start itself.
        """
        found = self.starts[np.maximum(np.searchsorted(self.starts, starts - steps, side="right") - 1, 0)]
        same = (found <= starts - steps) & (self.episode_end[found] == self.episode_end[starts])
        return np.where(same, found, starts)

    def done(self, steps: np.ndarray) -> np.ndarray:
        """The actions (n, D) that were carried out at these steps (n,)."""
        return (self.action if self.executed is None else self.executed)[steps]


def from_dataset(dataset: Dataset, card: EmbodimentCard, *, image_size: int, stride: int = 1) -> Source:
    """A LeRobot data set as a source, its frames decoded once into a cache; windows begin every `stride`."""
    if dataset.card_name != card.name:
        raise KinemaError(f"{dataset.root} was recorded on {dataset.card_name!r}, not on {card.name!r}")
    cache = FrameCache(dataset, size=image_size, cameras=card.camera_names)
    # in memory, not mapped: a machine short of page cache would read the same pictures again and again
    pictures = cache[np.arange(dataset.num_frames)]
    begin, end = dataset.episode_bounds[dataset.episode_index].T
    return Source(
        name=dataset.root.name,
        card=card,
        images=pictures.__getitem__,
        state=dataset.state,
        action=dataset.action,
        executed=dataset.executed,
        points=dataset.points,
        episode_end=end,
        task_index=dataset.task_index,
        tasks=dataset.tasks,
        starts=np.flatnonzero((np.arange(dataset.num_frames) - begin) % stride == 0),
    )


def measure_stats(
    sources: Sequence[Source], horizon: int, seed: int = 0
) -> tuple[ChannelStats, ChannelStats]:
    """Action and state statistics of one body over all its sources, actions in the chunk's own frame."""
    card = sources[0].card
    frame, rng = ChunkFrame(card), np.random.default_rng(seed)
    actions, states = [], []
    for source in sources:
        count = min(len(source.starts), _STATS_WINDOWS // len(sources))
        starts = rng.choice(source.starts, count, replace=False)
        chunk, valid = source.windows(starts, horizon)
        actions.append(frame.enter(chunk, source.state[starts])[valid])
        states.append(source.state[source.starts])
    return (
        ChannelStats.measure(tuple(c.name for c in card.actions), np.concatenate(actions)),
        ChannelStats.measure(tuple(c.name for c in card.states), np.concatenate(states)),
    )
