"""A LeRobot set of any version as a source; an episode of several tasks is one of each."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from kinema.data.formats.source import Series
from kinema.data.lerobot import Dataset
from kinema.data.metadata import Features


class LeRobot:
    def __init__(self, dataset: Dataset, rate_hz: float | None = None) -> None:
        """dataset: opened under the names that will be asked for; rate_hz: of its rows; None: as it says"""
        self._dataset, self.rate_hz = dataset, rate_hz or dataset.fps
        self._stretches: list[tuple[int, int]] = []  # first row and one past the last of each task
        for first, end in dataset.episode_bounds.tolist():
            changes = np.flatnonzero(np.diff(dataset.task_index[first:end])) + 1 + first
            self._stretches += pairwise([first, *changes.tolist(), end])

    @property
    def root(self) -> Path:
        return self._dataset.root

    @property
    def robot_type(self) -> str:
        return self._dataset.card_name

    @property
    def features(self) -> Features:
        return self._dataset.metadata.features

    @property
    def cameras(self) -> dict[str, str]:
        return {name: self._dataset.camera_key(name) for name in self._dataset.camera_names}

    def __len__(self) -> int:
        return len(self._stretches)

    def __getitem__(self, number: int) -> Stretch:
        return Stretch(self._dataset, self.rate_hz, *self._stretches[number])


class Stretch:
    """The rows of one task in one episode; the first is at time 0."""

    def __init__(self, dataset: Dataset, rate_hz: float, first: int, end: int) -> None:
        self._dataset, self._first, self._end = dataset, first, end
        self._times_s = np.arange(end - first) / rate_hz

    @property
    def name(self) -> str:
        frame = self._dataset.frame_index[self._first]
        return f"episode {self._dataset.episode_index[self._first]}" + (f", frame {frame}" if frame else "")

    @property
    def task(self) -> str:
        return self._dataset.tasks[self._dataset.task_index[self._first]]

    def column(self, name: str) -> Series:
        return Series(times_s=self._times_s, values=self._dataset.column(name)[self._first : self._end])

    def frame_times(self, camera: str) -> np.ndarray:
        return self._times_s

    def frames(self, camera: str, indices: np.ndarray) -> np.ndarray:
        return self._dataset.frames(camera, self._first + np.asarray(indices))
