"""Recordings in any format as a card's data set: its rate, channels, units and cameras, nothing guessed.

Rows are made at the card's control steps, by the true times of what was recorded: the nearest picture, the
state between two rows where need be, and the action that is due at the end of the step (`data/resample.py`).

Axes: K control steps of an episode.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from kinema.card.card import EmbodimentCard
from kinema.data.fits import Declared
from kinema.data.formats.fitting import fit_source
from kinema.data.formats.source import Episode, Series, Source
from kinema.data.lerobot_write import Writer
from kinema.data.metadata import ACTION, EXECUTED, POINTS, STATE, SUCCESS
from kinema.data.picture import resize
from kinema.data.resample import Resampler
from kinema.data.set_map import SetMap, set_map_of
from kinema.schema import KinemaError

_BLOCK = 64  # pictures held at their native size
_EPS_S = 1e-6
_STALE = 2.5  # of its usual interval: how far from a control step the nearest of anything may be


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """An episode that is not in the new set, and why."""

    name: str
    why: str


class _GapError(Exception):
    """An episode in which something was not recorded for a while."""


def convert(
    source: Source, card: EmbodimentCard, out: Path, *, image_size: int, told: SetMap | None = None
) -> list[LeftOut]:
    """Write the recordings as the card's set at `out`. Returns episodes that had gaps and are left out.

    told: what the user says of them; None reads `kinema.yaml` in their folder. An interrupted conversion goes
    on when it is called again. Raises KinemaError, before anything is written, where they do not fit.
    """
    told = set_map_of(source.root) if told is None else told
    fitting = fit_source(source, card, told)
    left_out = []
    with Writer(out, card=card, image_size=image_size, resume=_is_half_done(out)) as writer:
        done = _done(writer, source)
        for number in tqdm(range(done, len(source)), desc="converting", unit="episode", leave=False):
            try:
                arrays = _episode(source, source[number], card, fitting, image_size)
            except _GapError as gap:
                left_out.append(LeftOut(name=source[number].name, why=str(gap)))
                continue
            writer.add_episode(**arrays, label={"of": str(source.root.resolve()), "episode": number})
    return left_out


def _is_half_done(out: Path) -> bool:
    return (out / ".kinema/last_label.json").is_file()


def _done(writer: Writer, source: Source) -> int:
    """How many of the source's episodes are in the set already."""
    label = writer.last_label or {}
    if label and label.get("of") != str(source.root.resolve()):
        raise KinemaError(
            f"{writer.root} holds what was made of {label.get('of', 'something else')}; choose another --out"
        )
    return int(label.get("episode", -1)) + 1


def _episode(
    source: Source, episode: Episode, card: EmbodimentCard, fitting: Declared, size: int
) -> dict[str, Any]:
    assert fitting.states is not None
    assert fitting.actions is not None
    action = episode.column(ACTION)
    state = (
        episode.column(STATE) if card.states else Series(times_s=action.times_s, values=action.values[:, :0])
    )
    cameras = {name: (own, episode.frame_times(own)) for name, own in zip(card.camera_names, fitting.cameras)}
    times_s = [action.times_s, state.times_s, *(shot_s for _, shot_s in cameras.values())]
    same = source.rate_hz is not None and fitting.ratio == 1
    steps_s = action.times_s if same else _steps(times_s, card.control_hz)
    arrays: dict[str, Any] = {"task": episode.task, "images": {}}
    for name, (own, shot_s) in cameras.items():
        nearest = _nearest(shot_s, steps_s, f"camera {own!r}")
        blocks = [nearest[i : i + _BLOCK] for i in range(0, len(nearest), _BLOCK)]
        arrays["images"][name] = np.concatenate([resize(episode.frames(own, rows), size) for rows in blocks])
    _nearest(state.times_s, steps_s, "the state")
    measured = fitting.states(state.values)
    arrays["state"] = measured if same else _poses(card, state.times_s, measured, steps_s)
    sent = {"action": action}
    if EXECUTED in source.features:
        sent["executed"] = episode.column(EXECUTED)
    for name, series in sent.items():
        values = fitting.actions(series.values)
        arrays[name] = values if same else _due(card, series.times_s, values, steps_s)
    if POINTS in source.features:
        points = episode.column(POINTS)
        values = points.values.reshape(len(points.times_s), len(source.cameras), -1, 3)
        views = [list(source.cameras).index(own) for own in fitting.cameras]
        arrays["points"] = values[_nearest(points.times_s, steps_s, POINTS)][:, views]
    if SUCCESS in source.features:
        success = episode.column(SUCCESS)
        arrays["success"] = success.values[_nearest(success.times_s, steps_s, SUCCESS), 0].astype(bool)
        arrays["success"][-1] = bool(success.values[-1, 0])
    return arrays


def _steps(times_s: list[np.ndarray], hz: float) -> np.ndarray:
    """The control steps (K,) of the time in which all of these were recorded."""
    if not all(len(times) for times in times_s):
        raise _GapError("something was never recorded")
    first_s, last_s = max(times[0] for times in times_s), min(times[-1] for times in times_s)
    if last_s < first_s:
        raise _GapError("its streams were never recorded at the same time")
    return first_s + np.arange(int((last_s - first_s) * hz + _EPS_S * hz) + 1) / hz


def _nearest(times_s: np.ndarray, steps_s: np.ndarray, what: str) -> np.ndarray:
    """The row (K,) nearest to each step; of two the later. _GapError where something paused."""
    after = (
        np.searchsorted(times_s, steps_s + _EPS_S).clip(1, max(len(times_s) - 1, 1))
        if len(times_s) > 1
        else None
    )
    if after is None:
        return np.zeros(len(steps_s), np.int64)
    before = after - 1
    nearest = np.where(steps_s - times_s[before] < times_s[after] - steps_s - _EPS_S, before, after)
    off_s = np.abs(times_s[nearest] - steps_s)
    if off_s.max() > _STALE * np.median(np.diff(times_s)):
        at = int(np.argmax(off_s))
        raise _GapError(
            f"{what} paused: at {steps_s[at] - steps_s[0]:.2f} s the nearest is {off_s[at]:.2f} s away"
        )
    return nearest


def _poses(card: EmbodimentCard, times_s: np.ndarray, values: np.ndarray, steps_s: np.ndarray) -> np.ndarray:
    """What was measured at each step (K, n)."""
    rows = np.arange(len(times_s))
    at = np.interp(steps_s, times_s, rows)[:, None]
    begin, end = np.zeros(len(at), np.int64), np.full(len(at), len(rows))
    return Resampler(card.states, 1.0).poses(values, at, begin, end)[:, 0]


def _due(card: EmbodimentCard, times_s: np.ndarray, values: np.ndarray, steps_s: np.ndarray) -> np.ndarray:
    """What is due at the end of each step (K, n): a command is due when the next one is given."""
    usual_s = np.median(np.diff(times_s)) if len(times_s) > 1 else 1 / card.control_hz
    given_s = np.append(times_s, times_s[-1] + usual_s)
    ends_s = np.stack([steps_s, steps_s + 1 / card.control_hz], axis=1)
    edges = np.interp(ends_s, given_s, np.arange(len(given_s)))
    begin, end = np.zeros(len(edges), np.int64), np.full(len(edges), len(times_s))
    resampler = Resampler(card.actions, 1.0)
    return resampler.between(values, edges, begin, end, np.diff(given_s))[:, 0]
