"""Stretches of a video, end to end in a new file, without decoding a picture.

A stretch can stand alone when it begins with a key frame and its packets stand together in decoding order:
then none of them needs a picture outside it. Recorders begin every episode so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from kinema.data.video import as_rate, opened, tick_s

_OFF_GRID = 0.3  # of a frame's duration: how far the first picture may be from where it should be


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """`length` rows' pictures from `start_s` on."""

    start_s: float
    length: int


def cut(path: Path, stretches: Sequence[Stretch], out: Path, fps: float) -> bool:
    """Write the stretches of `path` into `out`, each as long as its rows; False where one cannot stand alone.

    Nothing is written then. Raises KinemaError when the file cannot be read.
    """
    runs = _runs(path, stretches, fps)
    if runs is None:
        return False
    with opened(path) as source, av.open(str(out), "w", format="mp4") as target:
        template = source.streams.video[0]
        stream = target.add_stream_from_template(template, opaque=True)  # no encoder needed
        stream.time_base = template.time_base
        starts = np.cumsum([0, *(stretch.length for stretch in stretches)])
        at = 0  # of the stretches
        for number, packet in enumerate(p for p in source.demux(template) if p.pts is not None and p.size):
            while at < len(runs) and number >= runs[at].end:
                at += 1
            if at == len(runs):
                break
            if number < runs[at].first or packet.pts is None or packet.dts is None:
                continue
            begin = round(Fraction(int(starts[at])) / as_rate(fps) / tick_s(template))
            moved = begin - runs[at].pts
            packet.pts, packet.dts = packet.pts + moved, packet.dts + moved
            packet.stream = stream
            target.mux(packet)
    return True


@dataclass(frozen=True, kw_only=True)
class _Run:
    """Packets of a file, in decoding order: from `first` to before `end`; `pts` of the first, in ticks."""

    first: int
    end: int
    pts: int


def _runs(path: Path, stretches: Sequence[Stretch], fps: float) -> list[_Run] | None:
    """The packets of each stretch; None where one cannot stand alone, or they are not in this order."""
    with opened(path) as source:
        stream = source.streams.video[0]
        marks = [(p.pts, p.is_keyframe) for p in source.demux(stream) if p.pts is not None and p.size]
        tick = float(tick_s(stream))
        half_s = 0.5 / max(float(stream.average_rate or fps), fps)
    times_s = np.array([pts for pts, _ in marks], np.float64) * tick
    runs: list[_Run] = []
    for stretch in stretches:
        end_s = stretch.start_s + stretch.length / fps
        inside = np.flatnonzero((times_s >= stretch.start_s - half_s) & (times_s < end_s - half_s))
        if not len(inside) or len(inside) != inside[-1] - inside[0] + 1:
            return None
        first, (pts, is_key) = int(inside[0]), marks[inside[0]]
        on_grid = abs(times_s[first] - stretch.start_s) <= _OFF_GRID / fps
        if (
            not is_key
            or not on_grid
            or times_s[first] > times_s[inside].min()
            or len(inside) < stretch.length
        ):
            return None
        if runs and first < runs[-1].end:
            return None
        runs.append(_Run(first=first, end=int(inside[-1]) + 1, pts=pts))
    return runs
