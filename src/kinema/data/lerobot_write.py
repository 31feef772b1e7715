"""Recording a LeRobotDataset v3.0: an episode is durable when `add_episode` returns.

While recording, every episode has its own data, video and metadata file, committed as one change (see
journal.py). `finalize` joins them into files of up to 100 MB (data) and 200 MB (video), again as one change.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from kinema.card.card import EmbodimentCard
from kinema.data import schema_v30 as v30
from kinema.data.consolidate import consolidate
from kinema.data.journal import Transaction, WriterLock, disk_errors, recover
from kinema.data.lerobot import read_metadata
from kinema.data.measure import IMAGE_COUNTS, spread
from kinema.data.metadata import (
    ACTION,
    EXECUTED,
    IMAGE_PREFIX,
    INFO,
    POINTS,
    STATE,
    STATS,
    SUCCESS,
)
from kinema.data.statistics import Accumulator, ImageAccumulator, Statistics
from kinema.data.video import FAITHFUL, Encoding, encode, probe
from kinema.schema import KinemaError


class Writer:
    """Records episodes of one body into `root`.

    features: extra float32 columns by name with the names of their channels, given to `add_episode` as
    `extra` arrays (T, n). Whether `executed`, `points` and `success` are recorded is settled by the first
    episode. Raises KinemaError when `root` holds a data set and `resume` is False, or, when resuming, when
    that data set is of another body, rate, picture size or set of features.
    """

    def __init__(
        self,
        root: Path,
        *,
        card: EmbodimentCard,
        image_size: int,
        features: Mapping[str, Sequence[str]] | None = None,
        resume: bool = False,
        encoding: Encoding = FAITHFUL,
    ) -> None:
        self.root = Path(root)
        self._card, self._image_size, self._encoding = card, image_size, encoding
        self._extra = {name: list(names) for name, names in (features or {}).items()}
        self._features: dict[str, dict[str, Any]] = {}
        self._tasks: list[str] = []
        self._episodes = self._frames = self._files = 0
        self._numbers: dict[str, Accumulator] = {}
        self._pictures = {IMAGE_PREFIX + name: ImageAccumulator() for name in card.camera_names}
        self._check_names()
        if (self.root / INFO).exists() and not resume:
            raise KinemaError(f"{self.root} already holds a data set; pass resume=True to add to it")
        self.root.mkdir(parents=True, exist_ok=True)
        self._lock: WriterLock | None = WriterLock(self.root)
        recover(self.root)
        if (self.root / INFO).exists():
            self._resume()

    @property
    def num_episodes(self) -> int:
        """Episodes that are on the disk."""
        return self._episodes

    def add_episode(
        self,
        *,
        images: Mapping[str, np.ndarray],
        state: np.ndarray,
        action: np.ndarray,
        task: str,
        executed: np.ndarray | None = None,
        points: np.ndarray | None = None,
        success: np.ndarray | None = None,
        extra: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Record one episode of T frames; it survives a kill or power cut from the moment this returns.

        images:   uint8 (T, H, W, 3) by camera name, H = W = image_size
        state:    (T, S) in the order of the card's states
        action:   (T, D) in the order of the card's actions; `executed` (T, D) what was really sent
        points:   (T, V, P, 3): u, v in [0, 1] and visible, for every camera in the card's order
        success:  bool (T,)

        Raises KinemaError for arrays that do not fit, non-finite values or a full disk; what was recorded
        before stays.
        """
        if self._lock is None:
            raise KinemaError(f"the writer of {self.root} is closed; open another one with resume=True")
        optional = {EXECUTED: executed, POINTS: points, SUCCESS: success}
        vectors = {STATE: state, ACTION: action} | {k: v for k, v in optional.items() if v is not None}
        columns = self._checked(images, vectors | dict(extra or {}), task)
        with disk_errors(f"episode {self._episodes} could not be saved in {self.root}"):
            change = Transaction(self.root)
            try:
                self._stage(change, images, columns, task)
                change.commit()
            except BaseException:  # the running counts are ahead of the disk now: only resuming is safe
                change.abandon()
                self.close()
                raise

    def finalize(self) -> None:
        """Join the small files and end the recording. Safe to call twice."""
        if self._lock is None:
            return
        try:
            with disk_errors(f"{self.root} could not be consolidated (it is complete as it is)"):
                if self._episodes:
                    consolidate(self.root)
        finally:
            self.close()

    def close(self) -> None:
        """End the recording without joining its files; it can be resumed."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finalize()
        self.close()

    # -- what an episode must look like

    def _check_names(self) -> None:
        bad = [n for n in self._extra if "/" in n or n in v30.DEFAULT_FEATURES or not self._extra[n]]
        if bad:
            raise KinemaError(f"extra features {bad}: need channel names, no '/', and no reserved name")

    def _checked(
        self, images: Mapping[str, np.ndarray], vectors: Mapping[str, np.ndarray], task: str
    ) -> dict[str, np.ndarray]:
        """The vector columns as float32 (T, n) (success as bool), after checking that everything fits."""
        if not task.strip():
            raise KinemaError("an episode needs an instruction; task is empty")
        length = len(vectors[STATE])
        if not length:
            raise KinemaError("an episode needs at least one frame")
        if set(images) != set(self._card.camera_names):
            raise KinemaError(
                f"images must be of the cameras {self._card.camera_names}; got {sorted(images)}"
            )
        shape = (length, self._image_size, self._image_size, 3)
        for name, frames in images.items():
            if frames.dtype != np.uint8 or frames.shape != shape:
                raise KinemaError(f"camera {name!r}: need uint8 {shape}; got {frames.dtype} {frames.shape}")
        columns = {}
        for name, values in vectors.items():
            values = np.asarray(values, bool if name == SUCCESS else np.float32)
            if len(values) != length:
                raise KinemaError(f"{name}: {len(values)} rows, but state has {length}")
            columns[name] = values.reshape(length, -1)
            if not np.isfinite(columns[name]).all():
                row = int(np.flatnonzero(~np.isfinite(columns[name]).all(1))[0])
                raise KinemaError(f"{name}: non-finite value in frame {row}")
        features = self._features or self._declare(columns)
        lacking, unknown = set(_vectors_of(features)) - set(columns), set(columns) - set(features)
        if lacking or unknown:
            raise KinemaError(
                f"episode {self._episodes}: missing {sorted(lacking)}, unexpected {sorted(unknown)}; "
                f"this data set records {sorted(_vectors_of(features))}"
            )
        for name, values in columns.items():
            if values.shape[1] != features[name]["shape"][0]:
                raise KinemaError(
                    f"{name}: {values.shape[1]} channels, need {features[name]['shape'][0]} "
                    f"({features[name]['names']})"
                )
        self._features = features
        return columns

    def _declare(self, columns: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
        actions = [channel.name for channel in self._card.actions]
        names = {STATE: [channel.name for channel in self._card.states], ACTION: actions, EXECUTED: actions}
        names[SUCCESS] = ["success"]
        if POINTS in columns:
            names[POINTS] = _point_names(self._card.camera_names, columns[POINTS].shape[1])
        names |= self._extra
        size = self._image_size
        features: dict[str, dict[str, Any]] = {
            IMAGE_PREFIX + camera: {
                "dtype": "video",
                "shape": [size, size, 3],
                "names": ["height", "width", "channels"],
            }
            for camera in self._card.camera_names
        }
        for name in (STATE, ACTION, EXECUTED, POINTS, SUCCESS, *self._extra):
            if name in columns or name in self._extra:
                dtype = "bool" if name == SUCCESS else "float32"
                features[name] = {"dtype": dtype, "shape": [len(names[name])], "names": names[name]}
        return features | v30.DEFAULT_FEATURES

    # -- writing

    def _stage(
        self,
        change: Transaction,
        images: Mapping[str, np.ndarray],
        columns: dict[str, np.ndarray],
        task: str,
    ) -> None:
        """Write all files of the next episode and count it."""
        tasks = self._tasks if task in self._tasks else [*self._tasks, task]
        length = len(columns[STATE])
        frame = np.arange(length)
        columns |= {
            "timestamp": (frame / self._card.control_hz).astype(np.float32)[:, None],
            "frame_index": frame[:, None],
            "episode_index": np.full((length, 1), self._episodes),
            "index": (self._frames + frame)[:, None],
            "task_index": np.full((length, 1), tasks.index(task)),
        }
        place = v30.chunk_and_file(self._files)
        row: dict[str, Any] = {
            "episode_index": self._episodes,
            "tasks": [task],
            "length": length,
            "dataset_from_index": self._frames,
            "dataset_to_index": self._frames + length,
        } | {f"data/{key}": value for key, value in place.items()}
        for camera, frames in images.items():
            row |= self._stage_video(change, IMAGE_PREFIX + camera, frames, place)
        table = v30.data_table(columns, self._features)
        pq.write_table(
            table, change.path(v30.DATA_PATH.format(**place)), compression="snappy", row_group_size=length
        )
        row |= {f"meta/episodes/{key}": value for key, value in place.items()}
        row |= v30.flat_statistics(self._count(images, columns))
        pq.write_table(v30.episode_table([row]), change.path(v30.EPISODES_PATH.format(**place)))
        self._episodes, self._frames, self._files = self._episodes + 1, self._frames + length, self._files + 1
        self._tasks = tasks
        self._stage_summary(change)

    def _stage_video(
        self, change: Transaction, key: str, frames: np.ndarray, place: Mapping[str, int]
    ) -> dict[str, Any]:
        path = change.path(v30.VIDEO_PATH.format(video_key=key, **place))
        encode(path, frames, self._card.control_hz, self._encoding)
        self._features[key].setdefault("info", self._video_info(path))
        clip = {"from_timestamp": 0.0, "to_timestamp": len(frames) / self._card.control_hz}
        return {f"videos/{key}/{part}": value for part, value in {**place, **clip}.items()}

    def _video_info(self, path: Path) -> dict[str, Any]:
        stream = probe(path)
        return {
            "video.height": stream.height,
            "video.width": stream.width,
            "video.codec": stream.codec,
            "video.pix_fmt": stream.pixel_format,
            "video.fps": whole(stream.fps),
            "video.channels": 3,
            "video.g": self._encoding.keyframe_every,
            "video.crf": self._encoding.crf,
            "video.preset": self._encoding.preset,
            "is_depth_map": False,
            "has_audio": False,
        }

    def _count(
        self, images: Mapping[str, np.ndarray], columns: Mapping[str, np.ndarray]
    ) -> dict[str, Statistics]:
        """Statistics of this episode; the running ones of the data set take it in too."""
        statistics = {}
        for camera, frames in images.items():
            key = IMAGE_PREFIX + camera
            chosen = frames[spread(len(frames))]
            episode_pictures = ImageAccumulator()
            for pictures in (episode_pictures, self._pictures[key]):
                pictures.add(chosen)
            statistics[key] = episode_pictures.result()
        for name, values in columns.items():
            episode_numbers = Accumulator(values.shape[1])
            for accumulator in (
                episode_numbers,
                self._numbers.setdefault(name, Accumulator(values.shape[1])),
            ):
                accumulator.add(values)
            statistics[name] = episode_numbers.result()
        return statistics

    def _stage_summary(self, change: Transaction) -> None:
        """tasks, statistics and info, which describe the data set as a whole."""
        v30.write_tasks(change.path(v30.TASKS), self._tasks)
        accumulators: dict[str, Accumulator | ImageAccumulator] = {**self._pictures, **self._numbers}
        stats = {name: accumulators[name].result() for name in self._features}
        change.path(STATS).write_text(json.dumps(stats, indent=4))
        counts = {name: pictures.state() for name, pictures in self._pictures.items()}
        change.path(IMAGE_COUNTS).write_text(json.dumps(counts))
        info = {
            "codebase_version": v30.VERSION,
            "robot_type": self._card.name,
            "total_episodes": self._episodes,
            "total_frames": self._frames,
            "total_tasks": len(self._tasks),
            "chunks_size": v30.FILES_PER_CHUNK,
            "data_files_size_in_mb": v30.DATA_FILE_MB,
            "video_files_size_in_mb": v30.VIDEO_FILE_MB,
            "fps": whole(self._card.control_hz),
            "splits": {"train": f"0:{self._episodes}"},
            "data_path": v30.DATA_PATH,
            "video_path": v30.VIDEO_PATH,
            "features": self._features,
        }
        change.path(INFO).write_text(json.dumps(info, indent=4))

    # -- going on with an earlier recording

    def _resume(self) -> None:
        metadata = read_metadata(self.root)
        if metadata.version != v30.VERSION:
            raise KinemaError(f"{self.root} is {metadata.version}; only {v30.VERSION} can be added to")
        self._check_same_body(metadata.robot_type, metadata.fps, metadata.features)
        self._features = {name: dict(feature) for name, feature in metadata.features.items()}
        self._tasks = list(metadata.tasks)
        self._episodes, self._frames = len(metadata.episodes), sum(e.length for e in metadata.episodes)
        used = [
            p
            for pattern in ("data/*/*.parquet", "videos/*/*/*.mp4", "meta/episodes/*/*.parquet")
            for p in self.root.glob(pattern)
        ]
        self._files = 1 + max((_file_number(path) for path in used), default=-1)
        for path in sorted({episode.data_path for episode in metadata.episodes}):
            table = v30.read_table(self.root / path)
            for name in _vectors_of(self._features) + list(v30.DEFAULT_FEATURES):
                values = v30.column_values(table, name)
                self._numbers.setdefault(name, Accumulator(values.shape[1])).add(values)
        self._resume_pictures()

    def _check_same_body(self, robot_type: str | None, fps: float, features: Mapping[str, Any]) -> None:
        expected = {
            "robot_type": (robot_type, self._card.name),
            "fps": (fps, self._card.control_hz),
            "cameras": (
                sorted(n for n in features if n.startswith(IMAGE_PREFIX)),
                sorted(self._pictures),
            ),
            "state channels": (features.get(STATE, {}).get("names"), [c.name for c in self._card.states]),
            "action channels": (features.get(ACTION, {}).get("names"), [c.name for c in self._card.actions]),
            "extra features": (
                sorted(set(features) - set(v30.DEFAULT_FEATURES) - _KNOWN - set(self._pictures)),
                sorted(self._extra),
            ),
        }
        for key in self._pictures:
            size = [self._image_size, self._image_size, 3]
            expected[f"size of {key}"] = (list(features.get(key, {}).get("shape", [])), size)
        for what, (there, here) in expected.items():
            if there != here:
                raise KinemaError(f"{self.root} cannot be resumed: its {what} is {there!r}, not {here!r}")

    def _resume_pictures(self) -> None:
        path = self.root / IMAGE_COUNTS
        if not path.is_file():
            raise KinemaError(
                f"{path} is missing, so the picture statistics cannot go on; "
                f"run `kinema data stats {self.root} --write` first"
            )
        for name, state in json.loads(path.read_text()).items():
            self._pictures[name] = ImageAccumulator.from_state(state)


_KNOWN = {STATE, ACTION, EXECUTED, POINTS, SUCCESS}


def whole(value: float) -> int | float:
    """JSON's 10 rather than 10.0: lerobot types the frame rate as an integer."""
    return int(value) if float(value).is_integer() else value


def _vectors_of(features: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [n for n, f in features.items() if f["dtype"] != "video" and n not in v30.DEFAULT_FEATURES]


def _point_names(cameras: Sequence[str], channels: int) -> list[str]:
    per_camera, rest = divmod(channels, 3 * len(cameras))
    if rest or not per_camera:
        raise KinemaError(f"points must be (T, V={len(cameras)}, P, 3); got {channels} values per frame")
    return [f"{c}.{p}.{part}" for c in cameras for p in range(per_camera) for part in ("u", "v", "visible")]


def _file_number(path: Path) -> int:
    return int(path.parent.name.split("-")[1]) * v30.FILES_PER_CHUNK + int(path.stem.split("-")[1])
