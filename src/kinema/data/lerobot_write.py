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

from kinema.card.card import EmbodimentCard
from kinema.data import checksums
from kinema.data import schema_v30 as v30
from kinema.data.columns import write_table
from kinema.data.consolidate import consolidate
from kinema.data.info import read_json
from kinema.data.journal import HIDDEN, Transaction, WriterLock, disk_errors, recover
from kinema.data.lerobot import Dataset
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
from kinema.data.recording import Features, ImageSize, Recording, check_fits, vectors_of
from kinema.data.statistics import Accumulator, ImageAccumulator, Statistics
from kinema.data.video import FAITHFUL, Encoding, encode, probe
from kinema.schema import KinemaError

_LAST_LABEL = f"{HIDDEN}/last_label.json"


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
        image_size: ImageSize,
        features: Mapping[str, Sequence[str]] | None = None,
        resume: bool = False,
        encoding: Encoding = FAITHFUL,
    ) -> None:
        self.root = Path(root)
        extra = {name: list(names) for name, names in (features or {}).items()}
        self._recording = Recording(card=card, image_size=image_size, extra=extra)
        self._card, self._encoding = card, encoding
        self._features: Features = {}
        self._tasks: list[str] = []
        self._episodes = self._frames = self._files = 0
        self._numbers: dict[str, Accumulator] = {}
        self._pictures = {IMAGE_PREFIX + name: ImageAccumulator() for name in card.camera_names}
        if (self.root / INFO).exists() and not resume:
            raise KinemaError(f"{self.root} already holds a data set; pass resume=True to add to it")
        self._lock: WriterLock | None = WriterLock(self.root)
        recover(self.root)
        if (self.root / INFO).exists():
            self._resume()

    @property
    def num_episodes(self) -> int:
        """Episodes that are on the disk."""
        return self._episodes

    @property
    def last_label(self) -> Mapping[str, Any] | None:
        """What was told of the last episode that had a label, also by an earlier writer of this data set.

        It is on the disk exactly when its episode is: so a killed recorder knows how far it got.
        """
        path = self.root / _LAST_LABEL
        return read_json(path) if path.is_file() else None

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
        label: Mapping[str, Any] | None = None,
    ) -> None:
        """Record one episode of T frames; it survives a kill or power cut from the moment this returns.

        images:   uint8 (T, H, W, 3) by camera name, of image_size
        state:    (T, S) in the order of the card's states
        action:   (T, D) in the order of the card's actions; `executed` (T, D) what was really sent
        points:   (T, V, P, 3): u, v in [0, 1] and visible, for every camera in the card's order
        success:  bool (T,)
        label:    where the episode comes from, for the recorder itself; see `last_label`

        Raises KinemaError for arrays that do not fit, non-finite values or a full disk; what was recorded
        before stays.
        """
        if self._lock is None:
            raise KinemaError(f"the writer of {self.root} is closed; open another one with resume=True")
        optional = {EXECUTED: executed, POINTS: points, SUCCESS: success}
        vectors = {STATE: state, ACTION: action} | {k: v for k, v in optional.items() if v is not None}
        columns = self._recording.columns(images, vectors | dict(extra or {}), task)
        features = self._features or self._recording.features(columns)
        check_fits(columns, features)
        self._features = features
        with disk_errors(f"episode {self._episodes} could not be saved in {self.root}"):
            change = Transaction(self.root)
            try:
                self._stage(change, images, columns, task)
                if label is not None:
                    change.path(_LAST_LABEL).write_text(json.dumps(label))
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
            self._lock.release(unused=not self._episodes)
            self._lock = None

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finalize()
        self.close()

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
        write_table(table, change.path(v30.DATA_PATH.format(**place)), row_group_size=length)
        row |= {f"meta/episodes/{key}": value for key, value in place.items()}
        row |= v30.flat_statistics(self._count(images, columns))
        write_table(v30.rows_as_table([row]), change.path(v30.EPISODES_PATH.format(**place)))
        checksums.stage(change, self._files)
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
        dataset = Dataset.open(self.root)
        metadata = dataset.metadata
        if metadata.version != v30.VERSION:
            raise KinemaError(f"{self.root} is {metadata.version}; only {v30.VERSION} can be added to")
        self._recording.check_continues(metadata)
        self._features = {name: dict(feature) for name, feature in metadata.features.items()}
        self._tasks = list(metadata.tasks)
        self._episodes, self._frames = len(metadata.episodes), sum(e.length for e in metadata.episodes)
        used = [
            p
            for pattern in ("data/*/*.parquet", "videos/*/*/*.mp4", "meta/episodes/*/*.parquet")
            for p in v30.visible(self.root, pattern)
        ]
        self._files = 1 + max((_file_number(path) for path in used), default=-1)
        for name in vectors_of(self._features) + list(v30.DEFAULT_FEATURES):
            values = dataset.column(name)
            self._numbers.setdefault(name, Accumulator(values.shape[1])).add(values)
        self._resume_pictures()

    def _resume_pictures(self) -> None:
        path = self.root / IMAGE_COUNTS
        if not path.is_file():
            raise KinemaError(
                f"{path} is missing, so the picture statistics cannot go on; "
                f"run `kinema data stats {self.root} --write` first"
            )
        for name, state in read_json(path).items():
            self._pictures[name] = ImageAccumulator.from_state(state)


def whole(value: float) -> int | float:
    """JSON's 10 rather than 10.0: lerobot types the frame rate as an integer."""
    return int(value) if float(value).is_integer() else value


def _file_number(path: Path) -> int:
    return int(path.parent.name.split("-")[1]) * v30.FILES_PER_CHUNK + int(path.stem.split("-")[1])
