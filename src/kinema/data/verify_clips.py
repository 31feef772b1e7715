"""Where the episodes lie in the video files: whether every row has its own picture, and every picture a row.

Axes: n frames of a clip, P pictures of a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from kinema.data import set_aside
from kinema.data.fault import Fault, Kind, remark
from kinema.data.metadata import Clip, EpisodeRecord, is_depth, picture_shape
from kinema.data.scan import Scan
from kinema.data.video import Stream, is_deep

# Of a frame's duration: how far a picture's time may be from its row's before it is a fault, and before it
# is refused when reading.
OFF_GRID, READ_WITHIN = 0.1, 0.3
_REFUSED_BY_LEROBOT_S = 1e-4


@dataclass(frozen=True, kw_only=True)
class Placed:
    """An episode's clip in a file, and how many rows it has."""

    record: EpisodeRecord
    clip: Clip
    length: int


def placed(found: Scan) -> dict[str, list[Placed]]:
    """The clips of each video file, in the order of their beginnings."""
    by_path: dict[str, list[Placed]] = {}
    for key, clips in found.records.clips.items():
        for number, path in enumerate(clips.files.paths()):
            by_path.setdefault(path, []).extend(_placed_in(found, key, number))
    return {path: _by_beginning(clips) for path, clips in by_path.items()}


def placed_in(found: Scan, key: str, file: int) -> list[Placed]:
    """The clips of one video file, by its number among the camera's, in the order of their beginnings."""
    return _by_beginning(_placed_in(found, key, file))


def _placed_in(found: Scan, key: str, file: int) -> list[Placed]:
    there = []
    for row in found.records.clips[key].files.episodes_in(file):
        record = found.records[int(row)]
        rows = found.rows_of(record)
        length = record.length if rows is None or not len(rows) else len(rows)
        there.append(Placed(record=record, clip=record.clips[key], length=length))
    return there


def _by_beginning(clips: list[Placed]) -> list[Placed]:
    return sorted(clips, key=lambda p: p.clip.start_s)


def in_order(clips: list[Placed]) -> list[Placed]:
    """The clips of a file in the order of their episodes."""
    return sorted(clips, key=lambda p: p.record.index)


def laid_end_to_end(found: Scan, path: str, clips: list[Placed]) -> list[Clip] | None:
    """The clips of a file one behind the other in the order of their episodes, when that fills it exactly."""
    stream = found.video(path)
    if stream is None or path in found.errors or not _same_rate(stream, found.fps):
        return None
    if sum(p.length for p in clips) != len(stream.times_s):
        return None
    laid, at = [], 0
    for p in in_order(clips):
        start_s = float(stream.times_s[at])
        laid.append(replace(p.clip, start_s=start_s, end_s=start_s + p.length / found.fps))
        at += p.length
    return laid


def clip_faults(found: Scan) -> Iterator[Fault]:
    """What the episode table says of the clips, without looking at a video."""
    for path, clips in placed(found).items() if found.files else _suspect(found):
        if faults := list(_layout_faults(found, path, clips)):
            mendable = laid_end_to_end(found, path, clips) is not None
            yield from (replace(f, repairable=f.repairable or mendable) for f in faults)


def _suspect(found: Scan) -> Iterator[tuple[str, list[Placed]]]:
    """The files whose clips cannot lie as the table says, found column by column."""
    records, half_s = found.records, 0.5 / found.fps
    lasts_s = records.length / found.fps
    for key, clips in records.clips.items():
        bad = np.abs(clips.end_s - clips.start_s - lasts_s) > half_s
        order = np.lexsort([clips.start_s, clips.files.of])
        before, after = order[:-1], order[1:]
        together = clips.files.of[before] == clips.files.of[after]
        early = clips.start_s[after] < clips.start_s[before] + lasts_s[before] - half_s
        bad[after] |= together & (early | (records.number[after] < records.number[before]))
        for number in np.unique(clips.files.of[bad]).tolist():
            yield clips.files.path(number), placed_in(found, key, number)


def _layout_faults(found: Scan, path: str, clips: list[Placed]) -> Iterator[Fault]:
    half_s = 0.5 / found.fps
    for p in clips:
        lasts_s = p.clip.end_s - p.clip.start_s
        if abs(lasts_s - p.record.length / found.fps) > half_s:
            detail = f"lasts {lasts_s:g} s, its {p.record.length} frames {p.record.length / found.fps:g} s"
            yield _fault(Kind.CLIP, path, p.record, detail, True)
    for before, after in pairwise(clips):
        end_s = before.clip.start_s + before.length / found.fps
        if after.clip.start_s < end_s - half_s:
            detail = f"begins at {after.clip.start_s:g} s, before episode {before.record.index} ends"
            yield _fault(Kind.CLIP, path, after.record, detail, False)
            detail = f"ends at {end_s:g} s, after episode {after.record.index} has begun"
            yield _fault(Kind.CLIP, path, before.record, detail, False)
        elif after.record.index < before.record.index:
            detail = f"lies behind episode {before.record.index}: the clips are not in the episodes' order"
            yield _fault(Kind.CLIP, path, after.record, detail, False)


