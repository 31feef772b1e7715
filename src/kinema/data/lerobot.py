"""Reading a LeRobot data set (v3.0, v2.1, v2.0): numbers in memory, pictures decoded on demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from kinema.data.columns import read_table
from kinema.data.embedded import Embedded
from kinema.data.fault import Kind
from kinema.data.info import read_json
from kinema.data.journal import read_quietly
from kinema.data.metadata import (
    ACTION,
    EXECUTED,
    POINTS,
    STATE,
    STATS,
    SUCCESS,
    Features,
    Metadata,
    camera_names,
    channel_names,
    is_depth,
    number_keys,
    picture_shape,
    vector_keys,
    width_of,
)
from kinema.data.scan import Scan, gathered, scan
from kinema.data.verify import first_fault
from kinema.data.verify_clips import OFF_GRID, READ_WITHIN, in_order, laid_end_to_end, placed
from kinema.data.video import Decoders
from kinema.schema import KinemaError

Columns = Mapping[str, str | Sequence[str]]


class Dataset:
    """A data set of N frames in E episodes, in the order of its `index` column.

    Axes: S state channels, D action channels, V cameras, P points per camera.
    """

    def __init__(self, found: Scan, columns: Columns | None = None) -> None:
        """`found` is a scan without a fault that forbids reading (see `open`)."""
        self._found, self._map = found, _checked_map(found, columns or {})
        metadata = found.metadata()
        self.metadata: Metadata = replace(metadata, features=_mapped(metadata.features, self._map))
        self.root: Path = found.root
        self.card_name = metadata.robot_type or ""
        self.fps = metadata.fps
        self.tasks: list[str] = list(metadata.tasks)
        self._camera_keys = _named_cameras(metadata.features, self._map)
        self.camera_names = tuple(self._camera_keys)
        self._columns = gathered(found, _kept(found))
        lengths = np.array([episode.length for episode in metadata.episodes], np.int64)
        ends = lengths.cumsum()
        self.episode_bounds = np.stack([ends - lengths, ends], 1)  # int64 (E, 2): first frame, one past last
        self.num_episodes = len(lengths)
        self.num_frames = int(lengths.sum())
        self.episode_index = self._columns["episode_index"][:, 0]  # int64 (N,)
        self.frame_index = self._columns["frame_index"][:, 0]  # int64 (N,)
        self.task_index = self._columns["task_index"][:, 0]  # int64 (N,)
        self._decoders = Decoders()
        self._settled: set[str] = set()  # video files whose clips are not where they should be
        self._starts_s: dict[tuple[str, int], float] = {}  # where they are instead, by file and episode
        self._embedded = Embedded(found.root)

    @classmethod
    def open(cls, root: Path | str, *, columns: Columns | None = None, finite: bool = True) -> Dataset:
        """Read the data set at `root`. Raises KinemaError naming the file and the fault.

        columns: what the set calls a column or camera, by the name it is asked for here:
        {"action": "actions", "observation.state": ["shoulder", "elbow"], "front": "image"}. Several columns
        are one vector, in that order.
        finite: False to read values that are not, which nothing can be trained on

        What opens has only faults that harm no reading (`fault.HARMLESS`); `verify` names these too, and
        looks at the pictures, which this does not.
        """
        root = Path(root)

        def read() -> Dataset:
            found = scan(root)
            fault = first_fault(found, but=() if finite else (Kind.NON_FINITE,))
            if fault is not None:
                raise KinemaError(f"{root}: {fault}; `kinema data verify {root}` names every fault")
            return cls(found, columns)

        return read_quietly(root, read)

    @cached_property
    def state(self) -> np.ndarray:  # float32 (N, S)
        if STATE not in self._map and STATE not in self._columns:
            return np.zeros((self.num_frames, 0), np.float32)
        return _float32(self.column(STATE))

    @cached_property
    def action(self) -> np.ndarray:  # float32 (N, D)
        return _float32(self.column(ACTION))

    @property
    def has_action(self) -> bool:
        return ACTION in self._names()

    @cached_property
    def executed(self) -> np.ndarray | None:  # float32 (N, D)
        return _float32(self.column(EXECUTED)) if EXECUTED in self._names() else None

    @cached_property
    def success(self) -> np.ndarray | None:  # bool (N,)
        return self.column(SUCCESS)[:, 0].astype(bool) if SUCCESS in self._names() else None

    @cached_property
    def points(self) -> np.ndarray | None:  # float32 (N, V, P, 3)
        if POINTS not in self._names():
            return None
        values, views = _float32(self.column(POINTS)), len(self.camera_names)
        if not views or values.shape[1] % (3 * views):
            raise KinemaError(f"{self.root}: {POINTS} has {values.shape[1]} values for {views} cameras")
        return values.reshape(self.num_frames, views, -1, 3)

    @cached_property
    def statistics(self) -> Mapping[str, Any]:
        """meta/stats.json: min, max, mean, std, count and quantiles by feature.

        Raises KinemaError when there is none (v2.1 has none) or it is damaged.
        """
        path = self.root / STATS
        if not path.is_file():
            raise KinemaError(f"{path} is missing; `kinema data stats {self.root} --write` measures it")
        return read_json(path)

    def column(self, name: str) -> np.ndarray:
        """Any numeric column as (N, n), all axes on end. Raises KinemaError naming the choices."""
        if name in self._map:
            parts = [self._own_column(source) for source in self._map[name]]
            return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        return self._own_column(name)

    def _own_column(self, name: str) -> np.ndarray:
        if name in self._columns:
            return self._columns[name]
        if name not in number_keys(self._found.info["features"]):
            raise KinemaError(
                f"{self.root} has no column {name!r}{_hint(name, self._names())} It has {self._names()}; "
                f"another name is told with columns={{{name!r}: ...}} or --map"
            )
        by_file = {path: self._found.column(path, name) for path in self._found.files}
        parts = [by_file[r.data_path][self._found.files[r.data_path].rows[r.index]] for r in self._records]
        width = width_of(self._found.info["features"][name])
        return np.concatenate(parts) if parts else np.zeros((0, width))

    def texts(self, name: str) -> list[str]:
        """A column of texts, one for each frame. Raises KinemaError naming the choices."""
        features = self._found.info["features"]
        there = [key for key, feature in features.items() if feature["dtype"] == "string"]
        if name not in there:
            raise KinemaError(f"{self.root} has no texts {name!r}; it has {there}")
        texts: list[str] = []
        for record in self._records:
            table = read_table(self.root / record.data_path, [name])
            rows = self._found.files[record.data_path].rows[record.index]
            texts += [str(text) for text in table.column(name).take(rows).to_pylist()]
        return texts

    def window(
        self, i: int | np.ndarray, horizon: int, *, hz: float | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Frames of the chunk of `horizon` steps that begins at frame i, cut by time inside the episode.

        i: int or int (n,). hz: rate of the steps, the data set's own if None; step k is the frame nearest
        to k / hz after frame i. Returns indices int64 (horizon,) or (n, horizon) and a bool mask of the same
        shape: past the end of the episode the last frame is held and the mask is False.
        """
        start = np.asarray(i, np.int64)[..., None]
        if start.size and (start.min() < 0 or start.max() >= self.num_frames):
            raise IndexError(f"frame {i} is outside 0 … {self.num_frames - 1}")
        steps = np.floor(np.arange(horizon) * (self.fps / (hz or self.fps)) + 0.5).astype(np.int64)
        wanted = start + steps
        last = self.episode_bounds[self.episode_index[start], 1] - 1
        return np.minimum(wanted, last), wanted <= last

    def frames(self, camera: str, indices: np.ndarray | list[int]) -> np.ndarray:
        """Pictures uint8 (n, H, W, 3) of one camera at the given frames, in any order.

        Pictures of distances that are stored with 16 bits come as they are: uint16 (n, H, W, 1).
        Raises KinemaError for an unknown camera (with suggestions), a video that lacks a frame or holds
        distances, a picture that cannot be decoded.
        """
        key = self.camera_key(camera)
        indices = np.asarray(indices, np.int64)
        if not len(indices):
            height, width, _ = picture_shape(self._found.info["features"][key])
            return np.empty((0, height, width, 3), np.uint8)
        if self._found.info["features"][key]["dtype"] == "image":
            return self._embedded_frames(key, indices)
        pictures: np.ndarray | None = None
        for path, chosen in self._by_video(key, indices):
            found = self._decoded(path, key, indices[chosen])
            if pictures is None:
                pictures = np.empty((len(indices), *found.shape[1:]), np.uint8)
            if found.shape[1:] != pictures.shape[1:]:
                raise KinemaError(
                    f"{self.root / path}: pictures are {found.shape[1:]}, not {pictures.shape[1:]}"
                )
            pictures[chosen] = found
        assert pictures is not None
        return pictures

    def _by_video(self, key: str, indices: np.ndarray) -> list[tuple[str, np.ndarray]]:
        """Per video file: positions in `indices`, in the order of time."""
        paths = [self._records[int(self.episode_index[i])].clips[key].path for i in indices]
        groups = []
        for path in dict.fromkeys(paths):
            chosen = np.array([position for position, p in enumerate(paths) if p == path])
            order = np.argsort(self._times_s(key, indices[chosen]), kind="stable")
            groups.append((path, chosen[order]))
        return groups

    def _times_s(self, key: str, indices: np.ndarray) -> np.ndarray:
        """Where these frames are in their video files."""
        clips = [self._records[int(self.episode_index[i])].clips[key] for i in indices]
        starts_s = [
            self._starts_s.get((c.path, int(self.episode_index[i])), c.start_s)
            for c, i in zip(clips, indices)
        ]
        return np.array(starts_s) + self.frame_index[indices] / self.fps

    def _decoded(self, path: str, key: str, indices: np.ndarray) -> np.ndarray:
        """The pictures of frames of one file, in the order of time.

        When one is not where its row says, the clips of the file are laid end to end where that fits the
        file exactly: offsets that are sums of many rounded ones drift. Otherwise the nearest picture serves.
        """
        decoder = self._decoders[self.root / path]
        if path not in self._settled:
            try:
                return decoder.at(self._times_s(key, indices), tolerance_s=OFF_GRID / self.fps)
            except KinemaError:
                self._settled.add(path)
                clips = placed(self._found).get(path, [])
                for p, clip in zip(in_order(clips), laid_end_to_end(self._found, path, clips) or ()):
                    self._starts_s[path, p.record.index] = clip.start_s
        return decoder.at(self._times_s(key, indices), tolerance_s=READ_WITHIN / self.fps)

    def _embedded_frames(self, key: str, indices: np.ndarray) -> np.ndarray:
        """Pictures stored in the parquet files (dtype "image") rather than in videos."""
        pictures: dict[int, np.ndarray] = {}
        for i in np.unique(indices).tolist():
            record = self._records[int(self.episode_index[i])]
            row = int(self._found.files[record.data_path].rows[record.index][self.frame_index[i]])
            pictures[i] = self._embedded.picture(record.data_path, key, row)
        shapes = {picture.shape for picture in pictures.values()}
        if len(shapes) > 1:
            raise KinemaError(f"{self.root}: pictures of {key} have several sizes: {sorted(shapes)}")
        return np.stack([pictures[i] for i in indices.tolist()])

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

    @property
    def _records(self) -> Sequence[Any]:
        return self.metadata.episodes

    def _names(self) -> list[str]:
        return sorted({*number_keys(self._found.info["features"]), *self._map})


def _kept(found: Scan) -> list[str]:
    """The columns that are kept in memory: every vector that can be read."""
    wrong = {name for file in found.files.values() for name in file.wrong}
    return [name for name in vector_keys(found.info["features"]) if name not in wrong]


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


def _mapped(features: Features, columns: Mapping[str, tuple[str, ...]]) -> Features:
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


def _float32(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32)
