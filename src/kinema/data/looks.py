"""Shards of labelled pictures on disk, one .npz of plain arrays per body and run of seeds, without pickle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kinema.schema import KinemaError


@dataclass(frozen=True, kw_only=True)
class LabelledViews:
    """N single pictures and where the K things of a vocabulary are in each.

    images: uint8 (N, S, S, 3)
    points: float32 (N, K, 3): u, v in [0, 1] and 1 seen, 0 not seen, between them unknown
    view:   (N,) index of the camera; seed: (N,) of the episode
    """

    things: tuple[str, ...]
    images: np.ndarray
    points: np.ndarray
    view: np.ndarray
    seed: np.ndarray

    def __post_init__(self) -> None:
        if self.points.shape != (len(self.images), len(self.things), 3):
            raise KinemaError(
                f"{len(self.images)} pictures of {len(self.things)} things need points (N, K, 3); "
                f"got {self.points.shape}"
            )


def write_views(path: Path, views: LabelledViews) -> None:
    """Write one shard whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    arrays: Mapping[str, np.ndarray] = {
        "things": np.array(views.things),
        "images": views.images,
        "points": views.points.astype(np.float32),
        "view": views.view.astype(np.uint8),
        "seed": views.seed.astype(np.int64),
    }
    np.savez(partial, **arrays)  # type: ignore[arg-type]
    partial.replace(path)


def read_views(folders: Sequence[Path]) -> LabelledViews:
    """All shards of some folders. Raises KinemaError when there are none or their words differ."""
    paths = [p for folder in folders for p in sorted(folder.glob("*.npz")) if ".partial" not in p.name]
    if not paths:
        shown = ", ".join(map(str, folders)) or "no folder"
        raise KinemaError(f"no labelled pictures in {shown}; make them with: kinema data make looks")
    parts: dict[str, list[np.ndarray]] = {"images": [], "points": [], "view": [], "seed": []}
    words: tuple[str, ...] = ()
    for path in paths:
        with np.load(path, allow_pickle=False) as file:
            found = tuple(str(word) for word in file["things"])
            if words and found != words:
                raise KinemaError(f"{path} names other things than {paths[0]}; make the pictures again")
            words = found
            for name, arrays in parts.items():
                arrays.append(file[name])
    joined = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    return LabelledViews(things=words, **joined)
