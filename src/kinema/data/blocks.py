"""The frames of a data set by blocks: short runs of one episode, decoded and kept together.

Axes: E episodes, B blocks, n frames or blocks asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)
class Blocks:
    """Blocks of `length` frames on end, numbered through the set; the last of an episode may be shorter.

    bounds: int64 (E, 2), each episode's first frame and one past its last, on end
    """

    bounds: np.ndarray
    length: int

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def of(self, frames: np.ndarray) -> np.ndarray:
        """The blocks (n,) that these frames (n,) are in."""
        episode = np.searchsorted(self.bounds[:, 1], frames, side="right")
        return self._first(episode) + (frames - self.bounds[episode, 0]) // self.length

    def episode_of(self, blocks: np.ndarray) -> np.ndarray:
        """The positions (n,) of the episodes that these blocks (n,) are of."""
        return np.searchsorted(self._ends, blocks, side="right")

    def frames(self, blocks: np.ndarray) -> np.ndarray:
        """int64 (n, 2): the first frame of each of these blocks (n,), and one past its last."""
        episode = self.episode_of(blocks)
        first = self.bounds[episode, 0] + (blocks - self._first(episode)) * self.length
        return np.stack([first, np.minimum(first + self.length, self.bounds[episode, 1])], -1)

    @cached_property
    def _ends(self) -> np.ndarray:
        """int64 (E,): one past the last block of each episode."""
        return np.cumsum(-((self.bounds[:, 0] - self.bounds[:, 1]) // self.length))

    def _first(self, episode: np.ndarray) -> np.ndarray:
        return np.where(episode > 0, self._ends[episode - 1], 0)
