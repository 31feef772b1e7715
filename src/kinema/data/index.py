"""A data set by its metadata alone: where every frame of every episode is, without reading one.

Opening costs the episode table; numbers and pictures are read when they are asked for. Frames are numbered
through the set, in the order of its episodes.

Axes: N frames, E episodes, n frames asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self

import numpy as np

from kinema.data.episodes import Episodes
from kinema.data.journal import read_quietly
from kinema.data.metadata import Features, Metadata, camera_names, channel_names, is_depth, number_keys
from kinema.data.pictures import Pictures
from kinema.data.scan import Scan, scan
from kinema.data.verify import first_fault
from kinema.schema import KinemaError

Columns = Mapping[str, str | Sequence[str]]


class Index:
    """N frames in E episodes, their cameras, columns and sentences."""

    def __init__(self, found: Scan, columns: Columns | None = None) -> None:
        """`found` is a scan without a fault that forbids reading (see `open`)."""
        self.columns = columns or {}
        self._found, self._map = found, _checked_map(found, self.columns)
        metadata = found.metadata()
        self.metadata: Metadata = replace(metadata, features=mapped_features(metadata.features, self._map))
        self.root: Path = found.root
        self.card_name = metadata.robot_type or ""
        self.fps = metadata.fps
        self.tasks: list[str] = list(metadata.tasks)
        self._camera_keys = _named_cameras(metadata.features, self._map)
        self.camera_names = tuple(self._camera_keys)
        ends = found.records.length.cumsum()
        self.episode_bounds = np.stack(
            [ends - found.records.length, ends], 1
        )  # int64 (E, 2): first, one past
        self.num_episodes = len(ends)
        self.num_frames = int(ends[-1]) if len(ends) else 0
        self._pictures = Pictures(found)

    @classmethod
    def open(cls, root: Path | str, *, columns: Columns | None = None) -> Self:
        """Read the metadata of the data set at `root`. Raises KinemaError naming the file and the fault.

        columns: what the set calls a column or camera, by the name it is asked for here:
        {"action": "actions", "observation.state": ["shoulder", "elbow"], "front": "image"}. Several columns
        are one vector, in that order.

        Every file that an episode names must be there. What is wrong inside one is met when it is read.
        """
        index = cls.open_with_gaps(root, columns=columns)
        index.refuse_lacking(np.arange(index.num_episodes))
        return index

    @classmethod
    def open_with_gaps(cls, root: Path | str, *, columns: Columns | None = None) -> Self:
        """The same of a set that may lack files (see `lacking`)."""
        root = Path(root)

        def read() -> Any:
            found = scan(root, with_numbers=False)
            if (fault := first_fault(found)) is not None:
                raise KinemaError(f"{root}: {fault}; `kinema data verify {root}` names every fault")
            return cls(found, columns)

        return read_quietly(root, read)

    def lacking(self) -> dict[int, str]:
        """By the position of an episode that names a file which is not there, the first such file."""
        places = [self.episodes.data, *(clips.files for clips in self.episodes.clips.values())]
        found: dict[int, str] = {}
        for files in places:
            paths = list(files.paths())
            absent = np.array([path not in self._found.listed for path in paths], bool)
            for episode in np.flatnonzero(absent[files.of]).tolist():
                found.setdefault(episode, paths[files.of[episode]])
        return dict(sorted(found.items()))

    def refuse_lacking(self, episodes: np.ndarray) -> None:
        """Raise KinemaError where one of these episodes lacks a file, saying how to go on without those."""
        if not (lacking := self.lacking()) or not np.isin(list(lacking), episodes).any():
            return
        first = next(path for episode, path in lacking.items() if episode in episodes)
        which = ",".join(map(str, lacking))
        raise KinemaError(
            f"{self.root / first} is missing; episodes {which} lack files. Without them: "
            f"kinema data edit delete {self.root} --episodes {which} --out NEW"
        )

    @property
    def episodes(self) -> Episodes:
        return self._found.records

    @property
    def found(self) -> Scan:
        return self._found

    def episode_of(self, indices: np.ndarray) -> np.ndarray:
        """The positions (n,) of the episodes that these frames (n,) are of."""
        return np.searchsorted(self.episode_bounds[:, 1], indices, side="right")

    def episodes_in_data(self, files: np.ndarray) -> np.ndarray:
        """Positions, ascending, of the episodes that lie in these data files, by their numbers."""
        return np.flatnonzero(np.isin(self.episodes.data.of, files))

    def sources_of(self, name: str) -> tuple[str, ...]:
        """The set's own columns that a column is made of. Raises KinemaError naming the choices."""
        if name in self._map:
            return self._map[name]
        if name not in self.own_columns():
            raise KinemaError(
                f"{self.root} has no column {name!r}{_hint(name, self._names())} It has {self._names()}; "
                f"another name is told with columns={{{name!r}: ...}} or --map"
            )
        return (name,)

    def has(self, name: str) -> bool:
        return name in self._names()

    def frames(self, camera: str, indices: np.ndarray | list[int]) -> np.ndarray:
        """Pictures uint8 (n, H, W, 3) of one camera at the given frames, in any order.

        Pictures of distances that are stored with 16 bits come as they are: uint16 (n, H, W, 1).
        Raises KinemaError for an unknown camera (with suggestions), a video that lacks a frame or holds
        distances, a picture that cannot be decoded.
        """
        key, indices = self.camera_key(camera), np.asarray(indices, np.int64)
        episodes = self.episode_of(indices)
        return self._pictures.at(key, episodes, indices - self.episode_bounds[episodes, 0])

    def camera_key(self, camera: str) -> str:
        """The feature of a camera given by name or feature. Raises KinemaError with suggestions."""
        for name, key in self._camera_keys.items():
            if camera in (key, name):
                return key
        raise KinemaError(
            f"{self.root} has no camera {camera!r}{_hint(camera, self.camera_names)} "
            f"It has {list(self.camera_names)}"
        )

    def is_depth(self, camera: str) -> bool:
        """Whether info.json says that a camera gives distances instead of colours."""
        return is_depth(self._found.info["features"][self.camera_key(camera)])

    def own_columns(self) -> list[str]:
        """The numeric columns that are in the data files, under the names they have there."""
        return list(number_keys(self._found.info["features"]))

    def _names(self) -> list[str]:
        return sorted({*self.own_columns(), *self._map})