def stream_faults(found: Scan, path: str) -> Iterator[Fault]:
    """What makes a readable video useless for every episode in it."""
    stream, key = found.videos[path], found.camera_of.get(path)
    if key is None:
        return
    feature = found.info["features"][key]
    height, width, _ = picture_shape(feature)
    if (height, width) != (stream.height, stream.width):
        detail = f"{stream.height} × {stream.width}, info.json says {height} × {width}"
        yield Fault(kind=Kind.SHAPE, where=path, detail=detail, repairable=False)
    if is_deep(stream.pixel_format) and not is_depth(feature):
        detail = f"pixels are {stream.pixel_format}, info.json says colours"
        yield Fault(kind=Kind.SHAPE, where=path, detail=detail, repairable=False)


def picture_faults(found: Scan) -> Iterator[Fault]:
    """Whether the pictures of all clips are in their files at their times, and no others."""
    laid = placed(found)
    for path, stream in found.videos.items():
        yield from stream_faults(found, path)
        if path in laid and path not in found.errors:
            told = any(True for _ in _layout_faults(found, path, laid[path]))
            yield from _file_faults(found, path, stream, laid[path], told)


def _file_faults(found: Scan, path: str, stream: Stream, clips: list[Placed], told: bool) -> Iterator[Fault]:
    """`told`: that the clips overlap or are of the wrong length is said already."""
    used = np.zeros(len(stream.times_s), bool)
    mendable = laid_end_to_end(found, path, clips) is not None
    complete = True
    for p in clips:
        nearest, off = pictures_of(stream, p.clip, min(p.length, 4 * len(used) + 4), found.fps)
        off_s = off.max(initial=0.0)
        within = int((off <= 0.5 / found.fps).sum())
        twice = len(np.unique(nearest)) < len(nearest) or used[nearest].any()
        if within < p.length or not len(used):
            complete = False
            detail = f"{within} of {p.length} frames from {p.clip.start_s:g} s on"
            yield _fault(Kind.SHORT_VIDEO, path, p.record, detail, mendable)
        elif off_s > OFF_GRID / found.fps:
            share = off_s * found.fps
            detail = f"its offset is {share:.2g} frames off the pictures' times"
            yield _fault(Kind.CLIP, path, p.record, detail, mendable or share < READ_WITHIN)
        elif twice:
            complete = False
            if not told:
                detail = "a picture of it is shown twice, or is another episode's"
                yield _fault(Kind.CLIP, path, p.record, detail, mendable)
        elif off_s > _REFUSED_BY_LEROBOT_S:
            detail = f"its pictures are {1000 * off_s:.2g} ms off their rows; lerobot refuses that"
            yield remark(f"{path}, episode {p.record.index}", detail)
        used[nearest] = True
    if not _same_rate(stream, found.fps):
        detail = f"{stream.fps:g} frames/s, info.json says {found.fps:g}"
        if complete and stream.fps > found.fps:
            yield remark(path, f"{detail}; every row has its picture")
        else:
            yield Fault(kind=Kind.FPS, where=path, detail=detail, repairable=False)
        return
    used |= set_aside.pictures(found.root, path, len(used))
    if not used.all():
        count, first = int((~used).sum()), int(np.argmin(used))
        detail = f"{count} of {len(used)} belong to no episode, first {first}: rows may be lost"
        yield Fault(kind=Kind.SURPLUS, where=path, detail=detail, repairable=found.is_v30)


def pictures_of(stream: Stream, clip: Clip, length: int, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """For each row of a clip the nearest picture (n,) of the file and its distance in seconds (n,)."""
    wanted, times_s = clip.start_s + np.arange(length) / fps, stream.times_s
    if not len(times_s):
        return np.zeros(length, np.int64)[:0], np.full(length, np.inf)
    after = np.searchsorted(times_s, wanted).clip(0, len(times_s) - 1)
    before = np.maximum(after - 1, 0)
    nearest = np.where(np.abs(times_s[before] - wanted) <= np.abs(times_s[after] - wanted), before, after)
    return nearest, np.abs(times_s[nearest] - wanted)


def _same_rate(stream: Stream, fps: float) -> bool:
    return abs(stream.fps - fps) <= 0.01 * fps


def _fault(kind: Kind, path: str, record: EpisodeRecord, detail: str, repairable: bool) -> Fault:
    where = f"{path}, episode {record.index}"
    return Fault(kind=kind, where=where, detail=detail, repairable=repairable, episode=record.index)
