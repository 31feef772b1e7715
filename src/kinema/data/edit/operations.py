"""Merge, split, delete, features, sentences, encoding: each reads sets that are sound and makes a new one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from kinema.data.edit.assemble import Part, all_of, assemble
from kinema.data.edit.change import AS_THEY_ARE, Added, Change
from kinema.data.index import Index
from kinema.data.new_folder import new_folder
from kinema.data.video import Encoding
from kinema.schema import KinemaError


def merge(roots: Sequence[Path], out: Path) -> None:
    """All episodes of several sets of one body, rate and set of features, one set after the other."""
    if len(roots) < 2:
        raise KinemaError("merging needs two data sets or more")
    parts = [all_of(Index.open(root)) for root in roots]
    _make(parts, out)


def split(root: Path, parts: Mapping[str, str], out: Path) -> None:
    """One set for each name, in a folder of that name; `parts`: its episodes, or its share of all.

    Shares are taken in the episodes' order. Raises KinemaError where an episode would be in two parts.
    """
    index = Index.open(root)
    chosen = _parts(parts, index)
    twice = [
        (a, b, both[0])
        for i, a in enumerate(chosen)
        for b in list(chosen)[i + 1 :]
        if len(both := np.intersect1d(chosen[a], chosen[b]))
    ]
    if twice:
        a, b, episode = twice[0]
        raise KinemaError(f"episode {episode} would be in {a!r} and {b!r}")
    with new_folder(out) as making:
        for name, episodes in chosen.items():
            (making / name).mkdir()
            assemble([Part(index=index, episodes=episodes)], making / name)


def delete(root: Path, episodes: str, out: Path) -> None:
    """All episodes but these; the ones behind move up. Files that only these would need may be missing."""
    index = Index.open_with_gaps(root)
    left = np.setdiff1d(np.arange(index.num_episodes), chosen_episodes(episodes, index))
    index.refuse_lacking(left)
    _make([Part(index=index, episodes=left)], out)


def add_feature(root: Path, name: str, values: np.ndarray, names: Sequence[str], out: Path) -> None:
    """One more column: numbers (N, n) or (N,), a row for every frame of the set."""
    index = Index.open(root)
    added = Added(values=values.reshape(len(values), -1) if values.ndim == 1 else values, names=names)
    if len(values) != index.num_frames:
        raise KinemaError(f"{name}: {len(values)} rows of values, but {root} has {index.num_frames} frames")
    _make([all_of(index)], out, Change(add={name: added}))


def remove_features(root: Path, names: Sequence[str], out: Path) -> None:
    _make([all_of(Index.open(root))], out, Change(remove=frozenset(names)))


def rename_features(root: Path, names: Mapping[str, str], out: Path) -> None:
    """names: the new ones by the old."""
    _make([all_of(Index.open(root))], out, Change(rename=names))


def retask(root: Path, task: str, out: Path, *, was: str | None = None, episodes: str | None = None) -> None:
    """Another sentence where an episode has `was` (None: any) and is one of `episodes` (None: any)."""
    index = Index.open(root)
    if was is not None and was not in index.tasks:
        raise KinemaError(f"no episode of {root} has the task {was!r}; its tasks: {index.tasks[:20]}")
    chosen = np.arange(index.num_episodes) if episodes is None else chosen_episodes(episodes, index)
    old = index.tasks if was is None else [was]
    changed = {(episode, text): task for episode in chosen.tolist() for text in old}
    _make([all_of(index)], out, Change(retask=changed))


def encode(root: Path, encoding: Encoding, out: Path) -> None:
    """The pictures of all cameras encoded anew as videos, those that lie in the data files too."""
    index = Index.open(root)
    if not index.camera_names:
        raise KinemaError(f"{root} has no camera; there is nothing to encode")
    _make([all_of(index)], out, Change(encoding=encoding))


def chosen_episodes(text: str, index: Index) -> np.ndarray:
    """`0,3,5-9` as positions (k,), ascending. Raises KinemaError for what is not there."""
    chosen: set[int] = set()
    for part in text.split(","):
        first, is_range, last = part.strip().partition("-")
        try:
            ends = int(first), int(last) if is_range else int(first)
        except ValueError:
            raise KinemaError(
                f"episodes {text!r}: write numbers and ranges with commas, as 0,3,5-9"
            ) from None
        chosen.update(range(ends[0], ends[1] + 1))
        if ends[1] < ends[0]:
            raise KinemaError(f"episodes {text!r}: the range {part.strip()} is empty")
    outside = [number for number in sorted(chosen) if not 0 <= number < index.num_episodes]
    if outside:
        raise KinemaError(f"{index.root} has no episode {outside[0]}; its are 0 … {index.num_episodes - 1}")
    return np.array(sorted(chosen), np.int64)


def _parts(parts: Mapping[str, str], index: Index) -> dict[str, np.ndarray]:
    """Episodes by name: as they are named, or a share (a number with a point) of those in order."""
    for name in parts:
        if not name or "/" in name or name.startswith("."):
            raise KinemaError(f"{name!r} cannot be a folder's name")
    if any("." in text for text in parts.values()):
        try:
            shares = np.array([float(text) for text in parts.values()])
        except ValueError:
            raise KinemaError(
                f"parts {dict(parts)}: give shares to all of them, or episodes to all"
            ) from None
        if (shares <= 0).any() or shares.sum() > 1 + 1e-9:
            raise KinemaError(f"shares must be above 0 and at most 1 in all; got {dict(parts)}")
        edges = np.rint(np.cumsum([0, *shares]) * index.num_episodes).astype(np.int64)
        chosen = {name: np.arange(a, b) for name, a, b in zip(parts, edges, edges[1:])}
    else:
        chosen = {name: chosen_episodes(text, index) for name, text in parts.items()}
    for name, episodes in chosen.items():
        if not len(episodes):
            raise KinemaError(f"the part {name!r} would have no episode of the {index.num_episodes}")
    return chosen


def _make(parts: Sequence[Part], out: Path, change: Change = AS_THEY_ARE) -> None:
    with new_folder(out) as making:
        assemble(parts, making, change)
