"""Videos of a new set: copied where all of a file stays, cut where a part does, else encoded anew."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kinema.data.edit.cut import Stretch, cut
from kinema.data.index import Index
from kinema.data.video import FAITHFUL, Encoding, encode_blocks, probe
from kinema.schema import KinemaError

_log = logging.getLogger(__name__)
_BLOCK = 64  # pictures held at their native size
_ENCODERS = {"h264": "libx264", "hevc": "libx265", "av1": "libsvtav1", "mpeg4": "mpeg4"}


def groups(index: Index, key: str, episodes: np.ndarray) -> Iterator[np.ndarray]:
    """These episodes (k,) by the video file of a camera; embedded pictures by the data file."""
    clips = index.episodes.clips.get(key)
    of = (index.episodes.data if clips is None else clips.files).of[episodes]
    edges = np.flatnonzero(np.diff(of)) + 1
    yield from np.split(episodes, edges)


def write_video(
    index: Index, key: str, episodes: np.ndarray, out: Path, encoding: Encoding | None
) -> np.ndarray:
    """Write one camera's pictures of these episodes (k,), of one file. Returns their beginnings [s] (k,).

    encoding: how to encode them anew; None keeps them as they are
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    lengths = index.episodes.length[episodes]
    ends_s = lengths.cumsum() / index.fps
    if encoding is None:
        clips = index.episodes.clips[key]
        path = index.root / clips.files.path(int(clips.files.of[episodes[0]]))
        if _is_all(index, key, episodes, path):
            shutil.copyfile(path, out)
            return clips.start_s[episodes]
        starts_s = clips.start_s[episodes].tolist()
        stretches = [Stretch(start_s=s, length=n) for s, n in zip(starts_s, lengths.tolist())]
        if cut(path, stretches, out, index.fps):
            return ends_s - lengths / index.fps
        encoding = _like(path)
        _log.warning("%s cannot be cut where its episodes end: their pictures are encoded anew", path)
    encode_blocks(out, _pictures(index, key, episodes), index.fps, encoding)
    return ends_s - lengths / index.fps


def video_info(path: Path, encoding: Encoding | None) -> dict[str, Any]:
    """What info.json says of a camera's videos."""
    stream = probe(path)
    said: dict[str, Any] = {
        "video.height": stream.height,
        "video.width": stream.width,
        "video.codec": stream.codec,
        "video.pix_fmt": stream.pixel_format,
        "video.fps": int(stream.fps) if stream.fps.is_integer() else stream.fps,
        "video.channels": 3,
        "is_depth_map": False,
        "has_audio": False,
    }
    if encoding is not None:
        said |= {
            "video.g": encoding.keyframe_every,
            "video.crf": encoding.crf,
            "video.preset": encoding.preset,
        }
    return said


def _is_all(index: Index, key: str, episodes: np.ndarray, path: Path) -> bool:
    """Whether the file holds these episodes' pictures and no others."""
    clips = index.episodes.clips[key]
    there = clips.files.episodes_in(int(clips.files.of[episodes[0]]))
    if len(there) != len(episodes) or (there != episodes).any():
        return False
    stream = probe(path)
    pictures = index.episodes.length[episodes].sum() * max(1.0, stream.fps / index.fps)
    return len(stream.times_s) <= pictures + 0.5


def _like(path: Path) -> Encoding:
    """An encoding like that of a file, at a quality that loses little."""
    stream = probe(path)
    if stream.codec not in _ENCODERS:
        return FAITHFUL
    preset = "8" if stream.codec == "av1" else FAITHFUL.preset
    return Encoding(
        codec=_ENCODERS[stream.codec], pixel_format=stream.pixel_format, crf=FAITHFUL.crf, preset=preset
    )


def _pictures(index: Index, key: str, episodes: np.ndarray) -> Iterator[np.ndarray]:
    for first, end in index.episode_bounds[episodes].tolist():
        for begin in range(first, end, _BLOCK):
            pictures = index.frames(key, np.arange(begin, min(begin + _BLOCK, end)))
            if pictures.dtype != np.uint8:
                raise KinemaError(f"{index.root}: {key} gives distances; they cannot be encoded as a video")
            yield pictures
