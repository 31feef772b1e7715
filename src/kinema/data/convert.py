"""A data set as one of a card: its rate, channels, units and camera names, nothing guessed.

Rows are made at the card's control steps: the nearest picture, the state between two rows where need be, and
the action that is due at the end of the step (`data/resample.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from kinema.card.card import EmbodimentCard
from kinema.data.fits import Fit, fit
from kinema.data.lerobot import Dataset
from kinema.data.lerobot_write import Writer
from kinema.data.picture import resize
from kinema.data.resample import Resampler
from kinema.data.set_map import SetMap

_BLOCK = 64  # pictures held at their native size


def convert(
    dataset: Dataset, card: EmbodimentCard, out: Path, *, image_size: int, told: SetMap | None = None
) -> Path:
    """Write the data set anew at `out`, as the card's; an episode of several tasks becomes one of each.

    told: what the user says of the set; None reads `kinema.yaml` in its folder. Raises KinemaError, before
    anything is written, where the set does not fit the card.
    """
    fitting = fit(dataset, card, told)
    with Writer(out, card=card, image_size=image_size) as writer:
        for first, end in _stretches(dataset):
            writer.add_episode(**_episode(dataset, card, fitting, first, end, image_size))
    return out


def _stretches(dataset: Dataset) -> Iterator[tuple[int, int]]:
    """First row and one past the last of every stretch of one task in one episode."""
    for first, end in dataset.episode_bounds:
        changes = np.flatnonzero(np.diff(dataset.task_index[first:end])) + 1 + first
        edges = [int(first), *changes.tolist(), int(end)]
        yield from pairwise(edges)


def _episode(
    dataset: Dataset, card: EmbodimentCard, fitting: Fit, first: int, end: int, size: int
) -> dict[str, Any]:
    ratio = fitting.ratio
    at = first + ratio * np.arange(int((end - 1 - first) / ratio + 1e-6) + 1)  # rows, between two as need be
    begin, stop = np.full(len(at), first), np.full(len(at), end)
    nearest = np.minimum(np.rint(at).astype(np.int64), end - 1)
    arrays: dict[str, Any] = {"task": dataset.tasks[dataset.task_index[first]]}
    arrays["images"] = {
        name: np.concatenate(
            [
                resize(dataset.frames(own, nearest[i : i + _BLOCK]), size)
                for i in range(0, len(nearest), _BLOCK)
            ]
        )
        for name, own in zip(card.camera_names, fitting.cameras)
    }
    if ratio == 1:
        rows = slice(first, end)
        arrays |= {"state": fitting.state[rows], "action": fitting.action[rows]}
        arrays["executed"] = None if fitting.executed is None else fitting.executed[rows]
    else:
        measured, given = Resampler(card.states, ratio), Resampler(card.actions, ratio)
        arrays["state"] = measured.poses(fitting.state, at[:, None], begin, stop)[:, 0]
        arrays["action"] = given.windows(fitting.action, at, begin, stop, 1)[0][:, 0]
        if fitting.executed is not None:
            arrays["executed"] = given.windows(fitting.executed, at, begin, stop, 1)[0][:, 0]
    if fitting.points is not None:
        arrays["points"] = fitting.points[nearest]
    if dataset.success is not None:
        success = dataset.success[nearest]
        success[-1] = dataset.success[end - 1]
        arrays["success"] = success
    return {name: value for name, value in arrays.items() if value is not None}