def _checked_map(found: Scan, columns: Columns) -> dict[str, tuple[str, ...]]:
    """Sources by name. Raises KinemaError for one that the data set does not have."""
    features = found.info["features"]
    sources = {name: (s,) if isinstance(s, str) else tuple(s) for name, s in columns.items()}
    for name, wanted in sources.items():
        for source in wanted:
            if source not in features:
                raise KinemaError(
                    f"{found.root} has no column {source!r}{_hint(source, features)} {name!r} needs it"
                )
        pictures = [source for source in wanted if features[source]["dtype"] in ("video", "image")]
        if not wanted or (pictures and len(wanted) > 1):
            raise KinemaError(f"{name!r} needs one camera or columns of numbers; got {list(wanted)}")
        texts = [s for s in wanted if s not in number_keys(features) and s not in pictures]
        if texts:
            raise KinemaError(f"{name!r} needs numbers; {texts[0]!r} holds {features[texts[0]]['dtype']}")
    return sources


def mapped_features(features: Features, columns: Mapping[str, tuple[str, ...]]) -> Features:
    """The features under the names they are asked for; several columns are one vector of named channels."""
    more: dict[str, Mapping[str, Any]] = {}
    for name, sources in columns.items():
        parts = [features[source] for source in sources]
        if len(parts) == 1:
            if parts[0]["dtype"] not in ("video", "image"):
                more[name] = parts[0]
            continue
        names: list[str] = []
        for source, part in zip(sources, parts):
            own = channel_names(part)
            names += [source] if len(own) == 1 else own
        more[name] = {"dtype": parts[0]["dtype"], "shape": [len(names)], "names": names}
    return {**features, **more}


def _named_cameras(features: Features, columns: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """The feature of each camera by its name, in the order of info.json."""
    given = {sources[0]: name for name, sources in columns.items()}
    short = camera_names(features)
    named = {given.get(key, name).removeprefix("observation.images."): key for key, name in short.items()}
    if len(named) < len(short):
        raise KinemaError(f"two cameras would have one name: {sorted(short)} as {sorted(given.values())}")
    return named


def _hint(name: str, choices: Sequence[str] | Mapping[str, object]) -> str:
    near = get_close_matches(name, list(choices), n=1)
    return f"; did you mean {near[0]!r}?" if near else "."
