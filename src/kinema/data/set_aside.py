"""Pictures that stay in a video file although their episode was set aside: meta/set_aside.json names them.

Videos are never encoded again, so what a repair leaves out of the episode table stays in the file; without
this list such pictures would look like rows that were lost.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kinema.data.info import read_json
from kinema.schema import KinemaError

FILE = "meta/set_aside.json"


def pictures(root: Path, video: str, count: int) -> np.ndarray:
    """bool (count,): the pictures of a video file that are known to belong to no episode."""
    left = np.zeros(count, bool)
    for first, end in _read(root).get(video, ()):
        left[first:end] = True
    return left


def as_text(unused: Mapping[str, np.ndarray]) -> str:
    """The list's new content, from bool (pictures,) by video file."""
    spans = {}
    for path, left in unused.items():
        edges = np.flatnonzero(np.diff(np.concatenate([[0], left.astype(np.int8), [0]])))
        if len(edges):
            spans[path] = edges.reshape(-1, 2).tolist()
    return json.dumps(spans, indent=1)


def _read(root: Path) -> dict[str, list[tuple[int, int]]]:
    if not (root / FILE).is_file():
        return {}
    try:
        held = read_json(root / FILE)
        return {path: [(int(a), int(b)) for a, b in spans] for path, spans in held.items()}
    except (KinemaError, TypeError, ValueError):
        return {}  # then the pictures count as unexplained, which verify says
